"""NIfTI files in and out, through nibabel."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medseg.data.native import NativeSpace, from_nifti
from medseg.errors import InputError
from medseg.files import atomic_path

SUFFIXES = (".nii", ".nii.gz")
# What nibabel and gzip raise for files that are cut off, damaged or something else altogether.
_UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, OverflowError, zlib.error),
    *(nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError),
)


def stated_spacing(path: Path) -> tuple[float, ...]:
    """Voxel size along the three stored axes as the header states it, in the file's unit; reads no voxel.

    Raises:
        InputError: not a NIfTI.
    """
    try:
        header: Any = nib.load(path).header
        return tuple(float(edge) for edge in header.get_zooms()[:3])
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def load_nifti(path: Path) -> tuple[np.ndarray, NativeSpace]:
    """Voxels as stored (x y z, or x y z c for 4D), with the file's scaling applied, and the native space.

    Raises:
        InputError: not a NIfTI, cut off, not 3D or 4D, voxels that are not numbers, or an affine that
            flattens space.
    """
    try:
        image = _open(path)
        voxels = np.asanyarray(image.dataobj)
        image.header.get_xyzt_units()
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    if voxels.dtype.kind not in "biuf":
        raise InputError(
            f"the voxels of {path} are not plain numbers",
            expected="integers or real floating point",
            got=f"data type {voxels.dtype}",
            do="convert colour or complex images to one number a voxel, or to channels on the fourth axis",
        )
    if voxels.ndim not in (3, 4) or voxels.size == 0:
        raise InputError(
            f"{path} is not a volume",
            expected="three axes, or four with the channels last, none of them empty",
            got=f"shape {voxels.shape}",
            do="choose the file that holds the whole volume",
        )
    affine = image.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise InputError(
            f"the affine of {path} does not place the voxels in space",
            expected="a finite, invertible 4x4 matrix",
            got=str(np.asarray(affine).tolist()),
            do="restore the header from the original image",
        )
    x, y, z = voxels.shape[:3]
    return voxels, from_nifti(image.header, affine, (x, y, z))


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be read as NIfTI",
        expected="a whole .nii or .nii.gz file",
        got=f"{type(error).__name__}: {error}",
        do="copy or download the file again; other formats go in as .mha, .nrrd or a DICOM folder",
    )


def _open(path: Path) -> nib.Nifti1Image:
    content = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        # In one go, so that the checksum at the end of the stream is compared: nibabel stops reading before
        # it, and a damaged file would come out as a volume with wrong voxels.
        content = gzip.decompress(content)
    for image_class in (nib.Nifti1Image, nib.Nifti2Image):
        if image_class.header_class.may_contain_header(content):
            return image_class.from_bytes(content)
    raise nib.filebasedimages.ImageFileError("no NIfTI header")


def save_nifti(path: Path, voxels: np.ndarray, native: NativeSpace) -> None:
    """Write voxels in stored order (x y z) with the geometry fields of `native`, in one step.

    Raises:
        InputError: `path` does not end in .nii or .nii.gz.
    """
    if not path.name.endswith(SUFFIXES):
        raise InputError(
            f"cannot tell how to write {path.name}",
            expected="a name that ends in .nii or .nii.gz",
            got=path.name,
            do="change the file name",
        )
    header = native.header.copy()
    header.set_data_dtype(voxels.dtype)
    image_class = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    with atomic_path(path) as temporary:
        # Affine None keeps qform and sform as they stand in the header, without a rounding step.
        nib.save(image_class(voxels, None, header), temporary)
