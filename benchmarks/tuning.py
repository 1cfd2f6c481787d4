"""Training memory and step time of head, LoRA and Med-Adapter against full fine-tuning, at equal batch.

ViT-B/16 at 224 px, center inflation of five slices, Med-Tuning's UPerNet (256 wide, 15 M parameters), batch
4, in bf16 and in float32. No weights are read: they change no size. The last rows have TransSeg's decoder,
whose 75 M parameters train on every side.

Every side has a fresh process, which trains a few steps with `medseg.training.loop.fit`; sides take turns.
Its peak is read before the last step, which ends in a checkpoint. On a CPU that is resident memory, by VmHWM
(`ru_maxrss` of a process starts at the peak of the one that started it). The libraries are in it; the aim is
on what lies above the memory that stood there before the network was built. On a GPU it is what torch
allocated.

After that one more step is counted: parameters, gradients, optimiser state, what autograd keeps, and the
bytes of tensors alive at one time at most (medseg.reports.step_memory). A count knows no buffers of one
operation. What is resident lies above it, and differs from process to process: each side has several, and
the median of their peaks counts.
"""

import statistics
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.measure import Aim, Options, Row
from benchmarks.process import in_process, now
from benchmarks.subject import subject
from benchmarks.training import MB, STRIDES
from medseg.config import Frozen, RunConfig, resolve
from medseg.data.cases import load_case
from medseg.data.catalog import DatasetCard
from medseg.data.layouts import Case
from medseg.reports.step_memory import COLUMNS, PEAK
from medseg.runtime import device_kind, peak_bytes

NAME = "tuning"
WHOLE, AIM = "full", 0.7
SIDES = {WHOLE: {}, "head": {}, "lora": {}, "med_adapter": {"slices": 1}}
AIMED = ("lora", "med_adapter")
SMALL, LARGE = {"decoder": "med_upernet", "decoder_channels": 256}, {"decoder": "upernet"}
COMPARED = ((SMALL, "bf16"), (SMALL, "fp32"), (LARGE, "bf16"))
ALIVE = "tensors alive at the peak, by count"
STATUS = Path("/proc/self/status")


class Side(Frozen):
    """What one process trains."""

    config: RunConfig
    card: DatasetCard
    cases: tuple[Case, ...]
    threads: int
    warm: int


class Measured(Frozen):
    """Bytes before the network was built, at the peak, and by count; seconds of a step."""

    before: float
    peak: float
    counted: dict[str, int]
    step_s: float


def run(options: Options) -> Iterator[Row]:
    warm, timed, rounds = (1, 2, 1) if options.quick else (2, 4, 3)
    warm, timed = (n * STRIDES[device_kind()] for n in (warm, timed))
    network = {"encoder": "vit_base_patch16_224", "image_px": 224, "slices": 5, "taps": (2, 5, 8, 11)}
    if options.quick:
        network |= {"encoder": "vit_tiny_patch16_224", "image_px": 64}
    with subject(quick=True) as (card, cases, _):
        network |= {"weights": None, "in_channels": len(card.channels), "classes": len(card.labels)}
        for decoder, precision in COMPARED[: 1 if options.quick else None]:
            train = {"steps": warm + timed + 1, "batch": 4, "precision": precision}
            sides = {
                method: Side(
                    config=resolve(
                        "full",
                        {
                            "model": network | decoder | {"tuning": {"method": method, "options": own}},
                            "train": train,
                        },
                    ),
                    card=card,
                    cases=tuple(cases),
                    threads=torch.get_num_threads(),
                    warm=warm,
                )
                for method, own in SIDES.items()
            }
            where = (
                f"{network['encoder']}, {network['image_px']} px, {decoder['decoder']}, batch 4, {precision}"
            )
            yield from compared(where, measured(sides, rounds), AIM if decoder is SMALL else None)


def measured(sides: dict[str, Side], rounds: int) -> dict[str, Measured]:
    """Each side in fresh processes, in turns; the medians of each."""
    found: dict[str, list[Measured]] = {method: [] for method in sides}
    for _ in range(rounds):
        for method, side in sides.items():
            found[method].append(in_process(NAME, side, Measured))
    return {method: middle(each) for method, each in found.items()}


def middle(each: list[Measured]) -> Measured:
    """The medians of several processes, which count the same."""
    figures = ("before", "peak", "step_s")
    return each[0].model_copy(
        update={name: statistics.median(getattr(one, name) for one in each) for name in figures}
    )


def compared(where: str, found: dict[str, Measured], aim: float | None) -> list[Row]:
    """Rows of each method against full fine-tuning; the aim is on both peaks of adapters."""
    whole, rows = found[WHOLE], []
    for method, own in found.items():
        if method == WHOLE:
            continue
        bound = Aim("ratio", "<=", aim) if aim is not None and method in AIMED else None
        figures = {
            "peak memory of the process": (whole.peak / MB, own.peak / MB, None),
            "peak memory above that before the network": (
                (whole.peak - whole.before) / MB,
                (own.peak - own.before) / MB,
                bound,
            ),
            ALIVE: (whole.counted[PEAK] / MB, own.counted[PEAK] / MB, bound),
        }
        parts = ", ".join(f"{name} {own.counted[name] / MB:.0f}" for name in COLUMNS)
        for what, (baseline, ours, of) in figures.items():
            note = f"{where}; {parts}" if what == ALIVE else where
            rows.append(Row(NAME, f"{method} against {WHOLE}: {what}", "MB", baseline, ours, of, note))
        rows.append(Row(NAME, f"{method} against {WHOLE}: a step", "s", whole.step_s, own.step_s, note=where))
    return rows


def measure(side: Side) -> Measured:
    """Train one side in this process, then count one more step."""
    from medseg.reports.step_memory import step_memory
    from medseg.training.loop import fit

    torch.set_num_threads(side.threads)
    train, model = side.config.train, side.config.model
    loaded = [load_case(case, side.card) for case in side.cases]
    stride, edges, peaks = STRIDES[device_kind()], [], [0]
    before = resident("VmRSS")

    def on_step(step: int) -> None:
        if side.warm <= step < train.steps and step % stride == 0:
            edges.append(now())
            peaks[0] = resident("VmHWM")

    with TemporaryDirectory(prefix="medseg-bench-") as scratch:
        fitted = fit(side.config, loaded, Path(scratch), on_step=lambda progress: on_step(progress.step))
    shape = (train.batch, model.in_channels, model.slices, model.image_px, model.image_px)
    windows = torch.zeros(shape, device=device_kind())
    labels = windows[:, :1, 0].long()
    return Measured(
        before=before,
        peak=peaks[0],
        counted=step_memory(fitted.segmenter.train(), windows, labels, train),
        step_s=statistics.median(end - start for start, end in pairwise(edges)) / stride,
    )


def resident(field: str) -> int:
    """Bytes resident in this process now (VmRSS) or at most so far (VmHWM); on a GPU what torch allocated."""
    if device_kind() == "cuda":
        return torch.cuda.memory_allocated() if field == "VmRSS" else peak_bytes()
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith(f"{field}:")]
    return 1024 * kilobytes[0] if kilobytes else peak_bytes()


if __name__ == "__main__":
    print(measure(Side.model_validate_json(sys.stdin.read())).model_dump_json())
