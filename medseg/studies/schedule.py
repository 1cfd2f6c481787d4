"""Which runs of a study are missing, and running them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.batch.lock import alone_in
from medseg.config import RunConfig
from medseg.data.catalog import DATASETS, DatasetCard
from medseg.errors import InputError, OutOfMemory
from medseg.records import store
from medseg.records.schema import Record
from medseg.studies.fitted import fitted_to
from medseg.studies.obstacle import lacks_weights
from medseg.studies.study import Cell, Study

if TYPE_CHECKING:  # asking what is missing takes no torch
    from medseg.studies.run import Data
    from medseg.training.engine import Engine
    from medseg.training.progress import Progress


@dataclass(frozen=True)
class Task:
    """One run that a study asks for."""

    cell: Cell
    seed: int
    fold: int | None = None

    @property
    def title(self) -> str:
        """In words: cell, seed and, where the study asks folds, the fold."""
        return f"{self.cell.cell}, seed {self.seed}" + ("" if self.fold is None else f", fold {self.fold}")


def missing(
    study: Study,
    records: Iterable[Record],
    profile: str,
    cells: list[str] | None = None,
    seeds: int | None = None,
    card: DatasetCard | None = None,
) -> list[Task]:
    """Tasks without a record of what the study asks now: all cells of one seed, fold by fold, then the next.

    A record counts by its configuration (`answering`). After a change of the recipe the cell is missing
    again, and the record of the former recipe stays.

    Args:
        study: the study.
        records: what is there.
        profile: budget of the table.
        cells: names, all where None.
        seeds: only the first so many seeds.
        card: of the data the runs are on; None: the study's, at smoke the phantoms'.
    """
    kept = answering(study, records, profile, card)
    there = {(r.identity.cell, r.identity.seed, r.config.data.fold) for r in kept}
    wanted = [
        Task(cell, seed, fold)
        for seed in study.seeds[:seeds]
        for fold in study.splits
        for cell in study.choose(cells)
    ]
    return [task for task in wanted if (task.cell.cell, task.seed, task.fold) not in there]


def answering(
    study: Study, records: Iterable[Record], profile: str, card: DatasetCard | None = None
) -> list[Record]:
    """The records of what the study asks now, in the order given, with the scores of its labels.

    Args:
        study: the study.
        records: what is there.
        profile: budget of the table.
        card: of the data the runs are on; None: the study's, at smoke the phantoms'.
    """
    card = card or DATASETS["Phantom" if profile == "smoke" else study.dataset]
    cells = {cell.cell: cell for cell in study.cells}

    def answers(record: Record) -> bool:
        cell, seed = cells.get(record.identity.cell), record.identity.seed
        fold = record.config.data.fold
        if cell is None or seed not in study.seeds or fold not in study.splits:
            return False
        return fitted_to(study.config(cell, seed, profile, fold), card).digest() == record.config.digest()

    kept = [record for record in store.of_profile(records, profile) if answers(record)]
    return [record.of_labels(study.labels) for record in kept] if study.labels else kept


def startable(study: Study, tasks: Iterable[Task], profile: str) -> list[Task]:
    """The tasks whose weights are at hand, or may be fetched."""
    return [t for t in tasks if lacks_weights(study.config(t.cell, t.seed, profile)) is None]


def run_task(
    study: Study,
    task: Task,
    profile: str,
    data: "Data",
    runs: Path,
    results: Path,
    on_step: "Callable[[Progress], None] | None" = None,
    on_start: Callable[[str], None] | None = None,
    engine: "Engine | None" = None,
) -> Record:
    """Run one task and file its record under `results/<study>/`; an interrupted run is gone on with.

    A record that is there already is given back. A run that fails leaves its record, too. Another process
    that runs the same task, or an attempt on a machine that only lost its connection, is waited for.

    Args:
        study: the study.
        task: the cell, seed and fold.
        profile: budget.
        data: the data set.
        runs: parent of the run folders.
        results: parent of the records; smoke runs are given a folder of their own by the caller.
        on_step: called after every training step.
        on_start: called with a line on the run, before its first step.
        engine: options of the machine.

    Raises:
        OutOfMemory, FloatingPointError: the run failed; its record says so.
    """
    from medseg.studies.run import run_one
    from medseg.training.run_folder import RECORD_FILE

    config = fitted_to(study.config(task.cell, task.seed, profile, task.fold), data.card)
    data = data.asked(config.data)
    run_dir = folder_of(study, task, profile, runs)
    with alone_in(run_dir):
        for there in store.read_study(results, study.name):
            same = there.config == config and there.data.split_sha256 == data.split.digest
            if same and there.identity.cell == task.cell.cell:
                return there
        resume = _can_resume(run_dir, config, data.card)
        options = (resume, not resume, on_step, on_start, engine)
        try:
            record = run_one(config, data, run_dir, study.name, task.cell.cell, *options)
        except (OutOfMemory, FloatingPointError):
            if (run_dir / RECORD_FILE).exists():
                _file(store.read(run_dir / RECORD_FILE), results)
            raise
        return _file(record, results)


def folder_of(study: Study, task: Task, profile: str, runs: Path) -> Path:
    """The run folder of a task."""
    fold = "" if task.fold is None else f"-f{task.fold}"
    return runs / study.name / f"{task.cell.cell}-{profile}-s{task.seed}{fold}"


def _can_resume(run_dir: Path, config: RunConfig, card: DatasetCard) -> bool:
    """Whether a whole checkpoint of this very run is there; a folder of a former recipe is replaced."""
    from medseg.training import checkpoint, run_folder

    try:
        held = run_folder.read(run_dir)
    except InputError:
        return False
    return checkpoint.has_whole(run_dir) and held == run_folder.Run(config=config, card=card)


def _file(record: Record, results: Path) -> Record:
    store.write(record, results / record.identity.study / store.file_name(record))
    return record
