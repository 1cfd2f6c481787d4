"""Training: our loop against a plain Lightning Trainer with MONAI's CacheDataset.

Both train the same network (ViT-Ti and UPerNet of profile `colab`: 160 px, 5 slices, batch 16) from the same
seed, with the same loss module, AdamW at the same rates, the same schedule and clipping, on the same
cases, which both hold in memory, normalised, before the clock starts.

Ours is `medseg.training.loop.fit` with the engine it chooses for the hardware, its progress and curve files
written. The baseline is `benchmarks.plain_loop`, once with Lightning's default precision, where the aim is,
and once with the precision that ours chose, each with the number of loader processes that came out the
fastest.

A side has a process and as many threads as any other; sides take turns. A process gives the median time of
its steps (on a GPU of ten steps together, since our loop reads its losses ten at a time), the rounds give
the median of the processes. The warm-up steps and the last one, which ends in our checkpoint, are timed on
neither side. Peak memory is that of the process with its imports and volumes;
what loader processes use is not counted, to the good of the baseline.
"""

import os
import statistics
import sys
from collections.abc import Callable, Hashable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.measure import Aim, Options, Row
from benchmarks.process import in_process, now
from benchmarks.subject import subject
from medseg.config import Frozen, RunConfig, resolve
from medseg.data.cases import load_case
from medseg.data.catalog import DatasetCard
from medseg.data.layouts import Case
from medseg.runtime import device_kind, peak_bytes
from medseg.segmenter import build, measure_size
from medseg.training.precision import plan

NAME = "training"
DEFAULT_PRECISION = "32-true"
OURS, PLAIN = "ours", "plain"
MB = 10**6
# A backward pass takes two products for each one of the forward pass.
FORWARD_AND_BACKWARD = 3
LARGE = {"encoder": "vit_base_patch16_224", "image_px": 512, "slices": 5}
LARGE_CARD_BYTES = 40e9
# Steps that are timed together.
STRIDES = {"cpu": 1, "cuda": 10}


# Name of a side: ours, or the precision and the loader processes of a plain one.
Key = Hashable


class Side(Frozen):
    """What one process does; `workers` and a `precision` (Lightning's name) are for the plain loop.

    `slices_in` is the folder with one file a slice that the pipeline of TransSeg's code reads.
    """

    config: RunConfig
    card: DatasetCard
    cases: tuple[Case, ...]
    threads: int
    warm: int
    workers: int | None = None
    precision: str | None = None
    slices_in: Path | None = None


class Measured(Frozen):
    """What one process found."""

    samples_per_s: float
    peak_bytes: int


def run(options: Options) -> list[Row]:
    warm, timed, rounds = _extent(options.quick)
    changes: dict[str, object] = {"weights": None}
    if options.quick:
        changes |= {"image_px": 64, "decoder_channels": 16}
    train = {"steps": warm + timed + 1} | ({"batch": 4} if options.quick else {})
    with subject(options.quick) as (card, cases, _):
        changes |= {"in_channels": len(card.channels), "classes": len(card.labels)}
        config = resolve("colab", {"model": changes, "train": train})
        ours = Side(config=config, card=card, cases=tuple(cases), threads=torch.get_num_threads(), warm=warm)
        chosen = plan(config.train.precision, build(config.model, seed=1)[0])
        choices = loader_processes(options.quick)
        plain: dict[Key, Side] = {
            (precision, workers): ours.model_copy(update={"precision": precision, "workers": workers})
            for precision in (chosen.fabric, DEFAULT_PRECISION)
            for workers in choices
        }
        found = compare({OURS: ours, **plain}, rounds)
        same, default = (
            max(((precision, n) for n in choices), key=lambda key: found[key].samples_per_s)
            for precision in (chosen.fabric, DEFAULT_PRECISION)
        )
        where = (
            f"{card.name}, {config.model.encoder}, {config.model.image_px} px, batch {config.train.batch}, "
            f"{ours.threads} threads"
        )
        rows = [
            Row(NAME, f"fit against Trainer and CacheDataset, both {chosen.fabric}", "samples/s",
                found[same].samples_per_s, found[OURS].samples_per_s, note=where),
            Row(NAME, f"the same, Trainer with its default {DEFAULT_PRECISION}", "samples/s",
                found[default].samples_per_s, found[OURS].samples_per_s, Aim("ratio", ">=", 1.3),
                note=f"loader processes that were faster: {same[1]}, and {default[1]} for the default"),
            Row(NAME, f"peak memory, both {chosen.fabric}", "MB",
                found[same].peak_bytes / MB, found[OURS].peak_bytes / MB,
                note="without loader processes"),
            Row(NAME, f"peak memory, Trainer with {DEFAULT_PRECISION}", "MB",
                found[default].peak_bytes / MB, found[OURS].peak_bytes / MB),
        ]  # fmt: skip
        return rows + (_large(ours, plain[same], rounds) if device_kind() == "cuda" else [])


