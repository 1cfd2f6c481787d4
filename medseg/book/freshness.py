"""Whether a page has to be executed again: a digest of everything that decides its outputs."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import medseg
from medseg.book.depends import studies_of
from medseg.files import sha256_of, write_atomic
from medseg.studies import study

TIMES = "page_times.json"  # beside the stage: profile, seconds, digest and output of every page
DATA_FOLDERS = ("MEDSEG_DATA", "MEDSEG_WEIGHTS")
LIBRARIES = ("torch", "timm", "monai")
_TABLES = ("studies/papers", "book/_data")
_PACKAGE = ("*.py", "*.css", "*.js")


def digest(root: Path, page: str, profile: str, env: Mapping[str, str]) -> str:
    """Hex sha256 of what a page is made from.

    These are its source, the package, the versions of Python and of LIBRARIES, the profile, the printed
    tables, what scripts found (`book/_data`), the studies that its code names with their records (see
    `studies_of`), and names, sizes and times of the files in the data folders. The data themselves are not
    read: they can be large.

    Args:
        root: the folder of the book.
        page: name of a notebook, without suffix.
        profile: its parameter.
        env: names the data folders, see DATA_FOLDERS.
    """
    source = root / f"{page}.ipynb"
    package = Path(medseg.__file__).parent
    found = hashlib.sha256(f"{profile} {sys.version} {[version(name) for name in LIBRARIES]}".encode())
    _add(found, root, [source])
    _add(found, package, sorted(path for pattern in _PACKAGE for path in package.rglob(pattern)))
    _add(found, root, sorted(path for folder in _TABLES for path in (root / folder).glob("*.csv")))
    for name in studies_of(source, study.names(root)):
        _add(
            found,
            root,
            [root / "studies" / f"{name}.yaml", *sorted((root / "results" / name).glob("*.json"))],
        )
    for name in DATA_FOLDERS:
        found.update(f"\n{name}".encode())
        if folder := env.get(name):
            for line in sorted(_listing(Path(folder))):
                found.update(line.encode())
    return found.hexdigest()


def read_times(out: Path) -> dict[str, dict[str, Any]]:
    """What is known of the pages of a stage, by page; empty where nothing is."""
    try:
        return dict(json.loads((out.parent / TIMES).read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def note(out: Path, page: str, **facts: Any) -> None:
    """Keep what is known of a page; after every page, so that an end further on does not forget it."""
    times = read_times(out) | {page: facts}
    write_atomic(out.parent / TIMES, json.dumps(times, indent=1, sort_keys=True) + "\n")


def is_fresh(target: Path, known: Mapping[str, Any], digest: str) -> bool:
    """Whether the executed page is the one that was made from this, and whole."""
    same = known.get("digest") == digest and target.exists()
    return same and known.get("output") == sha256_of(target)


def _add(found: Any, root: Path, paths: list[Path]) -> None:
    for path in paths:
        found.update(f"\n{path.relative_to(root).as_posix()} {sha256_of(path)}".encode())


def _listing(folder: Path) -> Iterator[str]:
    """A line a file; linked folders are followed once."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(parent)
        if (place := (status.st_dev, status.st_ino)) in seen:
            folders.clear()
            continue
        seen.add(place)
        for name in files:
            path = Path(parent, name)
            if path.exists():  # a link may lead nowhere
                status = path.stat()
                yield f"\n{path.relative_to(folder).as_posix()} {status.st_size} {status.st_mtime_ns}"
