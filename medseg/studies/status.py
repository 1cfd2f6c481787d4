"""What a study has found so far: every cell with the paper's number, its seeds and what was measured."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from medseg.config import Frozen
from medseg.data.catalog import DatasetCard
from medseg.metrics.case import CaseScore
from medseg.metrics.statistics import bootstrap_interval
from medseg.metrics.summary import Summary, summarise
from medseg.records.schema import Record
from medseg.studies.obstacle import lacks_data, lacks_weights
from medseg.studies.patients import dice_by_seed, scores_of
from medseg.studies.schedule import Task, answering, folder_of
from medseg.studies.study import Cell, Study
from medseg.training.progress import look

Status = Literal["done", "partial", "missing", "failed"]
# A run that said nothing for so long has ended without a record: killed, or its machine is gone.
SILENT_S = 120.0
PARTS: tuple[Literal["validation", "test"], ...] = ("validation", "test")


class Measured(Frozen):
    """Means over seeds of one cell; Dice as a share of 1, the interval is over patients.

    `dice` is the mean over cases of the mean over labels; `dice_pooled` sums all voxels first. They are
    never mixed. Distances are None where no case has one: no label was found, or no spacing is known.
    """

    cases: int
    dice: float
    dice_low: float | None
    dice_high: float | None
    dice_validation: float
    dice_test: float
    dice_pooled: float
    dice_per_label: dict[int, float]
    dice_per_seed: dict[int, float]
    hd95_mm: float | None
    hd95_undefined: float
    nsd: float | None
    train_s: float
    infer_s_per_case: float
    peak_bytes: int
    parameters: int


class Underway(Frozen):
    """A run without a record: where it stands, and whether it still says something."""

    seed: int
    fold: int | None
    step: int
    steps: int
    loss: float
    dice: float | None
    left_s: float
    running: bool


class CellState(Frozen):
    """One row of `medseg study status`."""

    cell: str
    title: str
    profile: str
    paper_dice: float | None
    status: Status
    seeds_done: tuple[int, ...]
    seeds_wanted: tuple[int, ...]
    measured: Measured | None
    reason: str | None = None
    underway: tuple[Underway, ...] = ()


def states(
    study: Study,
    records: Iterable[Record],
    profile: str,
    runs: Path | None = None,
    card: DatasetCard | None = None,
) -> list[CellState]:
    """The state of every cell at one profile, in the order of the study.

    Args:
        study: the study.
        records: what was found.
        profile: budget.
        runs: parent of the run folders, to see runs that have no record yet; None: records alone.
        card: of the data the runs are on; None: the study's, at smoke the phantoms'.
    """
    kept = answering(study, records, profile, card)
    return [
        _state(study, cell, [r for r in kept if r.identity.cell == cell.cell], profile, runs)
        for cell in study.cells
    ]


def _underway(study: Study, tasks: Iterable[Task], profile: str, runs: Path) -> list[Underway]:
    found = []
    for task in tasks:
        seen = look(folder_of(study, task, profile, runs))
        if seen is not None:
            p = seen.progress
            found.append(
                Underway(
                    seed=task.seed,
                    fold=task.fold,
                    step=p.step,
                    steps=p.steps,
                    loss=p.loss,
                    dice=p.dice,
                    left_s=p.left_s,
                    running=seen.age_s < SILENT_S,
                )
            )
    return found


def _state(study: Study, cell: Cell, records: Sequence[Record], profile: str, runs: Path | None) -> CellState:
    done = [record for record in records if record.outcome.status == "done"]
    failed = [record for record in records if record.outcome.status != "done"]
    there = {(r.identity.seed, r.config.data.fold) for r in done}
    seeds = tuple(seed for seed in study.seeds if all((seed, fold) in there for fold in study.splits))
    status: Status = "done" if len(seeds) == len(study.seeds) else "partial" if done else "missing"
    if failed and not done:
        status = "failed"
    config = study.config(cell, study.seeds[0], profile)
    lacks = None if profile == "smoke" else lacks_data(config) or lacks_weights(config)
    recorded = {(r.identity.seed, r.config.data.fold) for r in records}
    tasks = (Task(cell, seed, fold) for seed in study.seeds for fold in study.splits)
    without = [task for task in tasks if (task.seed, task.fold) not in recorded]
    return CellState(
        cell=cell.cell,
        title=cell.title,
        profile=profile,
        paper_dice=cell.paper_dice,
        status=status,
        seeds_done=seeds,
        seeds_wanted=study.seeds,
        measured=measure(done) if done else None,
        reason=failed[0].outcome.reason if failed else _why(status, lacks),
        underway=tuple(_underway(study, without, profile, runs)) if runs else (),
    )


def _why(status: Status, lacks: str | None) -> str | None:
    """Why runs are missing, None where none is."""
    if status == "done":
        return None
    return lacks or ("not run" if status == "missing" else None)


def dice_by_patient(records: Sequence[Record]) -> dict[str, float]:
    """Mean Dice of every scored patient, averaged over the records (seeds) of one cell."""
    defined: dict[str, list[float]] = {}
    for means in dice_by_seed(records).values():
        for name, dice in means.items():
            defined.setdefault(name, []).extend([] if dice is None else [dice])
    return {name: float(np.mean(values)) for name, values in defined.items() if values}


def measure(records: Sequence[Record]) -> Measured:
    """Summary of the records of one cell; each number is a mean over seeds."""
    of_seed = _of_seeds(records, map(scores_of, records))
    both = list(of_seed.values())
    # A case may validate on several folds: parts are summarised run by run.
    parts = {part: [summarise(record.scores(part)).mean_dice for record in records] for part in PARTS}
    low, high = bootstrap_interval(list(dice_by_patient(records).values()))
    return Measured(
        cases=max(s.n_cases for s in both),
        dice=_mean(s.mean_dice for s in both),
        dice_low=low,
        dice_high=high,
        dice_validation=_mean(parts["validation"]),
        dice_test=_mean(parts["test"]),
        dice_pooled=_mean(s.mean_pooled_dice for s in both),
        dice_per_label={
            row.label: _mean(s.labels[position].mean_dice for s in both)
            for position, row in enumerate(both[0].labels)
        },
        dice_per_seed={seed: _mean([s.mean_dice]) for seed, s in of_seed.items()},
        hd95_mm=_mean_or_none(s.mean_hd95_mm for s in both),
        hd95_undefined=round(_mean(float(sum(label.n_no_distance for label in s.labels)) for s in both), 1),
        nsd=_mean_or_none(s.mean_nsd for s in both),
        train_s=_mean(r.cost.train_s for r in records),
        infer_s_per_case=_mean(r.cost.infer_s_per_case for r in records),
        peak_bytes=max(r.cost.peak_bytes for r in records),
        parameters=records[0].model.parameters,
    )


def _of_seeds(records: Iterable[Record], scores: Iterable[Sequence[CaseScore]]) -> dict[int, Summary]:
    """A summary a seed, of the scores of each record; the folds of a seed are put together."""
    found: dict[int, list[CaseScore]] = {}
    for record, own in zip(records, scores, strict=True):
        found.setdefault(record.identity.seed, []).extend(own)
    return {seed: summarise(own) for seed, own in found.items()}


def _mean(values: Iterable[float | None]) -> float:
    """Mean of what is defined; NaN never reaches a record, but a page may show that nothing is defined."""
    mean = _mean_or_none(values)
    return float("nan") if mean is None else mean


def _mean_or_none(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
