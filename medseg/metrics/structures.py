"""How large a structure is, and how much it changes from slice to slice (TransSeg, Table 3)."""

from collections.abc import Iterable
from statistics import fmean
from typing import NamedTuple

import numpy as np

from medseg.metrics.overlap import case_dice


class Structure(NamedTuple):
    """One structure over label maps; the Dice of neighbouring slices is None where there is no pair.

    Means over pairs, as a share of 1: `neighbour_dice` over those of which one slice or both hold the
    structure, `inner_dice` over those of which both do. The paper does not say which one it has.
    """

    maps: int
    voxels: int
    slices: int
    neighbour_dice: float | None
    inner_dice: float | None


def neighbour_dice(mask: np.ndarray, ends: bool = True) -> list[float]:
    """Dice of every two neighbouring slices of which at least one holds the structure.

    Low values mean that its outline changes much from slice to slice.

    Args:
        mask: bool (D, H, W).
        ends: count the two ends of the structure, where a slice has an empty neighbour, as 0; the fewer
            slices a structure has, the more they weigh.

    >>> disc = np.ones((2, 2), bool)
    >>> tube = np.stack([~disc, ~disc, disc, disc, ~disc])
    >>> neighbour_dice(tube), neighbour_dice(tube, ends=False)
    ([0.0, 1.0, 0.0], [1.0])
    """
    overlaps = (
        case_dice(int((a & b).sum()), int((~a & b).sum()), int((a & ~b).sum()))
        for a, b in zip(mask[:-1], mask[1:], strict=True)
        if ends or (a.any() and b.any())
    )
    return [dice for dice in overlaps if dice is not None]


def measure_structure(masks: Iterable[np.ndarray]) -> Structure:
    """One structure over label maps, bool (D, H, W) each."""
    maps = voxels = slices = 0
    dice: dict[bool, list[float]] = {True: [], False: []}
    for mask in masks:
        maps += 1
        voxels += int(mask.sum())
        slices += int(mask.any(axis=(1, 2)).sum())
        for ends, found in dice.items():
            found += neighbour_dice(mask, ends)
    return Structure(maps, voxels, slices, *(fmean(found) if found else None for found in dice.values()))