def _extent(quick: bool) -> tuple[int, int, int]:
    """Warm-up steps, timed steps and rounds; multiples of the stride."""
    if device_kind() == "cuda":
        return (10, 10, 1) if quick else (20, 60, 3)
    return (1, 2, 1) if quick else (3, 20, 3)


def loader_processes(quick: bool) -> tuple[int, ...]:
    """Numbers of loader processes the plain loop is tried with; the better median counts."""
    if quick:
        return (0,)
    return (0, 2, min(8, os.cpu_count() or 1)) if device_kind() == "cuda" else (0, 2)


def _large(ours: Side, same: Side, rounds: int) -> list[Row]:
    """ViT-B at 512 px on a GPU: the ratio, and the share of the card's own rate at matrix products."""
    card_bytes = torch.cuda.get_device_properties(0).total_memory
    train = {"steps": ours.config.train.steps, "batch": 8 if card_bytes >= LARGE_CARD_BYTES else 2}
    fit = {"in_channels": ours.config.model.in_channels, "classes": ours.config.model.classes}
    config = resolve("full", {"model": LARGE | fit | {"weights": None}, "train": train})
    sides = {OURS: ours, PLAIN: same}
    found = compare(
        {name: side.model_copy(update={"config": config}) for name, side in sides.items()}, rounds
    )
    chosen = plan(config.train.precision)
    card_rate = matmul_rate(chosen.dtype, device_kind(), n=8192)
    where = f"{config.model.encoder}, {config.model.image_px} px, batch {config.train.batch}"
    return [
        Row(NAME, f"{where}: Trainer and CacheDataset, both {chosen.fabric}", "samples/s",
            found[PLAIN].samples_per_s, found[OURS].samples_per_s),
        Row(NAME, f"{where}: peak memory", "MB", found[PLAIN].peak_bytes / MB,
            found[OURS].peak_bytes / MB),
        share_row(where, found[OURS].samples_per_s, measure_size(config.model).flops, card_rate,
                  torch.cuda.get_device_name()),
    ]  # fmt: skip


def share_row(where: str, samples_per_s: float, forward_flops: int, card_rate: float, card: str) -> Row:
    """Work of the network done in a second, against matrix products alone on the same card.

    Args:
        where: what is trained.
        samples_per_s: windows a second.
        forward_flops: FLOPs of one window's forward pass (a multiply-add is 2).
        card_rate: FLOP/s of a large matrix product in the same number format.
        card: name of the card.
    """
    done = samples_per_s * forward_flops * FORWARD_AND_BACKWARD
    what = f"{where}: share of the measured rate of matrix products"
    return Row(NAME, what, "TFLOP/s", card_rate / 1e12, done / 1e12, Aim("ratio", ">=", 0.5), card)


def matmul_rate(dtype: torch.dtype, device: str, n: int, repeats: int = 20) -> float:
    """FLOP/s of a product of two (n, n) matrices: the median over repeats, after three untimed ones."""
    left, right = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(repeats + 3):
        start = now()
        torch.mm(left, right)
        seconds.append(now() - start)
    return 2 * n**3 / statistics.median(seconds[3:])


def compare(sides: dict[Key, Side], rounds: int) -> dict[Key, Measured]:
    """Medians over the rounds; every round starts with another side."""
    found: dict[Key, list[Measured]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(rounds):
        for i in range(len(names)):
            name = names[(turn + i) % len(names)]
            found[name].append(in_process(NAME, sides[name], Measured))
    return {
        name: Measured(
            samples_per_s=statistics.median(m.samples_per_s for m in each),
            peak_bytes=round(statistics.median(m.peak_bytes for m in each)),
        )
        for name, each in found.items()
    }


def measure(side: Side) -> Measured:
    """Train one side in this process. Sets the number of threads and, for the plain loop, MONAI's options."""
    torch.set_num_threads(side.threads)
    train = side.config.train
    stride = STRIDES[device_kind()]
    edges: list[float] = []

    def on_step(step: int) -> None:
        if step >= side.warm and step % stride == 0 and step < train.steps:
            edges.append(now())

    _train(side, on_step)
    seconds = statistics.median(end - start for start, end in pairwise(edges)) / stride
    return Measured(samples_per_s=train.batch / seconds, peak_bytes=peak_bytes())


def _train(side: Side, on_step: Callable[[int], None]) -> None:
    if side.slices_in is not None:
        from benchmarks.official_pipeline import train_officially

        train_officially(side.config, side.slices_in, side.workers or 0, on_step)
        return
    if side.precision is not None:
        from benchmarks.plain_loop import train_plainly  # Lightning's Trainer: not in our own side's memory

        train_plainly(side.config, list(side.cases), side.precision, side.workers or 0, on_step)
        return
    from medseg.training.loop import fit

    loaded = [load_case(case, side.card) for case in side.cases]
    with TemporaryDirectory(prefix="medseg-bench-") as scratch:
        fit(side.config, loaded, Path(scratch), on_step=lambda progress: on_step(progress.step))


if __name__ == "__main__":
    print(measure(Side.model_validate_json(sys.stdin.read())).model_dump_json())
