"""One process at a time in a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import InputError

try:
    import fcntl
except ImportError:  # not on Windows, where the second process is not held back
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process is in the folder, then hold it; made where it is missing.

    The system lets go when the process ends, however it ends: a task that is started again waits for the
    attempt before it, should that one still live, and for nobody else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "ab") as handle:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def sole_in(folder: Path) -> Iterator[None]:
    """Hold a folder that is there, and refuse to where another process does; nothing is written.

    Nobody is held back where the system or the file system knows no locks on folders.

    Raises:
        InputError: another process holds it.
    """
    handle = os.open(folder, os.O_RDONLY) if fcntl is not None else None
    try:
        if handle is not None:
            _lock(handle, folder)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"another process is at work in {folder}",
            expected="one process a run folder",
            got="a second one",
            do="wait for it, end it, or choose another folder",
        ) from error
    except OSError:
        return
