"""Pairs that would go wrong silently: each is refused with expected, got and what to do."""

import numpy as np
import pytest
from spaces import oblique_affine, random_image, random_labels, save_nifti

from medseg.data.catalog import DATASETS
from medseg.data.checks import GRID_TOLERANCE, check_image, check_pair, corner_distance, integer_labels
from medseg.data.volume import read, read_labels
from medseg.errors import InputError

SHAPE = (7, 6, 5)
AFFINE = oblique_affine("LPS")


def refused(words, call, *arguments):
    with pytest.raises(InputError, match=words) as caught:
        call(*arguments)
    assert caught.value.expected and caught.value.got and caught.value.do
    return caught.value


def image_with(tmp_path, change, shape=SHAPE):
    voxels = random_image(shape)
    change(voxels)
    return save_nifti(tmp_path / "image.nii.gz", voxels, AFFINE)


def put(value, where=(1, 2, 3)):
    def change(voxels):
        voxels[where] = value

    return change


@pytest.mark.parametrize(
    ("value", "got"), [(np.nan, "1 NaN and 0"), (np.inf, "0 NaN and 1"), (-np.inf, "and 1 inf")]
)
def test_values_that_are_not_numbers_are_refused(value, got, tmp_path):
    assert got in refused("not numbers", read, image_with(tmp_path, put(value))).got


def test_intensities_beyond_32_bits_are_refused_as_infinite(tmp_path):
    path = save_nifti(tmp_path / "i.nii", np.where(np.arange(210).reshape(SHAPE) == 5, 1e300, 1.0), AFFINE)
    assert "1 infinite" in refused("not numbers", read, path).got


def test_a_constant_image_is_refused(tmp_path):
    refused("constant", read, image_with(tmp_path, put(4.0, slice(None))))


def test_a_constant_channel_is_named(tmp_path):
    error = refused("constant", read, image_with(tmp_path, put(0.0, (..., 1)), (*SHAPE, 3)))
    assert error.what.startswith("channel 1 of image")


def test_one_voxel_of_contrast_is_enough():
    voxels = np.zeros((1, 3, 3, 3), np.float32)
    voxels[0, 1, 1, 1] = 1e-3
    check_image(voxels, "case")


def pair(tmp_path, labels, affine=AFFINE):
    image = save_nifti(tmp_path / "image.nii.gz", random_image(SHAPE), AFFINE)
    return image, save_nifti(tmp_path / "labels.nii.gz", labels, affine)


def test_another_shape_is_refused(tmp_path):
    error = refused("differ in shape", read, *pair(tmp_path, random_labels((7, 6, 4))))
    assert "(7, 6, 5)" in error.expected and "(7, 6, 4)" in error.got


@pytest.mark.parametrize(("share", "fits"), [(0.5, True), (2.0, False)])
def test_a_shift_is_refused_beyond_the_tolerance(share, fits, tmp_path):
    moved = AFFINE.copy()
    moved[0, 3] += share * GRID_TOLERANCE * 0.8  # the smallest voxel edge is 0.8 mm
    files = pair(tmp_path, random_labels(SHAPE), moved)
    if fits:
        assert read(*files).labels is not None
    else:
        refused("different places", read, *files)


def test_a_small_turn_is_refused_where_it_moves_the_far_corner(tmp_path):
    turned = AFFINE.copy()
    turned[:3, :3] = AFFINE[:3, :3] @ np.array([[1, -0.02, 0], [0.02, 1, 0], [0, 0, 1]])
    refused("different places", read, *pair(tmp_path, random_labels(SHAPE), turned))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_labels_with_a_flipped_axis_in_the_header_are_refused(axis, tmp_path):
    flipped = AFFINE.copy()
    flipped[:3, axis] *= -1
    refused("different places", read, *pair(tmp_path, random_labels(SHAPE), flipped))


def test_corner_distance_is_the_shift_and_grows_with_scale():
    moved = AFFINE.copy()
    moved[:3, 3] += (3.0, 4.0, 0.0)
    assert corner_distance(SHAPE, AFFINE, AFFINE) == 0
    assert corner_distance(SHAPE, AFFINE, moved) == pytest.approx(5.0)
    assert corner_distance((5, 1, 1), np.eye(4), np.diag([2.0, 1, 1, 1])) == pytest.approx(4.0)


@pytest.mark.parametrize("value", [0.5, 1.01, np.nan, np.inf])
def test_labels_that_are_not_whole_numbers_are_refused(value, tmp_path):
    labels = np.zeros(SHAPE, np.float32)
    labels[2, 2, 2] = value
    refused("not whole numbers", read, *pair(tmp_path, labels))
    refused("not whole numbers", read_labels, tmp_path / "labels.nii.gz")


def test_labels_stored_as_floats_become_integers(tmp_path):
    labels = random_labels(SHAPE).astype(np.float32) + 1e-5
    volume = read(*pair(tmp_path, labels))
    np.testing.assert_array_equal(volume.native.to_native(volume.labels), random_labels(SHAPE))
    assert volume.labels.dtype == np.uint8


@pytest.mark.parametrize(("high", "dtype"), [(255, np.uint8), (256, np.int16), (32767, np.int16)])
def test_label_type_follows_the_highest_number(high, dtype):
    assert integer_labels(np.array([0, high]), "case").dtype == dtype


def test_labels_beyond_16_bits_are_refused():
    refused("16 bits", integer_labels, np.array([0, 40_000]), "case")


def test_a_value_that_the_card_does_not_name_is_refused(tmp_path):
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 1, 1], labels[2, 2, 2] = 2, 7
    error = refused(
        "does not name", check_pair, read(*pair(tmp_path, labels)), DATASETS["Task04_Hippocampus"]
    )
    assert error.got == "7" and "2 Posterior" in error.expected


def test_another_channel_count_is_refused(tmp_path):
    volume = read(image_with(tmp_path, put(1.0), (*SHAPE, 2)))
    error = refused("number of channels", check_pair, volume, DATASETS["Task04_Hippocampus"])
    assert (error.expected, error.got) == ("1 (MRI)", "2")


def test_a_fitting_pair_passes_with_and_without_labels(tmp_path):
    files = pair(tmp_path, random_labels(SHAPE) % 3)
    check_pair(read(*files), DATASETS["Task04_Hippocampus"])
    check_pair(read(files[0]), DATASETS["Task04_Hippocampus"])
