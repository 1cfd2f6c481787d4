"""MetaImage, NRRD and DICOM series in, through SimpleITK; its LPS world becomes RAS."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from medseg.data.native import NativeSpace, from_affine
from medseg.errors import InputError

SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# A step from slice to slice may differ from the mean step by this share of it before a series is refused.
STEP_TOLERANCE = 0.01


def load_itk(path: Path) -> tuple[np.ndarray, NativeSpace]:
    """Voxels as stored (x y z or x y z c) and the native space of a .mha, .mhd, .nrrd or .nhdr file.

    Raises:
        InputError: the file cannot be read or is not a volume.
    """
    try:
        with _quiet():
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    return _unpack(image, path)


def load_dicom(folder: Path) -> tuple[np.ndarray, NativeSpace]:
    """Voxels as stored (x y z, rescaled to HU where the files say how) of the one series in a folder.

    A series with a missing slice, uneven steps or a tilted gantry is refused: the reader would otherwise
    spread the slices evenly and every length in millimetres would be wrong.

    Raises:
        InputError: no series, several series, unreadable files, or slices that are not evenly stacked.
    """
    reader = sitk.ImageSeriesReader()
    try:
        with _quiet():
            series = reader.GetGDCMSeriesIDs(str(folder))
            if len(series) != 1:
                raise InputError(
                    f"{folder} does not hold exactly one DICOM series",
                    expected="one series in the folder",
                    got=f"{len(series)} series",
                    do="put the files of each series into a folder of their own"
                    if series
                    else "name the image files themselves where they are no DICOM: FOLDER/*.nii.gz",
                )
            names = reader.GetGDCMSeriesFileNames(str(folder), series[0])
            reader.SetFileNames(names)
            reader.MetaDataDictionaryArrayUpdateOn()
            image = reader.Execute() if len(names) > 1 else sitk.ReadImage(names[0])
    except RuntimeError as error:
        raise _unreadable(folder, error) from error
    if len(names) > 1:
        _check_steps(reader, image, len(names), folder)
    return _unpack(image, folder)


def _check_steps(reader: sitk.ImageSeriesReader, image: sitk.Image, slices: int, folder: Path) -> None:
    positions = []
    for index in range(slices):
        if not reader.HasMetaDataKey(index, "0020|0032"):
            raise InputError(
                f"a slice in {folder} has no position",
                expected="Image Position (Patient), tag 0020,0032, in every file",
                got=f"none in slice {index + 1} of {slices}",
                do="export the series again from the archive, with its geometry",
            )
        positions.append([float(x) for x in reader.GetMetaData(index, "0020|0032").split("\\")])
    normal = np.asarray(image.GetDirection()).reshape(3, 3)[:, 2]
    expected = normal * image.GetSpacing()[2]
    steps = np.diff(np.asarray(positions), axis=0)
    worst = float(np.linalg.norm(steps - expected, axis=1).max())
    if worst > STEP_TOLERANCE * image.GetSpacing()[2]:
        lengths = steps @ normal
        raise InputError(
            f"the slices in {folder} are not evenly stacked",
            expected=f"equal steps along the slice normal, within {STEP_TOLERANCE:.0%}",
            got=f"steps of {lengths.min():.3f} to {lengths.max():.3f} mm, off by up to {worst:.3f} mm",
            do="look for missing slices; resample a series with a tilted gantry first",
        )


def _unpack(image: sitk.Image, path: Path) -> tuple[np.ndarray, NativeSpace]:
    dimension = image.GetDimension()
    voxels = sitk.GetArrayFromImage(image)
    per_voxel = image.GetNumberOfComponentsPerPixel()
    if dimension not in (3, 4) or (dimension == 4 and per_voxel > 1) or voxels.size == 0:
        raise InputError(
            f"{path} is not a volume",
            expected="three axes, or four with the channels last",
            got=f"size {image.GetSize()} with {per_voxel} values a voxel",
            do="choose the file that holds the whole volume",
        )
    # numpy order is (t) z y x (c); stored order is x y z (t or c).
    voxels = voxels.transpose(2, 1, 0, 3) if per_voxel > 1 else voxels.T
    if voxels.dtype.kind not in "biuf":
        raise InputError(
            f"the voxels of {path} are not plain numbers",
            expected="integers or real floating point",
            got=f"data type {voxels.dtype}",
            do="convert complex images to one number a voxel",
        )
    direction = np.asarray(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.asarray(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    x, y, z = voxels.shape[:3]
    return voxels, from_affine(_LPS_TO_RAS @ affine, (x, y, z))


@contextmanager
def _quiet() -> Iterator[None]:
    # ITK writes its warnings to standard error; what matters in them is checked and raised here.
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _unreadable(path: Path, error: RuntimeError) -> InputError:
    return InputError(
        f"{path} cannot be read",
        expected="a whole .mha or .nrrd file, or a folder with one DICOM series",
        got=str(error).strip().splitlines()[-1],
        do="copy or export the data again",
    )
