"""What a benchmark returns, and how two ways are timed side by side."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Options:
    """What is asked of every benchmark.

    Attributes:
        quick: few repeats on small inputs: shows that the benchmark runs, its figures mean little.
        run: folder of a finished run, whose network `inference` takes; None: an untrained network.
    """

    quick: bool = False
    run: Path | None = None


@dataclass(frozen=True)
class Aim:
    """A bound on the ratio, or on our own figure where the baseline is only there for scale."""

    on: Literal["ratio", "ours"]
    sense: Literal[">=", "<=", "<"]
    value: float


@dataclass(frozen=True)
class Row:
    """One comparison. The ratio is always ours / baseline: rates should be large, seconds and bytes small."""

    benchmark: str
    what: str
    unit: str
    baseline: float
    ours: float
    aim: Aim | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """Ours / baseline."""
        return self.ours / self.baseline

    @property
    def met(self) -> bool | None:
        """Whether the aim is reached; None without one."""
        if self.aim is None:
            return None
        value = self.ratio if self.aim.on == "ratio" else self.ours
        if self.aim.sense == ">=":
            return value >= self.aim.value
        return value < self.aim.value or (self.aim.sense == "<=" and value == self.aim.value)


def median_seconds(ways: dict[str, Callable[[int], object]], repeats: int) -> dict[str, float]:
    """Median wall seconds of each way: one untimed call, then `repeats` rounds that start with another each.

    Taking turns spreads what else the machine does over all of them.

    Args:
        ways: name to function of the number of the round (0 is the untimed one).
        repeats: timed rounds.
    """
    for call in ways.values():
        call(0)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(repeats):
        for i in range(len(names)):
            name = names[(turn + i) % len(names)]
            start = time.perf_counter()
            ways[name](turn + 1)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
