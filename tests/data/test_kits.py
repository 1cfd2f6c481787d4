"""The layout of KiTS19: which cases have labels, how its affine places the slices, and what is refused."""

import nibabel as nib
import numpy as np
import pytest
from kits_trees import AFFINE, SHAPE, kits, voxels

from medseg.data.cases import load_case
from medseg.data.catalog import DATASETS
from medseg.data.kits import is_kits, kits_case, read_kits
from medseg.data.volume import read, write_labels
from medseg.errors import InputError


def refused(words, folder, read=read_kits):
    with pytest.raises(InputError, match=words) as caught:
        read(folder)
    assert caught.value.expected and caught.value.got and caught.value.do
    return caught.value


def test_the_first_210_cases_have_labels(tmp_path):
    card, cases = read_kits(kits(tmp_path))
    assert card is DATASETS["KiTS19"]
    assert [case.id for case in cases] == ["case_00000", "case_00001", "case_00209"]
    assert all(case.labels.is_file() and case.image.is_file() for case in cases)
    case = kits_case(tmp_path / "data" / "case_00210")
    assert kits_case(tmp_path / "data") is None
    series = tmp_path / "case_00012"
    series.mkdir()
    (series / "1.dcm").touch()
    assert kits_case(series) is None
    assert case.id == "case_00210" and case.labels is None
    assert load_case(cases[0], card).labels.unique().tolist() == [0, 1, 2]


def test_the_folder_may_be_data_or_the_one_above(tmp_path):
    kits(tmp_path)
    assert is_kits(tmp_path) and is_kits(tmp_path / "data") and not is_kits(tmp_path / "none")
    assert read_kits(tmp_path) == read_kits(tmp_path / "data")


def test_the_affine_makes_the_first_stored_axis_the_depth(tmp_path):
    case = read_kits(kits(tmp_path))[1][0]
    volume = read(case.image, case.labels)
    # Stored axes grow towards inferior, posterior and left: D H W is the stored order, each axis reversed.
    assert volume.native.orientation == "IPL"
    np.testing.assert_array_equal(volume.array[0], voxels(SHAPE)[::-1, ::-1, ::-1])
    assert volume.spacing_mm == pytest.approx((3.0, 0.78162497, 0.78162497))
    # The voxel stored first lies at the origin, that is at the last place of every axis.
    last = (*np.array(volume.array.shape[:0:-1]) - 1, 1)
    np.testing.assert_allclose(volume.affine @ last, (0, 0, 0, 1), atol=1e-5)


def test_labels_are_written_back_slices_first(tmp_path):
    case = read_kits(kits(tmp_path))[1][0]
    volume = read(case.image, case.labels)
    write_labels(volume, volume.labels, tmp_path / "out.nii.gz")
    written, source = (nib.load(path) for path in (tmp_path / "out.nii.gz", case.labels))
    np.testing.assert_array_equal(written.dataobj, source.dataobj)
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-6)


def test_missing_images_and_labels_are_named(tmp_path):
    place = kits(tmp_path) / "data"
    (place / "case_00210" / "imaging.nii.gz").unlink()
    assert refused("files are missing", place / "case_00210", kits_case).got == "no imaging.nii.gz"
    (place / "case_00001" / "imaging.nii.gz").unlink()  # as the repository is before its script has run
    error = refused("files are missing", tmp_path)
    assert error.got == "no imaging.nii.gz" and "publisher's script" in error.do
    (place / "case_00000" / "segmentation.nii.gz").unlink()
    assert refused("files are missing", tmp_path).got == "no segmentation.nii.gz"


def test_a_folder_without_labelled_cases_is_refused(tmp_path):
    assert refused("no labelled case", tmp_path / "none").got == "no such folder"
    kits(tmp_path, numbers=())
    assert refused("no labelled case", tmp_path).got == "none"
