"""What a viewer is given: one small uint8 volume with its label maps, and their colours."""

import colorsys
import gzip
from collections.abc import Mapping
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy.ndimage import binary_erosion

from medseg.data.volume import Volume
from medseg.errors import InputError

MAX_VOXELS = 128  # along one axis: a real scan of 128^3 stays under 2 MB in a page
_BODY = 20  # grey value (of 255) above which a voxel counts as the body when a large volume is cropped
# Okabe and Ito's colours, which stay apart for colour-blind readers, in the order of the label values.
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0))


@dataclass(frozen=True)
class Scene:
    """A volume made small enough for a page.

    Attributes:
        image: uint8, axes D H W, at most 128 voxels along each.
        reference: uint8 label map on the same grid, or None.
        prediction: uint8 label map on the same grid, or None.
        affine: 4x4, voxel (x, y, z) to RAS mm of this grid.
        names: the name of every label value that occurs, in the order of the values.
    """

    image: np.ndarray
    reference: np.ndarray | None
    prediction: np.ndarray | None
    affine: np.ndarray
    names: dict[int, str]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size in mm, in the order D H W."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def focus(self) -> tuple[int, int, int]:
        """The voxel (d, h, w) where most labelled voxels meet along each axis; the centre without labels."""
        labels = self.reference if self.reference is not None else self.prediction
        if labels is None or not labels.any():
            d, h, w = (n // 2 for n in self.image.shape)
            return d, h, w
        counts = ((labels > 0).sum(axis=others) for others in ((1, 2), (0, 2), (0, 1)))
        # Of equally full planes the middle one: at the edge of a label its neighbours are cut off.
        d, h, w = (int(np.median(np.flatnonzero(count == count.max()))) for count in counts)
        return d, h, w

    @property
    def refined(self) -> "Scene":
        """The same scene with every voxel divided, as far as the limit allows, into up to 3 along an axis."""
        factors = [min(3, max(1, MAX_VOXELS // n)) for n in self.image.shape]
        parts = [self.image, self.reference, self.prediction]
        for axis, factor in enumerate(factors):
            parts = [None if a is None else np.repeat(a, factor, axis=axis) for a in parts]
        image, reference, prediction = parts
        assert image is not None
        grid = np.diag([*(1 / f for f in factors[::-1]), 1.0])
        grid[:3, 3] = [0.5 / f - 0.5 for f in factors[::-1]]
        return Scene(image, reference, prediction, self.affine @ grid, self.names)


def make_scene(
    volume: Volume,
    reference: np.ndarray | None,
    prediction: np.ndarray | None,
    names: Mapping[int, str] | None,
) -> Scene:
    """Crop and resample a volume's first channel and its label maps to at most 128 voxels an axis.

    A volume that is larger is first cropped to the body and the labels, then sampled at even steps. Grey
    values run from the 0.5th to the 99.5th percentile.

    Args:
        volume: the image, axes C D H W; channel 0 is shown.
        reference: label map, axes D H W, or None.
        prediction: label map, axes D H W, or None.
        names: label value to name; a value without a name is called "label <value>".

    Raises:
        InputError: a label map of another shape, or with values outside 0 to 255.
    """
    grey = _to_grey(volume.array[0])
    maps = [_checked(part, array, grey.shape) for part, array in _parts(reference, prediction)]
    if max(grey.shape) > MAX_VOXELS:
        shown = grey > _BODY
        for labels in maps:
            if labels is not None:
                shown |= labels > 0
        box = _bounding_box(shown)
    else:
        box = tuple((0, n) for n in grey.shape)
    indices, affine = _sample_points(box, volume.affine)
    image, ref, pred = (None if a is None else np.ascontiguousarray(a[indices]) for a in (grey, *maps))
    values = sorted({int(v) for a in (ref, pred) if a is not None for v in np.unique(a)} - {0})
    known = {value: (names or {}).get(value, f"label {value}") for value in values}
    assert image is not None
    return Scene(image=image, reference=ref, prediction=pred, affine=affine, names=known)


def colour_of(index: int) -> tuple[int, int, int]:
    """Red, green, blue (0 to 255) of the label in place `index`; past the palette, hues spread evenly.

    >>> colour_of(0)
    (230, 159, 0)
    """
    if index < len(_COLOURS):
        return _COLOURS[index]
    r, g, b = colorsys.hsv_to_rgb((0.13 + index * 0.618034) % 1.0, 0.65, 0.95)
    return round(r * 255), round(g * 255), round(b * 255)


def shell(labels: np.ndarray) -> np.ndarray:
    """Keep of each label only the voxels on its surface, so that what lies inside stays visible.

    >>> int(shell(np.ones((5, 5, 5), np.uint8)).sum())
    98
    """
    kept = labels.copy()
    for value in np.unique(labels[labels > 0]):
        kept[binary_erosion(labels == value)] = 0
    return kept


def to_nifti(array: np.ndarray, affine: np.ndarray) -> bytes:
    """The bytes of a .nii.gz file of one array with axes D H W, equal for equal input."""
    image = nib.Nifti1Image(array.transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), 9, mtime=0)


def _parts(reference: np.ndarray | None, prediction: np.ndarray | None):
    return (("reference", reference), ("prediction", prediction))


def _checked(part: str, labels: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.shape != shape:
        raise InputError(
            f"the {part} does not lie on the volume's grid",
            expected=f"shape {shape} (D, H, W)",
            got=f"shape {labels.shape}",
            do="resample the label map to the volume first",
        )
    if labels.size and (labels.min() < 0 or labels.max() > 255):
        raise InputError(
            f"the {part} holds values that the viewer cannot colour",
            expected="label values from 0 to 255",
            got=f"values from {labels.min()} to {labels.max()}",
            do="renumber the labels",
        )
    return labels.astype(np.uint8)


def _to_grey(array: np.ndarray) -> np.ndarray:
    array = np.nan_to_num(np.asarray(array, dtype=np.float32), posinf=0.0, neginf=0.0)
    low, high = np.percentile(array, (0.5, 99.5))
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.clip((array - low) * scale, 0, 255).astype(np.uint8)


def _bounding_box(shown: np.ndarray) -> tuple[tuple[int, int], ...]:
    box = []
    for axis in range(shown.ndim):
        hit = np.flatnonzero(shown.any(axis=tuple(a for a in range(shown.ndim) if a != axis)))
        box.append((int(hit[0]), int(hit[-1]) + 1) if hit.size else (0, shown.shape[axis]))
    return tuple(box)


def _sample_points(box: tuple[tuple[int, int], ...], affine: np.ndarray):
    """Index arrays for numpy (D H W) and the affine of the sampled grid, each sample in its cell's middle."""
    points, steps, starts = [], [], []
    for low, high in box:
        count = min(high - low, MAX_VOXELS)
        step = (high - low) / count
        # The middle of cell i, in voxels, is low + (i + 0.5) * step - 0.5; the nearest voxel stands for it.
        points.append(low + np.floor((np.arange(count) + 0.5) * step).astype(int))
        steps.append(step)
        starts.append(low + 0.5 * step - 0.5)
    grid = np.diag([*steps[::-1], 1.0])
    grid[:3, 3] = starts[::-1]
    return np.ix_(*points), affine @ grid
