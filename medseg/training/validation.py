"""Validation that does not depend on the number of processes: cases are scored whole, then gathered.

TransSeg's code averages a pooled Dice over shards, which changes with the number of GPUs.
"""

from collections.abc import Callable, Sequence

import medseg.compat  # noqa: F401  isort: skip
import numpy as np
from lightning.fabric import Fabric

from medseg.config import ModelConfig
from medseg.data.cases import LoadedCase, TrainingCase
from medseg.inference.slice_windows import predict
from medseg.metrics.case import CaseScore
from medseg.metrics.overlap import LabelOverlap, case_overlap
from medseg.segmenter import Segmenter
from medseg.training.devices import gathered, share_of
from medseg.training.engine import Engine
from medseg.training.precision import PrecisionPlan

# Rows of a case, from its predicted and its reference map of class numbers, axes D H W.
ScoreCase = Callable[[np.ndarray, np.ndarray], Sequence[LabelOverlap | CaseScore]]


def validate(
    segmenter: Segmenter,
    cases: Sequence[LoadedCase | TrainingCase],
    model: ModelConfig,
    chosen: PrecisionPlan,
    fabric: Fabric,
    engine: Engine,
    score: ScoreCase | None = None,
) -> float:
    """Mean over cases of the mean Dice over the rows of `score`; 0 where no case has any.

    A row is a label where no `score` is given. The cases are shared out over the processes, every process
    gets the same number back.
    """
    segmenter.eval()
    rows = {}
    for case in share_of(fabric, engine, list(cases)):
        predicted = predict(segmenter, case.image, model, chosen)
        reference = case.labels[0].cpu().numpy()
        found = score(predicted, reference) if score else _labels(predicted, reference, model.classes)
        defined = [row.dice for row in found if row.dice is not None]
        rows[case.id] = sum(defined) / len(defined) if defined else None
    segmenter.train()
    everyone = dict(gathered(fabric, list(rows.items())))
    # In the order of the split, so that the sum is the same however the cases were shared out.
    means = [mean for case in cases if (mean := everyone[case.id]) is not None]
    return sum(means) / len(means) if means else 0.0


def _labels(predicted: np.ndarray, reference: np.ndarray, classes: int) -> list[LabelOverlap]:
    return case_overlap(predicted.astype(reference.dtype), reference, range(classes))
