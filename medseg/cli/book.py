"""medseg book: execute the pages and build them."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.console import (
    JunitOption,
    ProfileOption,
    SchedulerOption,
    WorkersOption,
    console,
    end_with,
    print_line,
)

book_app = typer.Typer(no_args_is_help=True, help="The book: execute its pages and build it.")


@book_app.command("build", epilog="Example: medseg book build --profile smoke")
def book_build(
    profile: ProfileOption = "smoke",
    pages: Annotated[
        list[str] | None, typer.Option("--page", help="Execute only this page; may be repeated.")
    ] = None,
) -> None:
    """Execute the pages through papermill and build the book at _build/html/index.html."""
    from medseg.book.build import build_book
    from medseg.studies.study import project_root

    console.print(f"the book is at {build_book(project_root(), profile, pages, log=print_line)}")


@book_app.command("rerun", epilog="Example: medseg book rerun --workers 2")
def book_rerun(
    pages: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PAGES]...", help="Pages as in _toc.yml; default: all."),
    ] = None,
    profile: ProfileOption = "smoke",
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    with_runs: Annotated[
        bool, typer.Option("--with-runs", help="First run what the studies that a page reads lack.")
    ] = False,
    runs: Annotated[Path, typer.Option(help="Parent of the run folders.")] = Path("runs"),
    junit: JunitOption = Path("_build/rerun.xml"),
) -> None:
    """Execute the pages that changed, or whose package, data or records did, on workers; build afterwards."""
    from medseg.book.rerun import rerun
    from medseg.studies.study import project_root

    found = rerun(project_root(), profile, pages or None, workers, scheduler, with_runs, runs, print_line)
    end_with(found, f"book at {profile}", junit)
