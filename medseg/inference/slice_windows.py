"""Whole-volume inference over slice windows: batched, under autocast, stacked on the native grid."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medseg.config import ModelConfig
from medseg.data.transforms import RESIZE_ONLY, resample
from medseg.data.windows import window_indices
from medseg.segmenter import Segmenter
from medseg.training.precision import PrecisionPlan, plan

BATCH = 16

# Slice numbers (B, slices) of windows, with the windows or with their logits (B, K, H, W) or (B, K, D, H, W).
Answers = tuple[Tensor, Tensor]
# Slice numbers (N) and their final logits (N, K, H, W) at the native plane.
Scored = tuple[list[int], Tensor]


def predict(
    segmenter: Segmenter,
    image: Tensor,
    model: ModelConfig,
    precision: PrecisionPlan | None = None,
    batch: int = BATCH,
) -> np.ndarray:
    """Class numbers (D, H, W), uint8, of one normalised volume.

    A network that predicts centre slices is asked once a slice and the slices are stacked (TransSeg,
    section 3.1). One that predicts all slices of a window is asked at overlapping windows, and the
    logits of a slice are summed. Logits are resized to the native plane before the argmax.

    Beside the volume and the answer, memory holds the logits of one batch at the network's size, and at the
    native size those of one batch (centre) or of one window and the slices that later windows add to (all).

    Args:
        segmenter: in evaluation mode, on the device to use.
        image: float32 (C, D, H, W).
        model: gives the window.
        precision: number format; None takes the table's choice for this machine.
        batch: windows a forward pass.
    """
    chosen, device = precision or plan("auto", segmenter), next(segmenter.parameters()).device
    plane, classes = image.shape[2:], np.empty(image.shape[1:], np.uint8)

    def logits_of(stacks: Tensor) -> Tensor:
        # The network alone: resampling under autocast would round the volume, which training does not.
        with torch.autocast(device.type, dtype=chosen.dtype, enabled=chosen.dtype != torch.float32):
            return segmenter(stacks)

    with torch.inference_mode():
        windows = _batches(segmenter.target, image, model, batch, device)
        asked = ((wanted, logits_of(stacks)) for wanted, stacks in windows)
        for slices, logits in (_centres if segmenter.target == "center" else _sums)(asked, plane):
            # The first of equal logits, as argmax has it; torch's argmax of a strided axis is slow on a CPU.
            classes[slices] = logits.max(1).indices.to(torch.uint8).cpu().numpy()
    return classes


def window_centers(target: str, slices: int, n_slices: int) -> list[int]:
    """Centres of the windows that cover a volume: every slice, or half-overlapping windows.

    >>> window_centers("center", 5, 4), window_centers("all", 8, 14)
    ([0, 1, 2, 3], [4, 8, 10])
    """
    if target == "center":
        return list(range(n_slices))
    half, last = slices // 2, n_slices - slices + slices // 2
    return [*range(half, last, max(1, half)), max(half, last)]


def _batches(
    target: str, image: Tensor, model: ModelConfig, batch: int, device: torch.device
) -> Iterator[Answers]:
    """Slice numbers (B, slices) of the windows in order; on the device the windows (B, C, slices, px, px)."""
    n_slices = image.shape[1]
    centers = window_centers(target, model.slices, n_slices)
    for first in range(0, len(centers), batch):
        chosen = centers[first : first + batch]
        wanted = torch.tensor([window_indices(c, model.slices, n_slices, model.stride) for c in chosen])
        # Neighbouring windows share slices: each slice is resampled, and sent to the device, once a batch.
        seen, position = wanted.unique(return_inverse=True)
        resized = resample(image[:, seen.to(image.device)], RESIZE_ONLY, model.image_px).to(device)
        yield wanted, resized[:, position.to(device)].transpose(0, 1)


def _centres(answers: Iterable[Answers], plane: torch.Size) -> Iterator[Scored]:
    """Centre slices of windows as they are predicted."""
    for wanted, logits in answers:
        yield wanted[:, wanted.shape[1] // 2].tolist(), _resized(logits, plane)


def _sums(answers: Iterable[Answers], plane: torch.Size) -> Iterator[Scored]:
    """Every slice with the sum of its logits over windows, as soon as no later window adds to it."""
    held: dict[int, Tensor] = {}
    for wanted, logits in answers:
        for slices, window in zip(wanted.tolist(), logits, strict=True):
            # Windows stand in order: no later one reaches below the first slice of this one.
            for whole in [d for d in held if d < slices[0]]:
                yield [whole], held.pop(whole)[None]
            for d, found in zip(slices, _resized(window.transpose(0, 1), plane), strict=True):
                held[d] = held[d] + found if d in held else found
    for d, summed in held.items():
        yield [d], summed[None]


def _resized(logits: Tensor, plane: torch.Size) -> Tensor:
    """Logits (N, K, h, w) at the native plane, in float32."""
    return functional.interpolate(logits.float(), size=plane, mode="bilinear", antialias=True)
