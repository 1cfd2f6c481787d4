"""Validation that does not depend on the number of processes: cases are scored whole, then gathered.

TransSeg's code averages a pooled Dice over shards, which changes with the number of GPUs.
"""

from collections.abc import Sequence

import medseg.compat  # noqa: F401  isort: skip
from lightning.fabric import Fabric

from medseg.config import ModelConfig
from medseg.data.cases import LoadedCase, TrainingCase
from medseg.inference.slice_windows import predict
from medseg.metrics.overlap import case_overlap
from medseg.segmenter import Segmenter
from medseg.training.devices import gathered, share_of
from medseg.training.engine import Engine
from medseg.training.precision import PrecisionPlan


def validate(
    segmenter: Segmenter,
    cases: Sequence[LoadedCase | TrainingCase],
    model: ModelConfig,
    chosen: PrecisionPlan,
    fabric: Fabric,
    engine: Engine,
) -> float:
    """Mean over cases of the mean Dice over labels; 0 where no case holds any label.

    The cases are shared out over the processes, every process gets the same number back.
    """
    segmenter.eval()
    rows = {}
    for case in share_of(fabric, engine, list(cases)):
        predicted = predict(segmenter, case.image, model, chosen)
        reference = case.labels[0].cpu().numpy()
        found = [
            row.dice
            for row in case_overlap(predicted.astype(reference.dtype), reference, range(model.classes))
        ]
        defined = [dice for dice in found if dice is not None]
        rows[case.id] = sum(defined) / len(defined) if defined else None
    segmenter.train()
    everyone = dict(gathered(fabric, list(rows.items())))
    # In the order of the split, so that the sum is the same however the cases were shared out.
    means = [mean for case in cases if (mean := everyone[case.id]) is not None]
    return sum(means) / len(means) if means else 0.0
