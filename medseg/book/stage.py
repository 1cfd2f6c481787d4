"""The staged book: a folder that mirrors the repository root, with every page executed."""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

import medseg
from medseg.book.runner import run_notebook
from medseg.errors import InputError
from medseg.files import write_atomic

TIMES = "page_times.json"  # beside the stage: profile, seconds and digest of every page
# What a page may read beside its own source.
_INPUTS = ("medseg/**/*.py", "medseg/**/*.css", "medseg/**/*.js", "studies/**/*.yaml", "results/**/*.json")
_DATA_FOLDERS = ("MEDSEG_DATA", "MEDSEG_WEIGHTS")
# A closed port: a page that reaches for the network fails at once instead of waiting.
_NOWHERE = "http://127.0.0.1:9"


def stage(
    root: Path,
    out: Path,
    profile: str,
    pages: Iterable[str] | None = None,
    log: Callable[[str], None] | None = None,
) -> list[tuple[str, float]]:
    """Copy the book to `out` and execute its notebooks there.

    A page is executed again only when its source, the package, the studies, the records, the profile or
    the data folders changed since it was last staged.

    Args:
        root: the folder with `_config.yml`, `_toc.yml`, `book/` and `notebooks/`.
        out: the staged folder; what no longer belongs to the book is removed from it.
        profile: passed to every page as its parameter `profile`; "smoke" means one thread and no network.
        pages: the notebooks to execute, by their names in the table of contents. The others keep the
            outputs of an earlier run, or are staged without any. All when None.
        log: called with one line for each page.

    Returns:
        Each notebook with the seconds that its last execution took, in the order of the table of contents.

    Raises:
        InputError: a page in the table of contents that does not exist, or one in `pages` that is not there.
        PageError: a page that did not run.
    """
    root, out = Path(root).resolve(), Path(out).resolve()
    log = log or (lambda line: None)
    notebooks = _notebooks(root)
    wanted = set(notebooks) if pages is None else _wanted(pages, notebooks)
    _copy_prose(root, out)
    times_path = out.parent / TIMES
    times: dict[str, Any] = json.loads(times_path.read_text("utf-8")) if times_path.exists() else {}
    _remove_strays(out, set(notebooks))
    for page in notebooks:
        source, target = root / f"{page}.ipynb", out / f"{page}.ipynb"
        digest = _digest(root, source, profile)
        known = times.get(page, {})
        if page not in wanted:
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            continue
        if target.exists() and known.get("digest") == digest:
            log(f"{page}: unchanged, run before in {known['seconds']:.1f} s")
            continue
        begun = time.monotonic()
        run_notebook(source, target, {"profile": profile}, cwd=source.parent, env=_environment(root, profile))
        seconds = round(time.monotonic() - begun, 1)
        times[page] = {"profile": profile, "seconds": seconds, "digest": digest}
        # After every page: a failure further on does not forget it.
        write_atomic(times_path, json.dumps(times, indent=1, sort_keys=True) + "\n")
        log(f"{page}: {seconds:.1f} s")
    return [(page, times[page]["seconds"]) for page in notebooks if page in times]


def toc_files(toc: dict[str, Any]) -> list[str]:
    """Every file of a table of contents, in reading order, without suffixes.

    >>> toc_files({"root": "book/intro", "parts": [{"chapters": [{"file": "notebooks/a"}]}]})
    ['book/intro', 'notebooks/a']
    """
    found = [toc["root"]] if "root" in toc else []
    if "file" in toc:
        found.append(toc["file"])
    for key in ("parts", "chapters", "sections"):
        for entry in toc.get(key, ()):
            found.extend(toc_files(entry))
    return found


def _notebooks(root: Path) -> list[str]:
    notebooks = []
    for page in toc_files(yaml.safe_load((root / "_toc.yml").read_text("utf-8"))):
        name = page.removesuffix(".ipynb").removesuffix(".md")
        if (root / f"{name}.ipynb").exists():
            notebooks.append(name)
        elif not (root / f"{name}.md").exists():
            raise InputError(
                f"_toc.yml names a page that does not exist: {page}",
                expected=f"{name}.ipynb or {name}.md",
                got="neither file",
                do="write the page or take it out of _toc.yml",
            )
    return notebooks


def _wanted(pages: Iterable[str], notebooks: list[str]) -> set[str]:
    wanted = {page.removesuffix(".ipynb") for page in pages}
    if unknown := sorted(wanted - set(notebooks)):
        raise InputError(
            f"the book has no notebook {', '.join(unknown)}",
            expected=f"one of: {', '.join(notebooks) or 'none'}",
            got=", ".join(unknown),
            do="give the page as _toc.yml names it",
        )
    return wanted


def _copy_prose(root: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copyfile(root / name, out / name)
    shutil.rmtree(out / "book", ignore_errors=True)
    shutil.copytree(root / "book", out / "book")


def _remove_strays(out: Path, notebooks: set[str]) -> None:
    for path in out.glob("notebooks/**/*.ipynb"):
        if path.relative_to(out).with_suffix("").as_posix() not in notebooks:
            path.unlink()


def _digest(root: Path, source: Path, profile: str) -> str:
    digest = hashlib.sha256(f"{profile} {sys.version}".encode())
    for name in _DATA_FOLDERS:
        digest.update(f" {name}={os.environ.get(name, '')}".encode())
    inputs = {path for pattern in _INPUTS for path in root.glob(pattern)}
    for path in (source, *sorted(inputs)):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _environment(root: Path, profile: str) -> dict[str, str]:
    """The kernel's environment: this process's package, absolute data folders, and no network at smoke."""
    paths = [str(Path(medseg.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    env = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    for name in _DATA_FOLDERS:
        if folder := os.environ.get(name):
            # A page runs in its own folder, where a path relative to this one would mean something else.
            env[name] = str(Path(folder).resolve())
    if profile == "smoke":
        env |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        env |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _NOWHERE)
        env |= {"HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    return env
