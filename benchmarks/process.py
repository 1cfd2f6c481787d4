"""One side of a comparison, measured in a fresh process, and the clock that all sides share."""

import subprocess
import sys
import time
from pathlib import Path
from typing import TypeVar

import torch

from medseg.config import Frozen
from medseg.runtime import device_kind

ROOT = Path(__file__).parent.parent
Measured = TypeVar("Measured", bound=Frozen)


def in_process(benchmark: str, side: Frozen, found: type[Measured]) -> Measured:
    """Let `python -m benchmarks.NAME` read a side from standard input and print what it measured.

    Args:
        benchmark: name of the module.
        side: what the process does.
        found: the form of the last line it prints.

    Raises:
        RuntimeError: the process failed; the message ends as its standard error does.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", f"benchmarks.{benchmark}"],
        input=side.model_dump_json(),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if done.returncode:
        raise RuntimeError(f"a side of {benchmark} failed:\n{done.stderr[-2000:]}")
    return found.model_validate_json(done.stdout.splitlines()[-1])


def now() -> float:
    """Seconds on the clock once the device has done what it was given."""
    if device_kind() == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
