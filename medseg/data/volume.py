"""A volume: intensities, labels and their place in space, read from any format and written back as NIfTI."""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from medseg.data import itk, nifti
from medseg.data.checks import check_image, check_same_grid, integer_labels
from medseg.data.native import NativeSpace
from medseg.errors import InputError


@dataclass(frozen=True, eq=False)
class Volume:
    """One case on its canonical grid: depth towards superior, height towards anterior, width towards right.

    Attributes:
        array: float32, axes C D H W; `array[c, d, h, w]` is the RAS-ordered voxel `[w, h, d]` of channel c.
            For `read_labels` it is the label map itself, 1 D H W, with an integer type.
        labels: uint8 (int16 where needed), axes D H W, or None.
        affine: 4x4 float64, from canonical x, y, z (that is w, h, d) voxel indices to RAS millimetres.
        native: the grid of the source file, for writing back.
        name: file name without its suffix, or the name of the DICOM folder.
        spacing_known: False where the card of the data set says that the file's spacing was lost.
    """

    array: np.ndarray
    labels: np.ndarray | None
    affine: np.ndarray
    native: NativeSpace
    name: str
    spacing_known: bool = True

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Distance between voxel centres in millimetres, in D, H, W order; None where it is not known."""
        if not self.spacing_known:
            return None
        x, y, z = nib.affines.voxel_sizes(self.affine)
        return float(z), float(y), float(x)


def read(image: Path, labels: Path | None = None) -> Volume:
    """Read an image, and its labels if given, onto the canonical grid.

    Reads .nii and .nii.gz (4D: channels last), .mha, .mhd, .nrrd, .nhdr, and a folder with one DICOM series.
    The labels may be stored in another orientation or format than the image: they are compared in space.

    Raises:
        InputError: a file is missing, unreadable or not a volume; the image has NaN, infinite or only equal
            values; the labels are not whole numbers or lie on another grid.
    """
    image = Path(image)
    voxels, native = _load(image)
    with np.errstate(over="ignore", invalid="ignore"):
        array = native.to_canonical(voxels).astype(np.float32)
    name = case_name(image)
    check_image(array, name)
    affine = native.canonical_affine
    if labels is None:
        return Volume(array, None, affine, native, name)
    label_map, label_affine, _ = _load_labels(Path(labels))
    check_same_grid(array.shape[:0:-1], affine, label_map.shape[::-1], label_affine, name)
    return Volume(array, label_map, affine, native, name)


def read_labels(path: Path) -> Volume:
    """Read a label map alone: `array` is the map with a channel axis in front (1 D H W), `labels` the map.

    Raises:
        InputError: the file is missing, unreadable, has several channels, or holds other than whole numbers.
    """
    path = Path(path)
    label_map, affine, native = _load_labels(path)
    return Volume(label_map[np.newaxis], label_map, affine, native, case_name(path))


def write_labels(volume: Volume, labels_dhw: np.ndarray, path: Path) -> None:
    """Write a canonical label map (D H W) as NIfTI on the grid of the volume's source file.

    Shape, affine (qform and sform), orientation, voxel sizes and units are those of the source. The file is
    uint8, int16 where values above 255 or below 0 occur, and appears whole or not at all.

    Raises:
        InputError: another shape than the volume, values that are not integers, or another suffix than
            .nii or .nii.gz.
    """
    labels_dhw = np.asarray(labels_dhw)
    if labels_dhw.shape != volume.array.shape[1:]:
        raise InputError(
            f"the label map for {volume.name} has another shape than the volume",
            expected=f"D H W = {volume.array.shape[1:]}",
            got=str(labels_dhw.shape),
            do="stitch the prediction on the volume's own grid before writing",
        )
    if labels_dhw.dtype.kind not in "biu":
        raise InputError(
            f"the label map for {volume.name} does not hold integers",
            expected="an integer array",
            got=f"data type {labels_dhw.dtype}",
            do="take the argmax over classes first",
        )
    values = integer_labels(labels_dhw, volume.name)
    nifti.save_nifti(Path(path), volume.native.to_native(values), volume.native)


def case_name(path: Path) -> str:
    """File name without the suffix of its format.

    >>> case_name(Path("imagesTr/hippocampus_001.nii.gz"))
    'hippocampus_001'
    """
    for suffix in sorted(nifti.SUFFIXES + itk.SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _load(path: Path) -> tuple[np.ndarray, NativeSpace]:
    if path.is_dir():
        return itk.load_dicom(path)
    if not path.exists():
        raise InputError(
            f"{path} is missing",
            expected="an image file or a DICOM folder",
            got="nothing at this path",
            do="check the spelling of the path and that the download is complete",
        )
    if path.name.lower().endswith(nifti.SUFFIXES):
        return nifti.load_nifti(path)
    if path.name.lower().endswith(itk.SUFFIXES):
        return itk.load_itk(path)
    raise InputError(
        f"the format of {path.name} is not known",
        expected="one of " + ", ".join(nifti.SUFFIXES + itk.SUFFIXES) + ", or a folder with one DICOM series",
        got=f'a name that ends in "{path.suffix}"',
        do="convert the file, or pass the folder instead of a single DICOM file",
    )


def _load_labels(path: Path) -> tuple[np.ndarray, np.ndarray, NativeSpace]:
    voxels, native = _load(path)
    channels = native.to_canonical(voxels)
    if channels.shape[0] != 1:
        raise InputError(
            f"{path.name} is not a label map",
            expected="one integer a voxel",
            got=f"{channels.shape[0]} channels",
            do="merge one-hot channels into one map, or check that this is not the image",
        )
    return integer_labels(channels[0], case_name(path)), native.canonical_affine, native
