"""What the tests of the loop share: networks to train, and whether two trainings ended with the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import medseg.compat  # noqa: F401  isort: skip
import torch
from lightning.fabric import Fabric

from medseg.studies.study import ROOT

HERE = Path(__file__).parent
UNET = {"network": "unet3d", "weights": None, "slices": 16}
# The paper's learning rate: at ten times that, rounding alone grows by three digits in a dozen steps.
PAPER_LR = 3e-5


def same_bits(first: dict, second: dict) -> bool:
    """Whether two state dicts are equal, key by key and bit by bit."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def weights(fitted) -> dict:
    return fitted.segmenter.state_dict()


def environment() -> dict[str, str]:
    """For a process of its own: one thread, this checkout."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK")}
    return inherited | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def call(*command, timeout_s: float = 300, **options) -> subprocess.CompletedProcess:
    """Run a Python module or script to its end."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        **options,
    )


class OneOf(Fabric):
    """Process number `rank` of several, the others of which are not there."""

    def __init__(self, rank: int = 0, processes: int = 1):
        self._rank, self._processes = rank, processes

    world_size = property(lambda self: self._processes)
    global_rank = property(lambda self: self._rank)
    is_global_zero = property(lambda self: self._rank == 0)
