"""What all commands share: where they print, a progress bar, options that several take."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

if TYPE_CHECKING:
    from medseg.batch.tasks import Outcome
    from medseg.records.schema import Record
    from medseg.training.progress import Progress

Profile = Literal["smoke", "colab", "full"]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ProfileOption = Annotated[
    Profile, typer.Option(help="smoke: phantoms, a minute; colab: one T4; full: the paper's recipe.")
]
DevicesOption = Annotated[int, typer.Option(min=1, help="Processes on this machine: GPUs, or CPU processes.")]
NodesOption = Annotated[int, typer.Option(min=1, help="Machines; see the page on scaling out.")]
StrategyOption = Annotated[
    Literal["ddp", "fsdp"], typer.Option(help="fsdp splits the parameters over the devices.")
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Run side by side in so many worker processes of this machine.")
]
SchedulerOption = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Run on the workers of a running Dask scheduler.")
]

JunitOption = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write the outcomes as JUnit XML.")
]


def is_first_process() -> bool:
    """Whether this is the process that speaks: of a run on many devices, the first one."""
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return os.environ[name] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("NODE_RANK", "LOCAL_RANK"))


console = Console(quiet=not is_first_process())


def print_record(record: "Record", folder: Path) -> None:
    """Say what a run found."""
    from medseg.metrics.summary import summarise

    if record.outcome.status != "done":
        console.print(
            f"{record.identity.cell}: {record.outcome.status}: {record.outcome.reason}", markup=False
        )
        return
    kind = " (smoke: a demonstration, not a result)" if record.config.profile == "smoke" else ""
    for part in ("validation", "test"):
        found = summarise(record.scores(part))  # type: ignore[arg-type]
        dice = "undefined" if found.mean_dice is None else f"{found.mean_dice:.4f}"
        console.print(f"{part}: mean Dice per case {dice} over {found.n_cases} cases{kind}")
    console.print(f"{record.identity.cell}, run {record.identity.run_id}: in {folder}")


def print_line(line: str) -> None:
    """A line as it is: what a page said may look like markup."""
    console.print(line, markup=False, highlight=False)


def print_outcome(outcome: "Outcome") -> None:
    """One line on a page or a run that ended."""
    from medseg.batch.tasks import line_of

    print_line(line_of(outcome))


def end_with(outcomes: Sequence["Outcome"], suite: str, junit: Path | None) -> None:
    """Sum up what was to be done, write it where asked, and end with the exit code that it calls for."""
    from medseg.batch.tasks import exit_code

    if junit is not None:
        from medseg.batch.junit import write_junit

        write_junit(outcomes, junit, suite)
    if not outcomes:
        console.print("nothing is missing")
    elif len(outcomes) > 1:
        table = Table("what", "state", Column("seconds", justify="right"), Column("starts", justify="right"))
        for outcome in outcomes:
            table.add_row(outcome.name, outcome.state, f"{outcome.seconds:.1f}", str(outcome.attempts))
        console.print(table)
    if code := exit_code(outcomes):
        raise typer.Exit(code)


class training_bar:
    """A rich progress bar that is called with the loop's Progress: loss, Dice, samples/s, time left."""

    def __init__(self, title: str):
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(title), BarColumn(), TextColumn("{task.fields[what]}"), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console)

    def __enter__(self) -> Callable[["Progress"], None]:
        task = self.bar.add_task("", what="")

        def on_step(p: "Progress") -> None:
            self.bar.start()  # with the first step: a run that is refused shows no bar
            dice = "" if p.dice is None else f"  Dice {p.dice:.3f}"
            what = f"step {p.step}/{p.steps}  loss {p.loss:.4f}{dice}  {p.samples_per_s:.1f} samples/s"
            self.bar.update(task, completed=p.step, total=p.steps, what=what)

        return on_step

    def __exit__(self, *exception: object) -> None:
        if self.bar.live.is_started:
            self.bar.stop()
