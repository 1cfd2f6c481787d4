"""Checks of an image and its labels: what would go wrong silently later is refused here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medseg.errors import InputError

if TYPE_CHECKING:
    from medseg.data.catalog import DatasetCard
    from medseg.data.volume import Volume

# Two grids are the same when no corner voxel is further apart than this share of the smallest voxel edge.
GRID_TOLERANCE = 0.05
# Label values may be off a whole number by this much (files that store labels as scaled floats).
LABEL_TOLERANCE = 1e-3


def check_image(array: np.ndarray, name: str) -> None:
    """Refuse NaN, infinity and channels with one value only; `array` has axes C D H W.

    Raises:
        InputError: names the volume and, for a constant channel, its number.
    """
    finite = np.isfinite(array)
    if not finite.all():
        raise InputError(
            f"the image of {name} has values that are not numbers",
            expected="finite intensities",
            got=f"{int(np.isnan(array).sum())} NaN and {int(np.isinf(array).sum())} infinite voxels",
            do="repair or leave out this case; replacing them silently would change the intensities",
        )
    for channel, voxels in enumerate(array):
        if voxels.min() == voxels.max():
            raise InputError(
                f"channel {channel} of {name} is constant",
                expected="an image with contrast in every channel",
                got=f"{voxels.size} voxels of value {voxels.flat[0]:g}",
                do="check the export of this case: an empty or masked-out image was written",
            )


def integer_labels(array: np.ndarray, name: str) -> np.ndarray:
    """Label values as uint8, or int16 where they do not fit; the shape stays.

    Raises:
        InputError: values that are not whole numbers (within `LABEL_TOLERANCE`) or too large.

    >>> integer_labels(np.array([0.0, 2.0]), "case").dtype
    dtype('uint8')
    """
    if array.dtype.kind == "f":
        rounded = np.rint(array)
        with np.errstate(invalid="ignore"):
            off = ~(np.abs(array - rounded) <= LABEL_TOLERANCE)
        if off.any():
            raise InputError(
                f"the labels of {name} are not whole numbers",
                expected="one integer a voxel",
                got=f"{int(off.sum())} other values, {array[off].flat[0]:g} for example",
                do="resample label maps with nearest neighbour; pass probabilities through argmax first",
            )
        array = rounded
    low, high = int(array.min()), int(array.max())
    for dtype in (np.uint8, np.int16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return array.astype(dtype)
    raise InputError(
        f"the labels of {name} do not fit into 16 bits",
        expected="label numbers from -32768 to 32767",
        got=f"{low} to {high}",
        do="number the structures from 1 on",
    )


def corner_distance(shape: tuple[int, ...], first: np.ndarray, second: np.ndarray) -> float:
    """Largest distance between corner voxels of a grid placed by two 4x4 affines, in the affines' unit."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    homogeneous = np.column_stack([corners, np.ones(len(corners))])
    return float(np.linalg.norm((homogeneous @ (first - second).T)[:, :3], axis=1).max())


def check_same_grid(
    image_shape: tuple[int, ...],
    image_affine: np.ndarray,
    shape: tuple[int, ...],
    affine: np.ndarray,
    name: str,
) -> None:
    """Refuse labels that do not lie on the image's canonical grid (shapes in x y z, affines in mm).

    Raises:
        InputError: another shape, or a corner further off than `GRID_TOLERANCE` of the smallest voxel edge.
    """
    if tuple(image_shape) != tuple(shape):
        raise InputError(
            f"image and labels of {name} differ in shape",
            expected=f"{tuple(image_shape)} voxels (R, A, S)",
            got=f"{tuple(shape)} in the label file",
            do="check that the two files belong together, or resample the labels to the image",
        )
    edge = float(np.sqrt((np.asarray(image_affine)[:3, :3] ** 2).sum(axis=0)).min())
    distance = corner_distance(image_shape, image_affine, affine)
    if distance > GRID_TOLERANCE * edge:
        raise InputError(
            f"image and labels of {name} lie at different places",
            expected=f"the same affine, corners within {GRID_TOLERANCE * edge:.3g} mm",
            got=f"corners up to {distance:.3g} mm apart",
            do="check that the two files belong together, or resample the labels to the image",
        )


def check_pair(volume: Volume, card: DatasetCard) -> None:
    """Refuse a volume that does not match its data set's card: channel count and label values.

    Raises:
        InputError: another number of channels, or a label value that the card does not name.
    """
    if volume.array.shape[0] != len(card.channels):
        raise InputError(
            f"{volume.name} has another number of channels than {card.name}",
            expected=f"{len(card.channels)} ({', '.join(card.channels)})",
            got=str(volume.array.shape[0]),
            do="check the file, or the modality entry of dataset.json",
        )
    if volume.labels is None:
        return
    unknown = sorted(set(np.unique(volume.labels).tolist()) - set(card.labels))
    if unknown:
        raise InputError(
            f"{volume.name} has label values that {card.name} does not name",
            expected=", ".join(f"{number} {text}" for number, text in sorted(card.labels.items())),
            got=", ".join(map(str, unknown)),
            do="correct the label map, or name the structures in dataset.json",
        )
