"""Seeds from named axes, the device, and what a run costs in time and memory."""

import ctypes
import gc
import hashlib
import re
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

# Linux's own count of a process, and where the peak in it is reset.
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def seed_for(seed: int, *axis: str | int) -> int:
    """A 63-bit seed for one named axis of randomness, for example ("augment", step).

    Every draw is a function of (run seed, axis), never of what was drawn before: a resumed run needs no
    generator state, and arms with the same seed see the same data in the same order.

    >>> seed_for(1234, "order", 0) == seed_for(1234, "order", 0) != seed_for(1234, "order", 1)
    True
    """
    text = "/".join(map(str, (seed, *axis)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_for(seed: int, *axis: str | int) -> torch.Generator:
    """A CPU generator seeded by `seed_for`."""
    return torch.Generator().manual_seed(seed_for(seed, *axis))


def device_kind() -> str:
    """Give "cuda" where a CUDA device answers, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def keep_freed_memory() -> bool:
    """Have the C library keep large blocks that were freed, for the whole process; whether it does now.

    glibc hands blocks above 32 MiB back to the system and gets fresh ones, page by page, in every training
    step. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of <malloc.h>
    kept = mallopt(mmap_threshold, 1 << 30) or mallopt(mmap_threshold, 1 << 25)
    return bool(kept and mallopt(trim_threshold, (1 << 31) - 1))


class Stopwatch:
    """Seconds since it was made, in wall time.

    >>> Stopwatch().seconds() >= 0
    True
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Wall seconds so far."""
        return time.perf_counter() - self._start


def count_peak_anew() -> None:
    """Let `peak_bytes` count from here on, as far as the system can: one process may run several cells.

    Memory that was freed and kept (`keep_freed_memory`) is given back first.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif _RESET.exists():
        with suppress(AttributeError, OSError, TypeError):
            ctypes.CDLL(None).malloc_trim(0)
            _RESET.write_text("5")  # the peak of resident memory, in the words of Linux's proc(5)


def peak_bytes() -> int:
    """Peak memory so far: allocated on the GPU where there is one, else resident in this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    if _STATUS.exists():
        # On Linux ru_maxrss starts at the peak of the process that started this one.
        return int(re.findall(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
