"""A curve comes back with every digit, and what is none is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import InputError
from medseg.training.curve import CURVE_FILE, Curve, read_curve, write_curve

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20), st.data())
def test_round_trip(tmp_path_factory, rows, data):
    folder = tmp_path_factory.mktemp("curve")
    steps = data.draw(st.lists(st.integers(1, len(rows)), unique=True).map(sorted))
    curve = Curve(
        [loss for loss, _ in rows], [rate for _, rate in rows], [(s, data.draw(NUMBERS)) for s in steps]
    )
    write_curve(curve, folder)
    assert read_curve(folder) == curve


def test_the_file_is_a_table(tmp_path):
    write_curve(Curve([0.5, 0.25], [1e-5, 3e-05], [(2, 0.75)]), tmp_path)
    assert (tmp_path / CURVE_FILE).read_text() == "step,loss,lr,dice\n1,0.5,1e-05,\n2,0.25,3e-05,0.75\n"


@pytest.mark.parametrize("text", [None, "step,loss\n1,0.5\n", "step,loss,lr,dice\n1,a,b,\n"])
def test_no_curve(tmp_path, text):
    if text is not None:
        (tmp_path / CURVE_FILE).write_text(text)
    with pytest.raises(InputError, match="holds no learning curve") as caught:
        read_curve(tmp_path)
    assert caught.value.got
