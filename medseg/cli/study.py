"""medseg study: what is asked, what was found, run what is missing."""

import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Column, Table

from medseg.cli.console import (
    Json,
    JunitOption,
    ProfileOption,
    SchedulerOption,
    WorkersOption,
    console,
    end_with,
    print_outcome,
    print_record,
    training_bar,
)

if TYPE_CHECKING:
    from medseg.studies.status import CellState, Underway
    from medseg.studies.study import Study

RunsOption = Annotated[Path, typer.Option(help="Parent of the run folders.")]

study_app = typer.Typer(
    no_args_is_help=True, help="Studies: what is asked, what was found, run what is missing."
)


@study_app.command("list", epilog="Example: medseg study list")
def study_list() -> None:
    """List the studies."""
    from medseg.studies import study

    table = Table(Column("name", no_wrap=True), "title", "cells", "seeds", "data")
    for name in study.names():
        found = study.load(name)
        seeds = f"{len(found.seeds)}, {len(found.folds)} folds" if found.folds else str(len(found.seeds))
        table.add_row(name, found.title, str(len(found.cells)), seeds, found.dataset)
    console.print(table)


@study_app.command("status", epilog="Example: medseg study status transseg_main --json")
def study_status(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    profile: ProfileOption = "colab",
    runs: RunsOption = Path("runs"),
    as_json: Json = False,
    watch_s: Annotated[
        float | None, typer.Option("--watch", min=0.1, help="Draw the table again every so many seconds.")
    ] = None,
) -> None:
    """Show every cell: the paper's number, status, seeds, what was measured, runs under way.

    NAME may be that of a group: `transseg` shows every study whose name begins with it.
    """
    from medseg.studies import study

    looks = [partial(_look, study.load(member), profile, runs) for member in study.group(name) or [name]]
    if as_json:
        found = [
            {"study": of.name, "profile": profile, "cells": [s.model_dump(mode="json") for s in states]}
            for of, states in (look() for look in looks)
        ]
        print(json.dumps(found[0] if [name] == [each["study"] for each in found] else found, indent=1))
        return
    if watch_s is None:
        for look in looks:
            console.print(*_tables(profile, *look()))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            seen = [look() for look in looks]
            drawn = Group(*(table for each in seen for table in _tables(profile, *each)))
            # A pipe or a file keeps every look; only a terminal can draw one over the last.
            live.update(drawn, refresh=True) if console.is_terminal else console.print(drawn)
            if all(state.status == "done" for _, states in seen for state in states):
                return
            time.sleep(watch_s)


def _look(asked: "Study", profile: str, runs: Path) -> tuple["Study", list["CellState"]]:
    from medseg.records import store
    from medseg.studies import status, study

    records = store.read_study(study.project_root() / "results", asked.name)
    return asked, status.states(asked, records, profile, runs)


def _tables(profile: str, asked: "Study", states: list["CellState"]) -> list[Table]:
    """One table for each table of the study: a cell stands in every one that shows it."""
    if not asked.tables:
        return [_table(asked, profile, states)]
    of_cell = {state.cell: state for state in states}
    parts = [asked.part(table.table) for table in asked.tables]
    return [
        _table(
            part,
            profile,
            [of_cell[c.cell].model_copy(update={"paper_dice": c.paper_dice}) for c in part.cells],
        )
        for part in parts
    ]


def _table(study: "Study", profile: str, states: list["CellState"]) -> Table:
    from medseg.reports.tables import cut

    table = Table(Column("cell", no_wrap=True), "paper", "status", "seeds", "Dice", "95 % interval", "pooled")
    notes = ["\n".join(map(_said, state.underway)) or state.reason or "" for state in states]
    if noted := any(notes):
        table.add_column("note")
    printed = "" if study.paper_table == "none" else f" ({study.paper_table})"
    where = f"{study.title}{printed}, {study.dataset}, profile {profile}"
    table.title = f"{where}: Dice in percent, per case and pooled"
    for state, note in zip(states, notes, strict=True):
        seeds = f"{len(state.seeds_done)}/{len(state.seeds_wanted)}"
        row = [state.cell, cut(state.paper_dice), state.status, seeds]
        if m := state.measured:
            low, high = (cut(100 * end) if end is not None else "" for end in (m.dice_low, m.dice_high))
            row += [cut(100 * m.dice), f"{low} to {high}", cut(100 * m.dice_pooled)]
        else:
            row += ["", "", ""]
        table.add_row(*row, *([note] if noted else []))
    printed_only = [f"{reference.title}: {cut(reference.paper_dice)}" for reference in study.references]
    if printed_only:
        table.caption = "\n".join(("Printed in the paper, no cell of the study:", *printed_only))
    return table


def _said(run: "Underway") -> str:
    on = "" if run.fold is None else f", fold {run.fold}"
    where = f"seed {run.seed}{on}: step {run.step}/{run.steps}, loss {run.loss:.3f}"
    if run.dice is not None:
        where += f", Dice {run.dice:.3f}"
    return f"{where}, {run.left_s / 60:.0f} min left" if run.running else f"{where}, stopped"


@study_app.command("run", epilog="Example: medseg study run transseg_main --profile colab --seeds 1")
def study_run(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    profile: ProfileOption = "colab",
    data_dir: Annotated[
        Path | None, typer.Option(help="The data set; default: found through MEDSEG_DATA.")
    ] = None,
    cells: Annotated[
        list[str] | None, typer.Option("--cell", help="Only this cell; may be repeated.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Only the first so many seeds.")] = None,
    runs: RunsOption = Path("runs"),
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    junit: JunitOption = None,
) -> None:
    """Run the cells that have no record yet; smoke runs use phantoms and stay out of results/.

    NAME may be that of a group, as in `study status`: its studies run one after another, but for those whose
    data are not at hand. A run that fails leaves a record of that, the others go on. To run it again, delete
    its record.
    """
    from medseg.studies import spread, study
    from medseg.studies.obstacle import lacks_data

    root = study.project_root()
    members, outcomes = study.group(name) or [name], []
    for member in members:
        asked = study.load(member, root)
        lacking = lacks_data(asked.config(asked.cells[0], asked.seeds[0], profile))
        if len(members) > 1 and profile != "smoke" and data_dir is None and lacking:
            console.print(f"{member}: {lacking}")
            continue
        chosen = (member, root, profile, runs, data_dir, cells, seeds)
        if workers is None and scheduler is None:
            results = (runs / "smoke_results" if profile == "smoke" else root / "results") / member
            outcomes += spread.run_here(*chosen, training_bar, partial(print_record, folder=results))
        else:
            outcomes += spread.run_study(*chosen, workers, scheduler, print_outcome)
    end_with(outcomes, f"study {name}", junit)
