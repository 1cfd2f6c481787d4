"""Numbers of the last steps, left on the device until they are wanted: reading one makes a GPU wait."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
import torch
from lightning.fabric import Fabric
from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """One step: loss of the whole batch, norm of its gradient, whether any process was asked to end."""

    loss: float
    norm: float
    stop: bool

    @property
    def overflow(self) -> bool:
        """Whether the gradient is beyond the number format."""
        return not math.isfinite(self.norm)

    def check(self, step: int, scaled: bool, names_at: Callable[[int], list[str]]) -> None:
        """Refuse to go on from numbers that are none.

        Raises:
            FloatingPointError: the loss is not finite, or the gradient where no scaler takes care of that;
                the message names the cases of the batch.
        """
        if not math.isfinite(self.loss) or (self.overflow and not scaled):
            what = f"loss is {self.loss}, norm of the gradient {self.norm}, at step {step + 1}"
            raise FloatingPointError(f"{what}; cases of the batch: {names_at(step)}")


class Readings:
    """Collects steps and gives them out in groups, the same on every process."""

    def __init__(self, fabric: Fabric):
        self._fabric, self._rows = fabric, list[Tensor]()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, loss: Tensor, norm: Any, stop: bool) -> None:
        """Note a step; under FSDP the norm comes in parts."""
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        flag = torch.tensor(float(stop), device=loss.device)
        self._rows.append(torch.stack([loss.detach().float(), norm.detach().float(), flag]))

    def read(self) -> list[Reading]:
        """Steps since the last call, the loss averaged over processes."""
        rows = torch.stack(self._rows)
        self._rows.clear()
        if self._fabric.world_size > 1:
            torch.distributed.all_reduce(rows)
            rows /= self._fabric.world_size
        return [Reading(loss, norm, stop > 0) for loss, norm, stop in rows.tolist()]
