"""Which runs of a study are missing, and running them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from medseg.records import store
from medseg.records.schema import Record
from medseg.studies.run import Data, run_one
from medseg.studies.study import Cell, Study
from medseg.training.checkpoint import CHECKPOINT
from medseg.training.loop import Progress


@dataclass(frozen=True)
class Task:
    """One run that a study asks for."""

    cell: Cell
    seed: int


def missing(
    study: Study,
    records: Iterable[Record],
    profile: str,
    cells: list[str] | None = None,
    seeds: int | None = None,
) -> list[Task]:
    """Tasks without a record at this profile: all cells of one seed before the next seed.

    Args:
        study: the study.
        records: what is there.
        profile: budget of the table.
        cells: names, all where None.
        seeds: only the first so many seeds.
    """
    there = {(r.identity.cell, r.identity.seed) for r in store.of_profile(records, profile)}
    wanted = [Task(cell, seed) for seed in study.seeds[:seeds] for cell in study.choose(cells)]
    return [task for task in wanted if (task.cell.cell, task.seed) not in there]


def run_task(
    study: Study,
    task: Task,
    profile: str,
    data: Data,
    runs: Path,
    results: Path,
    on_step: Callable[[Progress], None] | None = None,
) -> Record:
    """Run one task and file its record under `results/<study>/`; an interrupted run is gone on with.

    Args:
        study: the study.
        task: the cell and seed.
        profile: budget.
        data: the data set.
        runs: parent of the run folders.
        results: parent of the records; smoke runs are given a folder of their own by the caller.
        on_step: called after every training step.
    """
    config = study.config(task.cell, task.seed, profile)
    run_dir = runs / study.name / f"{task.cell.cell}-{profile}-s{task.seed}"
    resume = (run_dir / CHECKPOINT).exists()
    record = run_one(config, data, run_dir, study.name, task.cell.cell, resume, not resume, on_step)
    store.write(record, results / study.name / store.file_name(record))
    return record
