"""What a running training says, and to whom."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import medseg.compat  # noqa: F401  isort: skip
from lightning.fabric import Fabric

from medseg.config import TrainConfig
from medseg.errors import InputError
from medseg.runtime import Stopwatch
from medseg.training.progress import Progress, write
from medseg.training.state import TrainingState

EVERY_S = 2.0


class Reporter:
    """Tells how a training goes: the caller, the loggers, and a file in its folder every two seconds.

    Silent in all processes but the first.
    """

    def __init__(
        self, fabric: Fabric, run_dir: Path, train: TrainConfig, on_step: Callable[[Progress], None] | None
    ):
        self._fabric, self._train, self._on_step = fabric, train, on_step
        self._run_dir = run_dir
        self._watch, self._last, self._seen = Stopwatch(), -EVERY_S, 0

    def tell(self, state: TrainingState) -> None:
        """Pass on the last step of a state."""
        if not self._fabric.is_global_zero:
            return
        train, step, loss = self._train, len(state.losses), state.losses[-1]
        self._seen += train.batch
        speed = self._seen / self._watch.seconds()
        dice = state.validations[-1][1] if state.validations else None
        left_s = (train.steps - step) * train.batch / speed
        progress = Progress(step, train.steps, loss, dice, speed, left_s)
        self._fabric.log_dict({"loss": loss, "samples_per_s": speed}, step)
        self._beat(progress)
        if self._on_step:
            self._on_step(progress)

    def scored(self, step: int, dice: float) -> None:
        """Pass on a validation."""
        if self._fabric.is_global_zero:
            self._fabric.log_dict({"dice": dice}, step)

    def _beat(self, progress: Progress) -> None:
        """Note the state; a disk that is full stops no training."""
        now = time.monotonic()
        if now - self._last < EVERY_S and progress.step < progress.steps:
            return
        self._last = now
        with suppress(OSError, InputError):
            write(progress, self._run_dir)
