"""The state of a training between two steps: all that a resumed run needs."""

from dataclasses import dataclass
from typing import Any


@dataclass
class TrainingState:
    """What a resumed run needs.

    Learning rate, place in the data and every random draw are functions of seed and step, so `step` stands
    for schedule, sampler and generators. Tensors are whole and on the CPU, named by parameter: a state that
    was saved by many processes loads into one, and the other way round.

    Attributes:
        step: steps done; skipped: of these, steps that the gradient scaler left out.
        model, optimizer, scaler: state dicts.
        losses: of every step; validations: (step, Dice).
        train_s: seconds of training so far; config_digest: of the run's configuration.
    """

    step: int
    skipped: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    losses: list[float]
    validations: list[tuple[int, float]]
    train_s: float
    config_digest: str

    @classmethod
    def fresh(cls, config_digest: str) -> "TrainingState":
        """The state before the first step."""
        return cls(0, 0, {}, {}, {}, [], [], 0.0, config_digest)

    @property
    def best(self) -> int | None:
        """The step of the best validation, the first of equals; None without one."""
        return self.best_until(None)

    def best_until(self, step: int | None) -> int | None:
        """The step of the best validation up to a step, or of all."""
        seen = [pair for pair in self.validations if step is None or pair[0] <= step]
        return max(seen, key=lambda pair: (pair[1], -pair[0]))[0] if seen else None
