"""Slice windows cut on the fly: no file per slice, the edges clamped (TransSeg, section 3.1)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medseg.runtime import generator_for


def window_indices(center: int, slices: int, n_slices: int, stride: int = 1) -> list[int]:
    """Slice numbers of the window around `center`; beyond an end the end slice repeats.

    >>> window_indices(0, 5, 30), window_indices(10, 5, 30, stride=2)
    ([0, 0, 0, 1, 2], [6, 8, 10, 12, 14])
    """
    first = center - stride * (slices // 2)
    return [min(max(first + stride * i, 0), n_slices - 1) for i in range(slices)]


def cut(array: Tensor, center: int, slices: int, stride: int = 1) -> Tensor:
    """The window (C, slices, H, W) around slice `center` of a volume (C, D, H, W)."""
    return array[:, window_indices(center, slices, array.shape[1], stride)]


def epoch_order(n_windows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of all windows in one epoch, a permutation that depends on the seed and the epoch alone."""
    return torch.randperm(n_windows, generator=generator_for(seed, "order", epoch)).numpy()


class WindowIndex:
    """All (case, centre slice) pairs of a set of volumes, addressed by training step.

    Args:
        slices_per_case: number of slices of each volume.
        batch: windows a step.
        seed: run seed; the order is the same for every arm that shares it.
    """

    def __init__(self, slices_per_case: Sequence[int], batch: int, seed: int):
        self.pairs = [(case, d) for case, n in enumerate(slices_per_case) for d in range(n)]
        self.batch, self.seed = batch, seed
        self._cached: tuple[int, np.ndarray] = (-1, np.empty(0))

    def __len__(self) -> int:
        return len(self.pairs)

    def at(self, step: int) -> list[tuple[int, int]]:
        """The (case, centre slice) pairs of training step `step`, counted from 0."""
        n, chosen = len(self.pairs), []
        for position in range(step * self.batch, (step + 1) * self.batch):
            epoch, offset = divmod(position, n)
            chosen.append(self.pairs[self._order(epoch)[offset]])
        return chosen

    def _order(self, epoch: int) -> np.ndarray:
        # One assignment and one read: batches may be made ahead in another thread.
        known, order = self._cached
        if known != epoch:
            order = epoch_order(len(self.pairs), self.seed, epoch)
            self._cached = epoch, order
        return order
