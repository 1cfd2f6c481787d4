"""The layout of BCV as its publisher has it: what is read, under which names, and what is refused."""

import numpy as np
import pytest
from spaces import save_nifti

from medseg.data.bcv import read_bcv
from medseg.data.cases import load_case
from medseg.data.catalog import DATASETS
from medseg.data.layouts import read_folder
from medseg.data.splits import BCV_TEST_CASES, split_cases
from medseg.errors import InputError

# Left to right, posterior to anterior, inferior to superior; slices of 3 mm, as in many of its volumes.
AFFINE = np.diag([-0.76, 0.76, 3.0, 1.0])
NUMBERS = [n for n in range(1, 41) if not 11 <= n <= 20]


def bcv(folder, numbers=NUMBERS, unlabelled=(61, 62), shape=(6, 5, 4)):
    """RawData with Training and Testing, every volume tiny."""
    raw, random = folder / "RawData", np.random.default_rng(0)
    for part, names in (("Training", numbers), ("Testing", unlabelled)):
        (raw / part / "img").mkdir(parents=True)
        for number in names:
            hu = random.integers(-1000, 1000, shape).astype(np.int16)
            save_nifti(raw / part / "img" / f"img{number:04}.nii.gz", hu, AFFINE)
    (raw / "Training" / "label").mkdir()
    for number in numbers:
        labels = random.integers(0, 14, shape).astype(np.uint8)
        save_nifti(raw / "Training" / "label" / f"label{number:04}.nii.gz", labels, AFFINE)
    return folder


def test_the_published_folder_is_read_and_split(tmp_path):
    card, cases = read_folder(bcv(tmp_path))
    assert card is DATASETS["BCV"] and [case.id for case in cases] == [f"img{n:04}" for n in NUMBERS]
    assert (
        read_folder(tmp_path / "RawData" / "Training") == (card, cases) == read_folder(tmp_path / "RawData")
    )
    loaded = load_case(cases[4], card)
    assert loaded.volume.spacing_mm == pytest.approx((3.0, 0.76, 0.76)) and loaded.image.shape == (1, 4, 5, 6)
    # The window of CT: what lies outside is clipped.
    assert (loaded.image.min(), loaded.image.max()) == (-1.0, 1.0)
    split = split_cases([case.id for case in cases], card.name)
    assert split.test == tuple(f"img{n:04}" for n in BCV_TEST_CASES)


def test_an_image_without_labels_is_refused(tmp_path):
    bcv(tmp_path, numbers=(1, 2))
    (tmp_path / "RawData" / "Training" / "label" / "label0002.nii.gz").unlink()
    with pytest.raises(InputError, match="img0002.nii.gz has no labels") as caught:
        read_bcv(tmp_path)
    assert caught.value.expected == "label/label0002.nii.gz"


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a BCV folder") as caught:
        read_bcv(tmp_path / "none")
    assert caught.value.got == "no such folder"
    (tmp_path / "img").mkdir()
    (tmp_path / "label").mkdir()
    with pytest.raises(InputError, match="layout that is known"):
        read_folder(tmp_path)
