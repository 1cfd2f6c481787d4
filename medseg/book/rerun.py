"""Execute stale pages on workers, with the missing runs that they read ahead of them if asked."""

from collections.abc import Callable, Iterable
from pathlib import Path

from medseg.batch.run import ATTEMPTS
from medseg.batch.tasks import Outcome, Task
from medseg.book import toc
from medseg.book.depends import studies_of
from medseg.book.pages import execute_pages
from medseg.errors import InputError
from medseg.records import store
from medseg.studies import schedule, spread, study


def rerun(
    root: Path,
    profile: str = "smoke",
    pages: Iterable[str] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    with_runs: bool = False,
    runs: Path = Path("runs"),
    log: Callable[[str], None] | None = None,
    attempts: int = ATTEMPTS,
) -> list[Outcome]:
    """Execute the stale pages of the book under `root`, into `root/_build/stage`.

    `build_book` finds them fresh afterwards. Neither workers nor a scheduler: one page after another here.

    Args:
        root: the repository root.
        profile: "smoke", "colab" or "full".
        pages: the notebooks that are meant; all when None.
        workers: processes of this machine.
        scheduler: address of a running Dask scheduler, whose workers see the same files.
        with_runs: run what the studies that a page reads lack at this profile, before the page.
        runs: parent of the run folders.
        log: called with one line for each page or run that ends.
        attempts: starts of a task whose workers die.

    Returns:
        One outcome a run and a page, fresh pages first.

    Raises:
        InputError: no such page or scheduler, runs asked for at smoke, or data of a run that is not there.
    """
    root = Path(root).resolve()
    wanted = toc.chosen(pages, toc.notebooks(root))
    ahead = _runs_ahead(root, wanted, profile, runs) if with_runs else None
    return execute_pages(
        root, root / "_build" / "stage", profile, wanted, log, ahead, workers, scheduler, attempts
    )


def _runs_ahead(root: Path, pages: list[str], profile: str, runs: Path) -> dict[str, list[Task]]:
    """For every page the missing runs of the studies that it reads; a run that two pages read is one task."""
    if profile == "smoke":
        raise InputError(
            "smoke runs are not for pages",
            expected="--profile colab or full",
            got="--with-runs at profile smoke",
            do="leave out --with-runs: a smoke run is a demonstration and gives no record in results/",
        )
    names = study.names(root)
    reads = {page: studies_of(root / f"{page}.ipynb", names) for page in pages}
    tasks: dict[str, list[Task]] = {}
    for name in sorted({name for found in reads.values() for name in found}):
        asked, results = study.load(name, root), root / "results"
        found = store.read_study(results, name)
        lacking = schedule.startable(asked, schedule.missing(asked, found, profile), profile)
        tasks[name] = spread.as_tasks(asked, lacking, profile, root, runs, results, found=found)
    return {page: [task for name in found for task in tasks[name]] for page, found in reads.items()}
