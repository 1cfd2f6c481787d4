"""All scores of one case: one frozen row per label, the unit that is stored in a record."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from medseg.metrics.overlap import case_overlap


class CaseScore(BaseModel):
    """Scores of one label in one case; None means undefined, never "not good".

    Both maps lack the label: dice, hd95_mm and nsd are None. One map lacks it: dice 0.0, hd95_mm None,
    nsd 0.0. Volumes are in ml, distances in mm, counts in voxels. Where the spacing of the case is not known,
    hd95_mm, nsd and both volumes are None. `label` is a key of `DatasetCard.structures`: a value in the maps,
    or the number of a region.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    case: str
    label: int = Field(gt=0)
    dice: float | None = Field(ge=0, le=1)
    hd95_mm: float | None = Field(ge=0)
    nsd: float | None = Field(ge=0, le=1)
    volume_ml: float | None = Field(ge=0)
    reference_ml: float | None = Field(ge=0)
    tp: int = Field(ge=0)
    fp: int = Field(ge=0)
    fn: int = Field(ge=0)

    @property
    def both_empty(self) -> bool:
        """Whether neither the prediction nor the reference holds the label."""
        return self.tp + self.fp + self.fn == 0


def score_case(
    case_id: str,
    pred_dhw: np.ndarray,
    ref_dhw: np.ndarray,
    labels: Iterable[int],
    spacing_mm: Sequence[float] | None,
    tolerance_mm: float,
) -> list[CaseScore]:
    """Score a predicted label map against its reference, label by label.

    Args:
        case_id: Name of the case, copied into every row.
        pred_dhw: Predicted label map, integers, axes D H W.
        ref_dhw: Reference label map, integers, same shape.
        labels: The labels of the data set, as a card's `labels` or any iterable; 0 is left out.
        spacing_mm: Voxel size in mm, order D H W; None where it is not known: nothing is given in mm or ml.
        tolerance_mm: Tolerance of the NSD in mm.

    Returns:
        One row per label, in ascending order of label.

    Raises:
        InputError: Shapes differ, a label is not in `labels`, or spacing or tolerance is not usable.
    """
    wanted = list(labels)
    rows = case_overlap(pred_dhw, ref_dhw, wanted)
    surfaces: dict[int, tuple[float | None, float | None]] = {}
    voxel_ml = None
    if spacing_mm is not None:
        # Imported here so that reading stored scores (records, reports) does not load torch and MONAI.
        from medseg.metrics.surface import case_surface

        surfaces = case_surface(pred_dhw, ref_dhw, wanted, spacing_mm, tolerance_mm)
        voxel_ml = math.prod(float(step) for step in spacing_mm) / 1000.0
    return [
        CaseScore(
            case=case_id,
            label=row.label,
            dice=row.dice,
            hd95_mm=hd95_mm,
            nsd=nsd,
            volume_ml=None if voxel_ml is None else (row.tp + row.fp) * voxel_ml,
            reference_ml=None if voxel_ml is None else (row.tp + row.fn) * voxel_ml,
            tp=row.tp,
            fp=row.fp,
            fn=row.fn,
        )
        for row in rows
        for hd95_mm, nsd in [surfaces.get(row.label, (None, None))]
    ]
