"""Distances between the surfaces of two masks, in millimetres: HD95 and normalised surface Dice (NSD).

Both are MONAI's; this file fixes the choices that change the numbers.

* HD95: a surface is the set of mask voxels with a face neighbour outside the mask (or outside the image).
  The nearest distances from the voxels of one surface to the other surface form two sets: prediction to
  reference, and back. The 95th percentile (linear interpolation) is taken of each set and the larger of the
  two is returned, so the value is symmetric. Other tools take one percentile of both sets together, or weigh
  the distances by area: their HD95 differs.
* NSD: the share of both surfaces, by area in mm2, that lies within the tolerance of the other surface
  (`use_subvoxels=True`: surface elements sit between voxels and have the area of a marching-cubes patch, as
  in Nikolov et al. 2018, arXiv:1809.04430). Counting surface voxels instead would weigh the long and the
  short side of an anisotropic voxel the same.
"""

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool

import medseg.compat  # noqa: F401

# isort: split
from monai.metrics import compute_hausdorff_distance, compute_surface_dice

from medseg.errors import InputError
from medseg.metrics.overlap import check_label_maps, foreground

PERCENTILE = 95.0
Mask: TypeAlias = Bool[np.ndarray, "d h w"]
CutMask: TypeAlias = Bool[np.ndarray, "cut_d cut_h cut_w"]


def case_surface(
    pred_dhw: np.ndarray,
    ref_dhw: np.ndarray,
    labels: Iterable[int],
    spacing_mm: Sequence[float],
    tolerance_mm: float,
) -> dict[int, tuple[float | None, float | None]]:
    """HD95 and NSD of every label in one case.

    Args:
        pred_dhw: Predicted label map, integers, axes D H W.
        ref_dhw: Reference label map, integers, same shape.
        labels: The labels of the data set; 0 (background) is left out if it is among them.
        spacing_mm: Voxel size in mm, order D H W.
        tolerance_mm: Deviation in mm up to which a surface element counts as right.

    Returns:
        (hd95_mm, nsd) per label. Both masks empty: (None, None). One mask empty: (None, 0.0).

    Raises:
        InputError: Shapes, labels, spacing or tolerance are not usable.
    """
    wanted = foreground(labels)
    check_label_maps(pred_dhw, ref_dhw, wanted)
    spacing = _spacing(spacing_mm)
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise InputError(
            "the surface tolerance is not a length",
            expected="a finite number of mm, at least 0",
            got=str(tolerance_mm),
            do="pass the nsd_tolerance_mm of the data set's card",
        )
    return {
        label: _label_surface(pred_dhw == label, ref_dhw == label, spacing, float(tolerance_mm))
        for label in wanted
    }


def hd95_mm(pred_dhw: Mask, ref_dhw: Mask, spacing_mm: Sequence[float]) -> float:
    """95th percentile of the symmetric Hausdorff distance of two non-empty masks, in mm.

    Args:
        pred_dhw: Predicted mask, bool, axes D H W.
        ref_dhw: Reference mask, bool, same shape.
        spacing_mm: Voxel size in mm, order D H W.

    Returns:
        The larger of the two directed 95th percentiles.
    """
    with _monai_deprecation_muted():
        value = compute_hausdorff_distance(
            _batch(pred_dhw),
            _batch(ref_dhw),
            include_background=True,
            percentile=PERCENTILE,
            directed=False,
            spacing=_spacing(spacing_mm),
        )
    return float(value.item())


def nsd(pred_dhw: Mask, ref_dhw: Mask, spacing_mm: Sequence[float], tolerance_mm: float) -> float:
    """Normalised surface Dice of two non-empty masks, weighted by area (Nikolov et al. 2018).

    Args:
        pred_dhw: Predicted mask, bool, axes D H W.
        ref_dhw: Reference mask, bool, same shape.
        spacing_mm: Voxel size in mm, order D H W.
        tolerance_mm: Deviation in mm up to which a surface element counts as right.

    Returns:
        A value in [0, 1].
    """
    with _monai_deprecation_muted():
        value = compute_surface_dice(
            _batch(pred_dhw),
            _batch(ref_dhw),
            class_thresholds=[tolerance_mm],
            include_background=True,
            spacing=_spacing(spacing_mm),
            use_subvoxels=True,
        )
    return min(1.0, float(value.item()))


def crop_to_union(pred_dhw: Mask, ref_dhw: Mask) -> tuple[CutMask, CutMask]:
    """Cut two masks to their common bounding box with a margin of one voxel where the image allows it.

    Every surface voxel stays inside with its neighbours, so no distance changes; only the time does.

    Args:
        pred_dhw: Mask, bool, axes D H W.
        ref_dhw: Mask, bool, same shape; at least one of the two is not empty.

    Returns:
        The two cut masks.
    """
    union = pred_dhw | ref_dhw
    box = []
    for axis in range(union.ndim):
        others = tuple(other for other in range(union.ndim) if other != axis)
        hit = np.flatnonzero(union.any(axis=others))
        box.append(slice(max(int(hit[0]) - 1, 0), int(hit[-1]) + 2))
    return pred_dhw[tuple(box)], ref_dhw[tuple(box)]


def _label_surface(
    pred_dhw: Mask, ref_dhw: Mask, spacing: list[float], tolerance_mm: float
) -> tuple[float | None, float | None]:
    in_pred, in_ref = bool(pred_dhw.any()), bool(ref_dhw.any())
    if not (in_pred and in_ref):
        # MONAI would warn and return inf or nan here; a distance to nothing has no value.
        return None, 0.0 if in_pred or in_ref else None
    pred_dhw, ref_dhw = crop_to_union(pred_dhw, ref_dhw)
    return hd95_mm(pred_dhw, ref_dhw, spacing), nsd(pred_dhw, ref_dhw, spacing, tolerance_mm)


@contextmanager
def _monai_deprecation_muted() -> Iterator[None]:
    # MONAI 1.6 passes an argument that it deprecated to itself; the caller can do nothing about it.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
        yield


def _batch(mask_dhw: Mask) -> torch.Tensor:
    # The copy gives torch a writable, positively strided array whatever view came in.
    return torch.from_numpy(np.array(mask_dhw, dtype=bool, order="C"))[None, None]


def _spacing(spacing_mm: Sequence[float]) -> list[float]:
    spacing = [float(step) for step in spacing_mm]  # MONAI refuses a mix of int and float
    if len(spacing) != 3 or not all(math.isfinite(step) and step > 0 for step in spacing):
        raise InputError(
            "the voxel spacing is not usable",
            expected="three finite lengths in mm above 0, order D H W",
            got=str(tuple(spacing_mm)),
            do="check the header of the image",
        )
    return spacing
