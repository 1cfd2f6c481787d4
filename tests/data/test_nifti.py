"""Files that are not whole NIfTI volumes are refused with words, not with a library's traceback."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from spaces import oblique_affine, random_image, save_nifti

from medseg.data.nifti import load_nifti
from medseg.errors import InputError

AFFINE = oblique_affine("LPS")


def refused(path, words):
    with pytest.raises(InputError, match=words) as caught:
        load_nifti(path)
    assert caught.value.expected and caught.value.got and caught.value.do


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused(suffix, keep, tmp_path):
    path = save_nifti(tmp_path / f"i{suffix}", random_image((20, 20, 20)), AFFINE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    refused(path, "cannot be read as NIfTI")


@pytest.mark.parametrize(
    "content",
    [b"", b"not a scan", gzip.compress(b"not a scan"), bytes(1000)],
    ids=["empty", "text", "gzip of text", "zeros"],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_other_content_is_refused(content, suffix, tmp_path):
    path = tmp_path / f"i{suffix}"
    path.write_bytes(content)
    refused(path, "cannot be read as NIfTI")


def test_damaged_compressed_bytes_are_refused(tmp_path):
    path = save_nifti(tmp_path / "i.nii.gz", random_image((20, 20, 20)), AFFINE)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    path.write_bytes(bytes(content))
    refused(path, "cannot be read as NIfTI")


def test_a_slice_and_a_fifth_axis_are_refused(tmp_path):
    refused(save_nifti(tmp_path / "2.nii", random_image((4, 5)), AFFINE), "not a volume")
    refused(save_nifti(tmp_path / "5.nii", random_image((4, 5, 3, 2, 2)), AFFINE), "not a volume")


def test_colour_and_complex_voxels_are_refused(tmp_path):
    colour = np.zeros((4, 5, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    refused(save_nifti(tmp_path / "c.nii", colour, AFFINE), "plain numbers")
    refused(save_nifti(tmp_path / "z.nii", np.ones((4, 5, 3), np.complex64), AFFINE), "plain numbers")


def test_an_affine_that_flattens_space_is_refused(tmp_path):
    image = nib.Nifti1Image(random_image((4, 5, 3)), AFFINE)
    image.header["srow_z"] = 0
    nib.save(nib.Nifti1Image(random_image((4, 5, 3)), None, image.header), tmp_path / "f.nii")
    refused(tmp_path / "f.nii", "does not place")


def test_big_endian_files_read_the_same(tmp_path):
    voxels = random_image((4, 5, 3))
    image = nib.Nifti1Image(voxels, AFFINE, nib.Nifti1Header(endianness=">"))
    nib.save(image, tmp_path / "b.nii")
    read, native = load_nifti(tmp_path / "b.nii")
    np.testing.assert_array_equal(read, voxels)
    np.testing.assert_array_equal(native.header.get_best_affine(), AFFINE)
