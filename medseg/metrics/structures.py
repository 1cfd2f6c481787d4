"""How large a structure is, and how much it changes from slice to slice (TransSeg, Table 3)."""

from collections.abc import Iterable
from statistics import fmean
from typing import NamedTuple

import numpy as np

from medseg.metrics.overlap import case_dice


class Structure(NamedTuple):
    """One structure over label maps; `neighbour_dice` is a share of 1, None where there is no pair."""

    maps: int
    voxels: int
    slices: int
    neighbour_dice: float | None


def neighbour_dice(mask: np.ndarray) -> list[float]:
    """Dice of every two neighbouring slices of which at least one holds the structure.

    Low values mean that its outline changes much from slice to slice. A slice at the end of the structure has
    an empty neighbour, and 0.

    Args:
        mask: bool (D, H, W).

    >>> disc = np.ones((2, 2), bool)
    >>> neighbour_dice(np.stack([~disc, ~disc, disc, disc, ~disc]))
    [0.0, 1.0, 0.0]
    """
    overlaps = (
        case_dice(int((a & b).sum()), int((~a & b).sum()), int((a & ~b).sum()))
        for a, b in zip(mask[:-1], mask[1:], strict=True)
    )
    return [dice for dice in overlaps if dice is not None]


def measure_structure(masks: Iterable[np.ndarray]) -> Structure:
    """One structure over label maps, bool (D, H, W) each; the Dice is a mean over all pairs of slices."""
    maps = voxels = slices = 0
    dice: list[float] = []
    for mask in masks:
        maps += 1
        voxels += int(mask.sum())
        slices += int(mask.any(axis=(1, 2)).sum())
        dice += neighbour_dice(mask)
    return Structure(maps, voxels, slices, fmean(dice) if dice else None)
