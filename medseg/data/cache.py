"""Training volumes held for the whole run: in memory up to a stated bound, beyond it in mapped files.

A mapped file is read by the page: the system keeps what is in use and drops it when memory is short.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medseg.data.cases import LoadedCase, TrainingCase
from medseg.errors import InputError

FOLDER = "volumes"


@dataclass(frozen=True)
class CachedCase:
    """What training needs of one case (see `TrainingCase`); `mapped` tells whether it lies in files."""

    id: str
    image: Tensor
    labels: Tensor
    mapped: bool = False


def size_bytes(cases: Iterable[TrainingCase]) -> int:
    """Size of images and labels."""
    return sum(case.image.nbytes + case.labels.nbytes for case in cases)


def on_device(cases: Iterable[TrainingCase], device: torch.device) -> list[CachedCase]:
    """The cases with their volumes on a device."""
    return [CachedCase(case.id, case.image.to(device), case.labels.to(device)) for case in cases]


def free_bytes() -> int:
    """Memory that this machine can give now; half of its memory where the system does not say.

    Where a container or a batch system has set a bound (control groups, version 2), what is left below it.
    """
    try:
        # The number of free pages would leave out what the system gives back when asked: its file cache.
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return min([free, *_below_bounds(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))])


def _below_bounds(groups: Path, membership: Path) -> Iterator[int]:
    """Bytes that each group with a bound has left, its file cache counted as free."""
    try:
        name = next(line[3:] for line in membership.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return
    group = groups / name.strip("/")
    for folder in (group, *group.parents):
        if not folder.is_relative_to(groups):
            return
        try:
            bound, used = ((folder / f"memory.{what}").read_text().strip() for what in ("max", "current"))
            stated = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        if bound != "max":
            yield max(0, int(bound) - int(used) + int(stated.get("inactive_file", 0)))


def fill(
    names: Iterable[str], load: Callable[[str], LoadedCase], limit_bytes: int, run_dir: Path
) -> list[CachedCase]:
    """Load cases one after another; what exceeds `limit_bytes` goes to files below `run_dir`.

    Args:
        names: case ids, in the order of the split.
        load: reads and normalises one case; its raw volume is dropped again.
        limit_bytes: bound on what is held in memory.
        run_dir: takes the folder `volumes` with the mapped files; `empty` removes it.

    Raises:
        InputError: the disk has no room for the mapped files.
    """
    cases, held = list[CachedCase](), 0
    for name in names:
        loaded = load(name)
        case = CachedCase(loaded.id, loaded.image, loaded.labels)
        if held + size_bytes([case]) > limit_bytes:
            case = _mapped(case, Path(run_dir) / FOLDER)
        else:
            held += size_bytes([case])
        cases.append(case)
    return cases


def empty(run_dir: Path) -> None:
    """Remove the mapped files of a run."""
    shutil.rmtree(Path(run_dir) / FOLDER, ignore_errors=True)


def _mapped(case: CachedCase, folder: Path) -> CachedCase:
    folder.mkdir(parents=True, exist_ok=True)
    parts = {}
    for part, tensor in (("image", case.image), ("labels", case.labels)):
        path = folder / f"{os.getpid()}-{case.id}-{part}.npy"
        try:
            np.save(path, tensor.numpy())
        except OSError as error:
            empty(folder.parent)
            raise InputError(
                f"the volumes do not fit in memory and cannot be written to {folder}",
                expected="room for the mapped files",
                got=os.strerror(error.errno) if error.errno else str(error),
                do="free some space, or raise the bound of memory (--cache-gb)",
            ) from error
        # Copy on write: a tensor wants a writable array, the file stays as it is.
        parts[part] = torch.from_numpy(np.load(path, mmap_mode="c"))
    return CachedCase(case.id, **parts, mapped=True)
