"""Whole-volume inference over slice windows: batched, under autocast, stacked on the native grid."""

from collections.abc import Iterator

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

    Args:
        segmenter: in evaluation mode, on the device to use.
        image: float32 (C, D, H, W).
        model: gives the window.
        precision: number format; None takes the table's choice for this machine.
        batch: windows a forward pass.
    """
    chosen, device = precision or plan("auto", segmenter), next(segmenter.parameters()).device
    n_slices, plane = image.shape[1], image.shape[2:]
    votes = torch.zeros(n_slices, model.classes, *plane)
    autocast = torch.autocast(device.type, dtype=chosen.dtype, enabled=chosen.dtype != torch.float32)
    with torch.inference_mode(), autocast:
        for windows, predicted in _batches(segmenter.target, image, model, batch):
            logits = segmenter(windows.to(device))
            if segmenter.target == "all":
                logits = logits.transpose(1, 2).flatten(0, 1)
            native = functional.interpolate(logits.float(), size=plane, mode="bilinear", antialias=True)
            votes.index_add_(0, predicted, native.cpu())
    return votes.argmax(1).to(torch.uint8).numpy()


def window_centers(target: str, slices: int, n_slices: int) -> list[int]:
    """Centres of the windows that cover a volume: every slice, or half-overlapping windows.

    >>> window_centers("center", 5, 4), window_centers("all", 8, 14)
    ([0, 1, 2, 3], [4, 8, 10])
    """
    if target == "center":
        return list(range(n_slices))
    half, last = slices // 2, n_slices - slices + slices // 2
    return [*range(half, last, max(1, half)), max(half, last)]


def _batches(target: str, image: Tensor, model: ModelConfig, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Windows (B, C, slices, px, px) and the slice number of every predicted slice."""
    n_slices = image.shape[1]
    centers = window_centers(target, model.slices, n_slices)
    for first in range(0, len(centers), batch):
        chosen = centers[first : first + batch]
        wanted = torch.tensor([window_indices(c, model.slices, n_slices, model.stride) for c in chosen])
        # Neighbouring windows share slices: each slice is resampled once a batch.
        seen, position = wanted.unique(return_inverse=True)
        resized = resample(image[:, seen.to(image.device)], RESIZE_ONLY, model.image_px)
        windows = resized[:, position.to(image.device)].transpose(0, 1)
        yield windows, torch.tensor(chosen) if target == "center" else wanted.flatten()
