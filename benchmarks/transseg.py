"""A training step of our segmenter against the same network fed by the pipeline of TransSeg's code.

ViT-Ti and ViT-B with TransSeg's decoder (as wide as the encoder), 5 slices, 240 px. Ours is `fit` with the
engine of the hardware; the baseline is `benchmarks.official_pipeline` in float32 under Lightning's Trainer,
with the number of loader processes that came out the faster. Timed as in `benchmarks.training`.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.measure import Aim, Options, Row
from benchmarks.official_pipeline import PRECISION, write_slices
from benchmarks.subject import subject
from benchmarks.training import OURS, STRIDES, Key, Side, compare, loader_processes
from medseg.config import resolve
from medseg.runtime import device_kind

NAME = "transseg"
# Encoder to batch: the paper's 16, and what two cores compute in a few seconds.
BATCHES = {"vit_tiny_patch16_224": 16, "vit_base_patch16_224": 4}
AIMS = {"cpu": 2.0, "cuda": 3.0}


def run(options: Options) -> list[Row]:
    with subject(options.quick) as (card, cases, _), TemporaryDirectory(prefix="medseg-bench-") as name:
        slices_in = Path(name)
        write_slices(cases, slices_in, slices=5)
        rows = []
        for encoder, batch in BATCHES.items():
            *steps, rounds = (1, 2, 1) if options.quick else (2, 6, 2)
            # Steps that are timed together count as one.
            warm, timed = (n * STRIDES[device_kind()] for n in steps)
            px = 48 if options.quick else 240
            model = {"encoder": encoder, "weights": None, "image_px": px, "classes": len(card.labels)}
            train = {"steps": warm + timed + 1, "batch": 2 if options.quick else batch}
            config = resolve("full", {"model": model, "train": train})
            ours = Side(
                config=config, card=card, cases=tuple(cases), threads=torch.get_num_threads(), warm=warm
            )
            official: dict[Key, Side] = {
                workers: ours.model_copy(update={"slices_in": slices_in, "workers": workers})
                for workers in loader_processes(options.quick)
            }
            found = compare({OURS: ours, **official}, rounds)
            best = max(official, key=lambda workers: found[workers].samples_per_s)
            where = f"{card.name}, {px} px, 5 slices, batch {config.train.batch}, {best} loader processes"
            rows.append(
                Row(NAME, f"{encoder}: fit against the paper's pipeline, {PRECISION}", "samples/s",
                    found[best].samples_per_s, found[OURS].samples_per_s,
                    Aim("ratio", ">=", AIMS[device_kind()]), where)
            )  # fmt: skip
        return rows
