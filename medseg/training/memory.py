"""What a run needs in memory: stated before it starts, and said with numbers where it does not fit."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from medseg.config import TrainConfig
from medseg.data.cache import CachedCase, size_bytes
from medseg.data.cases import TrainingCase
from medseg.errors import OutOfMemory
from medseg.runtime import device_kind, peak_bytes

# How torch's CPU allocator and Python say it; CUDA has an exception class of its own.
SAYINGS = ("can't allocate memory", "not enough memory", "Cannot allocate memory")
MB = 10**6


def statement(cases: Sequence[TrainingCase], batch_bytes: int, ahead: int) -> str:
    """One line on the data path, true for the whole run.

    >>> statement([], batch_bytes=2 * MB, ahead=2)
    '0 training volumes, 0 MB in memory, 0 MB in mapped files; batches of 2 MB, 2 made ahead'
    """
    mapped = size_bytes(case for case in cases if isinstance(case, CachedCase) and case.mapped)
    return (
        f"{len(cases)} training volumes, {(size_bytes(cases) - mapped) / MB:.0f} MB in memory, "
        f"{mapped / MB:.0f} MB in mapped files; batches of {batch_bytes / MB:.0f} MB, {ahead} made ahead"
    )


def hint(train: TrainConfig, processes: int, peak: int, total: int) -> str:
    """What to change, with numbers.

    Args:
        train: gives the batch and its parts.
        processes: that share the batch.
        peak: bytes used when it failed.
        total: bytes of the device.
    """
    rows = train.batch // (processes * train.accumulate)
    text = (
        f"out of memory with {rows} windows in a forward pass: {peak / 1e9:.1f} GB used of "
        f"{total / 1e9:.1f} GB. What to do: "
    )
    if rows > 1:
        text += (
            f"--accumulate {2 * train.accumulate} (passes of {rows // 2}, about half of the activations), "
        )
    return text + "--recompute (activations of one block at a time), --devices N, or a smaller image_px"


@contextmanager
def explained(train: TrainConfig, processes: int) -> Iterator[None]:
    """Turn an out-of-memory error within the block into `OutOfMemory` with a hint."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        by_type = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not by_type and not any(saying in str(error) for saying in SAYINGS):
            raise
        raise OutOfMemory(hint(train, processes, peak_bytes(), total_bytes())) from error


def total_bytes() -> int:
    """Memory of the device: of the GPU where there is one, else of the machine."""
    if device_kind() == "cuda":
        return int(torch.cuda.mem_get_info()[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
