"""The data path of a training: volumes near the device where they fit, batches ahead where they do not."""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from medseg.config import RunConfig
from medseg.data.cache import on_device, size_bytes
from medseg.data.cases import TrainingCase, WindowFeed
from medseg.data.prefetch import prefetched
from medseg.training.devices import Share
from medseg.training.engine import Engine, fits_on
from medseg.training.memory import statement

AHEAD = {"cpu": 0, "cuda": 2}


class Batches:
    """Images and labels of every forward pass of this process, on its device.

    Attributes:
        statement: one line on what is held in memory for the whole run.
    """

    def __init__(
        self,
        config: RunConfig,
        cases: Sequence[TrainingCase],
        all_slices: bool,
        share: Share,
        device: torch.device,
        engine: Engine,
    ):
        near = fits_on(device, size_bytes(cases))
        held = on_device(cases, device) if near else cases
        train = config.train
        self._feed = WindowFeed(held, config.model, config.augment, train.batch, train.seed, all_slices)
        self._share, self._device, self._train = share, device, train
        self._ahead = engine.prefetch if engine.prefetch is not None else 0 if near else AHEAD[device.type]
        bytes_a_batch = sum(part.nbytes for part in self._feed.at(0, share.rows(0)))
        self.statement = statement(cases, bytes_a_batch, self._ahead)

    def since(self, first: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Batches from a step on (counted from 0), one for each part of each step."""
        steps, parts = range(first, self._train.steps), range(self._train.accumulate)
        return prefetched(self._made, ((step, part) for step in steps for part in parts), self._ahead)

    def names_at(self, step: int) -> list[str]:
        """The cases that a step sees, on all processes."""
        return self._feed.names_at(step)

    def _made(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        images, labels = self._feed.at(key[0], self._share.rows(key[1]))
        return self._sent(images), self._sent(labels)

    def _sent(self, tensor: Tensor) -> Tensor:
        # From pinned memory the copy runs while the device works.
        pinned = (
            tensor.pin_memory() if self._device.type == "cuda" and tensor.device.type == "cpu" else tensor
        )
        return pinned.to(self._device, non_blocking=True)
