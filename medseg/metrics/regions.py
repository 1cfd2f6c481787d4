"""Scores of regions, which are unions of labels: those of BraTS (ET, TC, WT) and of KiTS19."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from medseg.data.catalog import DatasetCard, Region
from medseg.errors import InputError
from medseg.metrics.case import CaseScore, score_case
from medseg.metrics.overlap import check_label_maps

CORE, ENHANCING = 1, 4
# All volumes of BraTS have 155 x 240 x 240 voxels of 1 mm.
BRATS_DIAGONAL_MM = math.hypot(155, 240, 240)


def score_as_card(
    case_id: str,
    pred_dhw: np.ndarray,
    ref_dhw: np.ndarray,
    card: DatasetCard,
    spacing_mm: Sequence[float] | None,
    least_enhancing_voxels: int = 0,
) -> list[CaseScore]:
    """Score a case by the regions of its data set, or label by label where the card has no regions.

    Args:
        case_id: name of the case, copied into every row.
        pred_dhw: predicted label map, integers, axes D H W.
        ref_dhw: reference label map, integers, same shape.
        card: labels, regions and tolerance of the NSD.
        spacing_mm: voxel size in mm, order D H W; None where it is not known.
        least_enhancing_voxels: of `without_small_enhancing`, which acts on the prediction; 0 leaves it out.

    Returns:
        One row per key of `card.structures`, in their order.

    Raises:
        InputError: maps or spacing are not usable, or the rule does not fit the card.
    """
    check_enhancing(card, least_enhancing_voxels)
    if least_enhancing_voxels:
        pred_dhw = without_small_enhancing(pred_dhw, least_enhancing_voxels)
    if card.regions:
        return score_regions(case_id, pred_dhw, ref_dhw, card.regions, spacing_mm, card.nsd_tolerance_mm)
    return score_case(case_id, pred_dhw, ref_dhw, card.labels, spacing_mm, card.nsd_tolerance_mm)


def score_regions(
    case_id: str,
    pred_dhw: np.ndarray,
    ref_dhw: np.ndarray,
    regions: Mapping[int, Region],
    spacing_mm: Sequence[float] | None,
    tolerance_mm: float,
) -> list[CaseScore]:
    """Score the regions of one case, each as a map of its own; what is undefined is so as in `CaseScore`.

    The mean over the rows of a case (`medseg.metrics.summary`) is KiTS19's composite, and the mean of ET, TC
    and WT. It leaves out a region that both maps lack, to which Med-Tuning's code gives Dice 1.

    Args:
        case_id: name of the case, copied into every row.
        pred_dhw: predicted label map, integers, axes D H W.
        ref_dhw: reference label map, integers, same shape.
        regions: number of each region, which is the `label` of its row, to its labels.
        spacing_mm: voxel size in mm, order D H W; None where it is not known: nothing is given in mm or ml.
        tolerance_mm: tolerance of the NSD in mm.

    Raises:
        InputError: shapes differ, a map holds a label of no region, or spacing or tolerance is not usable.
    """
    check_label_maps(pred_dhw, ref_dhw, {label for region in regions.values() for label in region.labels})
    rows = []
    for number, region in regions.items():
        pred, ref = (np.isin(voxels, region.labels) * np.uint8(number) for voxels in (pred_dhw, ref_dhw))
        rows += score_case(case_id, pred, ref, [number], spacing_mm, tolerance_mm)
    return rows


def as_server_2020(scores: Iterable[CaseScore], diagonal_mm: float = BRATS_DIAGONAL_MM) -> list[CaseScore]:
    """Rows of scores with a value for every region, as the server of BraTS 2020 gives them.

    Where both maps lack the region it has Dice 1 and HD95 0, where one does an HD95 of the diagonal of the
    image. HD95 of ET in Med-Tuning's Table 1 is several times larger on BraTS 2020 than on 2019: the server
    of 2019 seems not to have counted them so.

    Args:
        scores: rows of cases whose spacing is known, of a record for example, which never holds these values.
        diagonal_mm: of the image.
    """
    found = []
    for row in scores:
        if row.both_empty:
            row = row.model_copy(update={"dice": 1.0, "hd95_mm": 0.0})
        elif row.hd95_mm is None:
            row = row.model_copy(update={"hd95_mm": diagonal_mm})
        found.append(row)
    return found


def without_small_enhancing(pred_dhw: np.ndarray, least_voxels: int) -> np.ndarray:
    """BraTS label map in which an enhancing tumour (4) of fewer than `least_voxels` voxels is core (1).

    Med-Tuning does so in all predictions, below 500 voxels. The voxels are those of the whole map. The map
    that is passed in stays as it is.
    """
    enhancing = pred_dhw == ENHANCING
    small = np.count_nonzero(enhancing) < least_voxels
    return np.where(enhancing, pred_dhw.dtype.type(CORE), pred_dhw) if small else pred_dhw.copy()


def check_enhancing(card: DatasetCard, least_enhancing_voxels: int) -> None:
    """Refuse the rule on small enhancing tumours for a data set that has no region ET.

    Raises:
        InputError: the rule is asked for and the card is not one of BraTS.
    """
    if least_enhancing_voxels and "ET" not in card.structures.values():
        raise InputError(
            f"{card.name} has no enhancing tumour",
            expected="least_enhancing_voxels above 0 for BraTS alone",
            got=str(least_enhancing_voxels),
            do="leave least_enhancing_voxels of the data configuration at 0",
        )
