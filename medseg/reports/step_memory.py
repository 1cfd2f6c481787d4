"""What one training step keeps in memory, by count: parameters, gradients, optimiser state, activations.

A frozen parameter has no gradient and no moments. A frozen layer still passes gradients on to whatever trains
ahead of it: it keeps what the gradient of its input needs, and not what that of its weight would. Nothing is
kept of layers that have nothing ahead of them that trains.

The parts do not all live at one time: what is kept is freed while gradients come. The peak counts what does.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from medseg.config import TrainConfig
from medseg.reports.live_bytes import LiveBytes
from medseg.segmenter import Segmenter
from medseg.shapes import Windows
from medseg.training.losses import DiceFocal
from medseg.training.optimizer import adamw
from medseg.training.precision import PLANS

MB = 1e6
LOSS = "loss"
KEPT = ["kept encoder", "kept adapter", "kept decoder", "kept loss"]
COLUMNS = ["parameters", "gradients", "optimiser", *KEPT]
PEAK = "alive at the peak"


def step_memory(
    segmenter: Segmenter, windows: Windows, labels: Int[Tensor, "b 1 ..."], train: TrainConfig
) -> dict[str, int]:
    """Bytes after the forward pass and after the step, by what they are for, and their peak; takes one step.

    Args:
        segmenter: in training mode, on the device of the windows; on "meta" the count takes no memory.
        windows: a batch.
        labels: of the batch, at the size of the logits.
        train: precision ("auto" counts as fp32) and optimiser.

    Returns:
        By COLUMNS. What is kept counts where the module that kept it belongs; a tensor that several keep
        counts once, where it came first, and parameters do not count again. Under bf16 a copy of each weight
        is kept in that format. PEAK: bytes of all tensors that are alive at one time, at most, in a step that
        has its moments from the one before.
    """
    plan = PLANS["fp32" if train.precision == "auto" else train.precision]
    device, cast = windows.device.type, plan.choice != "fp32"
    # The meta device, where tensors have no content, knows no autocast and no fused optimiser.
    adam = adamw(segmenter, train, fused=device != "meta")
    before = [*segmenter.parameters(), *segmenter.buffers(), windows, labels]
    with LiveBytes(before) as live:
        with _kept(segmenter) as kept, torch.autocast(device, plan.dtype) if cast else nullcontext():
            loss = DiceFocal()(segmenter(windows), labels)
        loss.backward()
        gradients = sum(p.grad.nbytes for p in segmenter.parameters() if p.grad is not None)
        before_step = live.peak
        adam.step()
    moments = sum(v.nbytes for state in adam.state.values() for v in state.values() if v.ndim)
    adam.zero_grad()
    whole = sum(p.nbytes for p in segmenter.parameters())
    counted = {"parameters": whole, "gradients": gradients, "optimiser": moments}
    counted |= {name: kept[name.removeprefix("kept ")] for name in KEPT}
    return counted | {PEAK: max(before_step + moments, live.peak)}


def memory_table(counted: Mapping[str, Mapping[str, int]], whole: str) -> pd.DataFrame:
    """Counts of `step_memory` in MB, a row each; sum and peak also relative to those of the row `whole`."""
    counts = pd.DataFrame({title: dict(row) for title, row in counted.items()}).T / MB
    table = counts[COLUMNS].assign(sum=counts[COLUMNS].sum(axis=1))
    table["of whole"] = table["sum"] / table["sum"][whole]
    return table.assign(**{PEAK: counts[PEAK], "peak of whole": counts[PEAK] / counts[PEAK][whole]})


@contextmanager
def _kept(segmenter: Segmenter) -> Iterator[Counter[str]]:
    """Bytes that forward passes within the block keep for going back, by part of the network."""
    own = {t.untyped_storage()._cdata for t in (*segmenter.parameters(), *segmenter.buffers())}
    found: Counter[str] = Counter()
    inside = [LOSS]

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            # What is kept stays alive: nothing else comes to lie at its address.
            own.add(storage._cdata)
            found[inside[-1]] += storage.nbytes()
        return tensor

    def enter(part: str) -> Any:
        return lambda *_: inside.append(part)

    def leave(*_: Any) -> None:
        inside.pop()

    with ExitStack() as hooks:
        for part, module in _parts(segmenter):
            hooks.enter_context(_removed(module.register_forward_pre_hook(enter(part), prepend=True)))
            hooks.enter_context(_removed(module.register_forward_hook(leave)))
        hooks.enter_context(saved_tensors_hooks(keep, lambda tensor: tensor))
        yield found


def _parts(segmenter: Segmenter) -> Iterator[tuple[str, nn.Module]]:
    """Parts of the network, and the modules that an adapter calls within them."""
    yield from segmenter.parts.items()
    for name, module in segmenter.named_modules():
        if name.startswith("adapter."):
            yield "adapter", module


@contextmanager
def _removed(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()
