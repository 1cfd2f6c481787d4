"""Scores of regions, which are unions of labels: those of BraTS (ET, TC, WT) and of KiTS19."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import InputError
from medseg.metrics.overlap import case_overlap, check_label_maps
from medseg.metrics.surface import crop_to_union, hd95_mm

Regions = Mapping[str, Sequence[int]]

# Enhancing tumour, tumour core, whole tumour, of labels 1 (core that does not enhance), 2 (edema), 4.
BRATS_REGIONS: Regions = {"ET": (4,), "TC": (1, 4), "WT": (1, 2, 4)}
# As the publisher's evaluation has it: the kidney includes its tumour.
KITS_REGIONS: Regions = {"kidney": (1, 2), "tumour": (2,)}
CORE, ENHANCING = 1, 4
# Med-Tuning's released code: an enhancing tumour of fewer voxels is taken for core.
LEAST_ENHANCING_VOXELS = 500


@dataclass(frozen=True)
class RegionScore:
    """Dice and HD95 (mm) of one region in one case; None means undefined."""

    region: str
    dice: float | None
    hd95_mm: float | None


def score_regions(
    pred_dhw: np.ndarray,
    ref_dhw: np.ndarray,
    regions: Regions,
    spacing_mm: Sequence[float] | None,
    as_server_2020: bool = False,
) -> list[RegionScore]:
    """Score the regions of one case.

    A region that one map lacks has Dice 0 and no HD95; one that both lack has neither. The server of BraTS
    2020 gives a value to every case (`as_server_2020`): Dice 1 and HD95 0 where both lack the region, the
    diagonal of the image for an HD95 to nothing (373.13 mm for BraTS). HD95 of ET in Med-Tuning's Table 1 is
    several times larger on BraTS 2020 than on 2019: the server of 2019 seems not to have counted them so.

    Args:
        pred_dhw: Predicted label map, integers, axes D H W.
        ref_dhw: Reference label map, integers, same shape.
        regions: Name of each region to its labels.
        spacing_mm: Voxel size in mm, order D H W; None where it is not known: no HD95 is given.
        as_server_2020: Give the server's values where a region is empty.

    Returns:
        One row per region, in the order of `regions`.

    Raises:
        InputError: Shapes differ, a map holds a label of no region, or the spacing is not usable.
    """
    check_label_maps(pred_dhw, ref_dhw, {label for labels in regions.values() for label in labels})
    rows = []
    for region, labels in regions.items():
        pred, ref = np.isin(pred_dhw, list(labels)), np.isin(ref_dhw, list(labels))
        (overlap,) = case_overlap(pred, ref, [1])
        dice, distance = overlap.dice, None
        if spacing_mm is not None and pred.any() and ref.any():
            distance = hd95_mm(*crop_to_union(pred, ref), spacing_mm)
        elif as_server_2020 and spacing_mm is not None:
            lengths = (n * step for n, step in zip(pred.shape, spacing_mm, strict=True))
            distance = 0.0 if dice is None else math.hypot(*lengths)
        if as_server_2020 and dice is None:
            dice = 1.0
        rows.append(RegionScore(region, dice, distance))
    return rows


def composite_dice(scores: Sequence[RegionScore]) -> float | None:
    """Mean Dice of the regions, KiTS19's composite; None where one is undefined.

    >>> composite_dice([RegionScore("kidney", 0.9, None), RegionScore("tumour", 0.5, None)])
    0.7
    """
    values = [score.dice for score in scores if score.dice is not None]
    return sum(values) / len(values) if values and len(values) == len(scores) else None


def without_small_enhancing(pred_dhw: np.ndarray, least_voxels: int = LEAST_ENHANCING_VOXELS) -> np.ndarray:
    """BraTS label map in which an enhancing tumour (4) of fewer than `least_voxels` voxels is core (1).

    Med-Tuning does so in all predictions. The voxels are those of the whole map; 0 switches the rule off. The
    map that is passed in stays as it is.

    Raises:
        InputError: a negative number of voxels.
    """
    if least_voxels < 0:
        raise InputError(
            "the size of an enhancing tumour is negative",
            expected="a number of voxels, 0 to keep every tumour",
            got=str(least_voxels),
            do=f"pass 0 or {LEAST_ENHANCING_VOXELS}",
        )
    enhancing = pred_dhw == ENHANCING
    small = np.count_nonzero(enhancing) < least_voxels
    return np.where(enhancing, pred_dhw.dtype.type(CORE), pred_dhw) if small else pred_dhw.copy()
