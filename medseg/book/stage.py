"""The staged book: a folder that mirrors the repository root, with every page executed."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from medseg.batch.tasks import Outcome
from medseg.book import toc
from medseg.book.freshness import read_times
from medseg.book.pages import execute_pages
from medseg.book.runner import PageError


def stage(
    root: Path,
    out: Path,
    profile: str,
    pages: Iterable[str] | None = None,
    log: Callable[[str], None] | None = None,
) -> list[tuple[str, float]]:
    """Copy the book to `out` and execute its notebooks there, one after another.

    A page is executed again only when what it is made from changed, see `freshness.digest`.

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
        PageError: pages that did not run; the others did.
    """
    root, out = Path(root).resolve(), Path(out).resolve()
    notebooks = toc.notebooks(root)
    wanted = toc.chosen(pages, notebooks)
    _copy_prose(root, out)
    _remove_strays(out, set(notebooks))
    _require_done(execute_pages(root, out, profile, wanted, log))
    for page in notebooks:
        if not (target := out / f"{page}.ipynb").exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / f"{page}.ipynb", target)
    times = read_times(out)
    return [(page, times[page]["seconds"]) for page in notebooks if page in times]


def _require_done(outcomes: list[Outcome]) -> None:
    if failed := [outcome.message for outcome in outcomes if outcome.state not in ("done", "fresh")]:
        raise PageError("\n".join(failed))


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
