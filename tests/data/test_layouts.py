"""A folder says itself which layout it has; every reader's refusals come through."""

import pytest
from acdc_trees import flat, official
from brats_trees import brats_2019, brats_2020
from kits_trees import kits

from medseg.data.layouts import LAYOUTS, layout_of, read_folder
from medseg.data.phantoms import write_phantoms
from medseg.errors import InputError


def decathlon(folder):
    write_phantoms(folder, cases=3, seed=1)
    return folder


@pytest.mark.parametrize(
    ("write", "layout", "name"),
    [
        (decathlon, "Decathlon", "Phantom"),
        (official, "ACDC", "ACDC"),
        (flat, "ACDC", "ACDC"),
        (brats_2019, "BraTS", "BraTS2019"),
        (brats_2020, "BraTS", "BraTS2020"),
        (kits, "KiTS", "KiTS19"),
    ],
)
def test_layouts_are_told_apart(write, layout, name, tmp_path):
    folder = write(tmp_path / "Phantom")
    assert layout_of(folder) is LAYOUTS[layout]
    assert read_folder(folder) == LAYOUTS[layout].read(folder)
    card, cases = read_folder(folder)
    assert card.name == name and len({case.id for case in cases}) == len(cases) >= 3


def test_what_is_no_data_set_is_refused_with_the_layouts_named(tmp_path):
    for folder, got in ((tmp_path, "none of these"), (tmp_path / "none", "no such folder")):
        assert layout_of(folder) is None
        with pytest.raises(InputError, match="layout that is known") as caught:
            read_folder(folder)
        assert caught.value.got == got
        assert "dataset.json" in caught.value.expected and "patient001" in caught.value.expected
        assert "BraTS20_Training_001" in caught.value.expected and "case_00000" in caught.value.expected


def test_the_reader_refuses_what_its_layout_lacks(tmp_path):
    (tmp_path / "patient001").mkdir()
    with pytest.raises(InputError, match="frames of one patient"):
        read_folder(tmp_path)
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(InputError, match="malformed"):
        read_folder(tmp_path)
