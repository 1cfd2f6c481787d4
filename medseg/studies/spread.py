"""Runs of a study as tasks, in this process or on workers."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from medseg.batch import cluster
from medseg.batch.run import ATTEMPTS, run
from medseg.batch.tasks import Outcome, Task
from medseg.encoders.sources import stated_sha256
from medseg.errors import InputError, OutOfMemory
from medseg.records import schema, store
from medseg.records.schema import Record
from medseg.studies import schedule, study
from medseg.studies.fitted import fitted_to
from medseg.studies.study import Study
from medseg.training.interruption import ended_at_once

if TYPE_CHECKING:
    from medseg.training.progress import Progress

# Folders that a worker on another machine may not have in its environment.
_FOLDERS = ("MEDSEG_DATA", "MEDSEG_WEIGHTS")
BY_WORKERS = "the workers were ended; the same command goes on from the last checkpoint of each run"


def run_study(
    name: str,
    root: Path,
    profile: str,
    runs: Path,
    data: Path | None = None,
    cells: list[str] | None = None,
    seeds: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    attempts: int = ATTEMPTS,
) -> list[Outcome]:
    """Run what a study lacks; nothing is started where nothing is missing.

    Args:
        name: of the study.
        root: where studies/ and results/ lie; smoke runs are filed under `runs/smoke_results` instead.
        profile: budget.
        runs: parent of the run folders.
        data: the data set; None: phantoms at smoke, else found through MEDSEG_DATA.
        cells: names; where None, all whose weights are at hand.
        seeds: only the first so many seeds.
        workers: processes of this machine.
        scheduler: address of a running Dask scheduler, whose workers see the same files.
        on_outcome: called as runs end.
        attempts: starts of a run whose workers die; each goes on from the last checkpoint.

    Returns:
        One outcome a missing run.

    Raises:
        InputError: no such study, cell, data or scheduler.
        Interrupted: SIGTERM arrived; what ran on workers of this machine goes on from its last checkpoint.
    """
    asked = study.load(name, root)
    results = runs / "smoke_results" if profile == "smoke" else root / "results"
    found = store.read_study(results, name)
    card = None
    if data is not None and profile != "smoke":
        from medseg.data.layouts import read_folder

        card = read_folder(data)[0]
    lacking = schedule.missing(asked, found, profile, cells, seeds, card)
    if not cells:
        lacking = schedule.startable(asked, lacking, profile)
    tasks = as_tasks(asked, lacking, profile, root, runs, results, data, found)
    if not tasks:
        return []
    slots = None if workers is None else min(workers, len(tasks))
    with ended_at_once(BY_WORKERS), cluster.client(slots, scheduler, attempts) as client:
        return run(tasks, client, on_outcome, attempts)


def run_here(
    name: str,
    root: Path,
    profile: str,
    runs: Path,
    data: Path | None,
    cells: list[str] | None,
    seeds: int | None,
    bar: "Callable[[str], AbstractContextManager[Callable[[Progress], None]]]",
    on_record: Callable[[Record], None],
) -> list[Outcome]:
    """Run what a study lacks in this process, one after another, seen step by step; see `run_study`.

    Args:
        name: of the study.
        root: where studies/ and results/ lie.
        profile: budget.
        runs: parent of the run folders.
        data: the data set, or None.
        cells: names; where None, all whose weights are at hand.
        seeds: only the first so many seeds.
        bar: given the title of a run, a context whose value is called after every training step.
        on_record: called with the record of a run that ended as it should.

    Returns:
        One outcome a missing run; a run that failed has left its record.
    """
    from medseg.studies.run import open_data

    asked = study.load(name, root)
    asked.choose(cells)
    folder = _data_folder(asked, profile, runs, data)
    results = runs / "smoke_results" if profile == "smoke" else root / "results"
    opened = open_data(folder, asked.config(asked.cells[0], asked.seeds[0], profile).data.split_seed)
    found = store.read_study(results, name)
    tasks = schedule.missing(asked, found, profile, cells, seeds, opened.card)
    if not cells:
        tasks = schedule.startable(asked, tasks, profile)
    outcomes = []
    for number, task in enumerate(tasks, start=1):
        title, begun = task.title, time.monotonic()
        try:
            with bar(f"{number} of {len(tasks)}: {title}") as on_step:
                record = schedule.run_task(asked, task, profile, opened, runs, results, on_step)
        except (OutOfMemory, FloatingPointError, InputError, OSError) as error:
            outcomes.append(Outcome(title, "failed", round(time.monotonic() - begun, 1), 1, str(error)))
            continue
        on_record(record)
        outcomes.append(Outcome(title, "done", round(time.monotonic() - begun, 1), 1))
    return outcomes


def as_tasks(
    asked: Study,
    lacking: Sequence[schedule.Task],
    profile: str,
    root: Path,
    runs: Path,
    results: Path,
    data: Path | None = None,
    found: Sequence[Record] = (),
) -> list[Task]:
    """A task a run, named by the record that it will file: `<study>/<file name>`, which holds the run's id.

    Args:
        asked: the study.
        lacking: from `schedule.missing`.
        profile: budget.
        root: where studies/ lies.
        runs: parent of the run folders.
        results: parent of the records.
        data: the data set; None: phantoms at smoke, else found through MEDSEG_DATA.
        found: records whose times say how long such a run takes.

    Raises:
        InputError: the data are not there.
    """
    if not lacking:
        return []
    from medseg.studies.run import open_data

    folder = _data_folder(asked, profile, runs, data)
    places = tuple(str(Path(path).resolve()) for path in (root, runs, results, folder))
    env = {key: str(Path(os.environ[key]).resolve()) for key in _FOLDERS if os.environ.get(key)}
    tasks = []
    for task in lacking:
        config = asked.config(task.cell, task.seed, profile, task.fold)
        opened = open_data(folder, config.data.split_seed).asked(config.data)
        config = fitted_to(config, opened.card)
        sha256 = stated_sha256(config.model.weights)
        run_id = schema.run_id(config, opened.split.digest, sha256)
        args = (asked.name, task.cell.cell, task.seed, task.fold, profile, places, env)
        # As `store.file_name` names the record.
        name = f"{asked.name}/{task.cell.cell}-{profile}-s{task.seed}-{run_id[:8]}.json"
        tasks.append(Task(name, run_named, args, seconds=_expected(task.cell.cell, profile, found)))
    return tasks


def run_named(
    name: str,
    cell: str,
    seed: int,
    fold: int | None,
    profile: str,
    places: tuple[str, str, str, str],
    env: dict[str, str],
) -> dict[str, str]:
    """Run one cell, seed and fold of a study by name, and file its record: a task, on whatever machine.

    Args:
        name: of the study.
        cell: of the study.
        seed: run seed.
        fold: of the study's folds; None: the split of the data set.
        profile: budget.
        places: root, runs, results and data folder; the same on all machines.
        env: environment variables that name folders.

    Returns:
        The id of the run and where below `results/` its record lies.

    Raises:
        RuntimeError, FloatingPointError: the run failed; a record says so.
    """
    from medseg.studies.run import open_data

    os.environ.update(env)
    root, runs, results, folder = map(Path, places)
    asked = study.load(name, root)
    task = schedule.Task(asked.choose([cell])[0], seed, fold)
    data = open_data(folder, asked.config(task.cell, seed, profile).data.split_seed)
    record = schedule.run_task(asked, task, profile, data, runs, results)
    if record.outcome.status != "done":
        raise RuntimeError(f"{record.outcome.status}: {record.outcome.reason}")
    return {"run_id": record.identity.run_id, "record": f"{name}/{store.file_name(record)}"}


def _data_folder(asked: Study, profile: str, runs: Path, data: Path | None) -> Path:
    if data is not None:
        return data
    if profile == "smoke":
        from medseg.studies.demonstration import smoke_data

        return next(iter(smoke_data(runs).cases.values())).image.parents[1]
    from medseg.data.download import find_dataset

    return find_dataset(asked.dataset)


def _expected(cell: str, profile: str, found: Sequence[Record]) -> float | None:
    """Mean training time of the records of a cell."""
    times = [r.cost.train_s for r in store.of_profile(found, profile) if r.identity.cell == cell]
    return fmean(times) if times else None
