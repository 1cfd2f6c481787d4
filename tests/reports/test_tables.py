import pytest

from medseg.reports.tables import cut


@pytest.mark.parametrize(
    "value, digits, text",
    [(86.999, 2, "86.99"), (0.29 * 100, 2, "29.00"), (87.0, 2, "87.00"), (11.68, 1, "11.6"), (None, 2, "")],
)
def test_figures_are_cut_never_rounded_up(value, digits, text):
    assert cut(value, digits) == text


def test_undefined_is_empty():
    assert cut(float("nan")) == ""
