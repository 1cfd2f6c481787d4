"""Atomic writing: a file is there whole or not at all."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import InputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder and rename it to `path` when the block succeeds.

    The temporary name keeps the suffixes (writers choose a format by them). On an error nothing is left
    behind and an older file at `path` stays as it was.

    Raises:
        InputError: `path` is a folder, or cannot lie where it says.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(
            f"{path} cannot be written", expected="the name of a file", got="a folder", do="name a file"
        )
    make_folder(path.parent)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        InputError: a file is in the way, or there is no right to write there.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise InputError(
            f"the folder {folder} cannot be made",
            expected="a path of folders, with the right to write there",
            got=error.strerror or type(error).__name__,
            do="choose another place",
        ) from error


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` to `path` in one step (text as UTF-8)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
