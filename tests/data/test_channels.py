"""Channels in several files are one volume, on one grid whatever the stored orientation."""

import nibabel as nib
import numpy as np
import pytest
from spaces import ORIENTATIONS, oblique_affine, random_image, random_labels, save_nifti

from medseg.data.channels import read_channels
from medseg.data.volume import read
from medseg.errors import InputError

SHAPE = (7, 6, 5)


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_files_stack_to_what_one_file_with_these_channels_gives(code, tmp_path):
    images, affine = [random_image(SHAPE, seed) for seed in range(3)], oblique_affine("RAS", SHAPE)
    one = save_nifti(tmp_path / "one.nii.gz", np.stack(images, axis=-1), affine)
    labels = save_nifti(tmp_path / "labels.nii.gz", random_labels(SHAPE), affine)
    files = [save_nifti(tmp_path / f"{n}.nii.gz", image, affine) for n, image in enumerate(images)]
    # The last file is stored in another orientation.
    stored = nib.load(files[-1]).as_reoriented(
        nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(code)
        )
    )
    files[-1] = tmp_path / "turned.nii.gz"
    nib.save(stored, files[-1])
    stacked, whole = read_channels(files, labels), read(one, labels)
    np.testing.assert_array_equal(stacked.array, whole.array)
    np.testing.assert_array_equal(stacked.labels, whole.labels)
    np.testing.assert_allclose(stacked.affine, whole.affine)
    assert stacked.array.dtype == np.float32 and stacked.name == "0"


def test_one_file_is_read_as_it_stands(tmp_path):
    image = save_nifti(tmp_path / "a.nii", random_image(SHAPE), oblique_affine("LPS", SHAPE))
    np.testing.assert_array_equal(read_channels([image]).array, read(image).array)


def test_other_grids_are_refused_and_both_files_named(tmp_path):
    affine = oblique_affine("RAS", SHAPE)
    first = save_nifti(tmp_path / "first.nii", random_image(SHAPE), affine)
    shifted = affine.copy()
    shifted[0, 3] += 1
    for voxels, place in ((random_image((7, 6, 4)), affine), (random_image(SHAPE), shifted)):
        second = save_nifti(tmp_path / "second.nii", voxels, place)
        with pytest.raises(InputError, match="first and second do not lie on one grid"):
            read_channels([first, second])
    with pytest.raises(InputError, match="no image"):
        read_channels([])
