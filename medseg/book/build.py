"""Build the book: stage it, then let jupyter-book turn the stage into HTML; every warning is an error."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from medseg.book.polish import polish
from medseg.book.runner import PageError
from medseg.book.stage import stage

_LINES = 20  # of the builder's complaints in an error
# jupyter-book has a command but no module to run; this way it is the one of the running Python.
_BUILDER = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"


def build_book(
    root: Path,
    profile: str = "smoke",
    pages: Iterable[str] | None = None,
    log: Callable[[str], None] | None = None,
) -> Path:
    """Execute the pages of the book under `root` and build its HTML.

    Args:
        root: the repository root.
        profile: "smoke", "colab" or "full".
        pages: the notebooks to execute (see `stage`); all when None.
        log: called with one line for each step.

    Returns:
        `root/_build/html/index.html`. An earlier build stays there when this one fails.

    Raises:
        InputError: a page that does not exist or does not know the parameter `profile`.
        PageError: a page that did not run, or a warning of the builder.
    """
    root = Path(root).resolve()
    log = log or (lambda line: None)
    build = root / "_build"
    staged = build / "stage"
    stage(root, staged, profile, pages, log)
    log("building the HTML")
    # From scratch each time: an incremental build repeats no warning, and then the second try passes.
    work = build / "sphinx"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    command = [sys.executable, "-c", _BUILDER, "build", str(staged), "--path-output", str(work)]
    done = subprocess.run(
        [*command, "-n", "-W", "--keep-going"],
        cwd=root,
        env={**os.environ, "JUPYTER_PLATFORM_DIRS": "1", "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    html = work / "_build" / "html"
    if done.returncode != 0 or not (html / "index.html").exists():
        raise PageError(f"the book did not build:\n{_complaints(done.stdout + done.stderr, staged)}")
    polish(html)
    _replace(build / "html", html)
    return build / "html" / "index.html"


def _replace(target: Path, source: Path) -> None:
    old = target.with_name("html.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(source, target)
    shutil.rmtree(old, ignore_errors=True)


def _complaints(output: str, staged: Path) -> str:
    """The lines of the builder that say what is wrong, with paths inside the book; else its last lines."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output).replace(f"{staged}{os.sep}", "")
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    found = list(dict.fromkeys(line for line in lines if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line)))
    return "\n".join((found or lines)[-_LINES:])
