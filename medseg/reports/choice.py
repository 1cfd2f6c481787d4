"""Which way to tune fits a budget: cells of a study by memory, size of the file and time, then by Dice."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from medseg.config import ModelConfig, RunConfig
from medseg.data.catalog import DATASETS
from medseg.records.schema import Record
from medseg.reports.ablations import Found
from medseg.reports.paired import OfSeeds, compared, dice_by_cell
from medseg.reports.tables import NOT_RUN, cut, signed
from medseg.segmenter import count_parameters, unfilled
from medseg.studies.fitted import fitted_to
from medseg.studies.patients import unit_of
from medseg.studies.status import CellState, states
from medseg.studies.study import Study, project_root
from medseg.tuning import tuned_state

COLUMNS = [
    "Dice per case", "95 % interval", "seeds", "tuned M", "adapter MB", "file MB", "s per step", "train min",
    "peak GB", "sees neighbours",
]  # fmt: skip
FITS = ["fits", *COLUMNS[:3], "behind the first", "interval of that", "told apart", *COLUMNS[3:]]
# Adapters that look along the slices of a window where those are a batch of images.
ALONG_DEPTH = ("st_adapter", "med_adapter")
# Steps of full fine-tuning that count as those of an equal time.
NEAR = 0.1
NO_COMMON_SEED = "no seed in common"
STEPS = "steps of full tuning in that time"
EQUAL_TIME = [
    "Dice per case", "s per step", STEPS, "Dice of those", "model minus those", "95 % interval", "over",
]  # fmt: skip


class Length(NamedTuple):
    """A network that trained for so many steps: its Dice, over all and by seed and patient."""

    steps: int
    dice: float
    of_seeds: OfSeeds


def choice_table(study: Study, records: Sequence[Record], profile: str) -> pd.DataFrame:
    """One row a cell, text: Dice in percent, and what it takes to train, to keep and to run.

    Parameters, the file of what was tuned, and whether a prediction sees the slices beside its own are
    counted, of networks without records too. The rest is measured: seconds a step and minutes of training are
    means over seeds, peak memory is the largest.
    """
    found = states(study, records, profile)
    return _choice_text(found, _numbers(study, found, profile))


def _choice_text(found: Sequence[CellState], numbers: pd.DataFrame) -> pd.DataFrame:
    """`choice_table` of cells and their numbers, in one order."""
    measured = ["s per step", "train min", "peak GB"]
    shown = pd.DataFrame("", index=numbers.index, columns=COLUMNS)
    for state, title in zip(found, numbers.index, strict=True):
        row = numbers.loc[title]
        shown.loc[title, "seeds"] = f"{len(state.seeds_done)} of {len(state.seeds_wanted)}"
        shown.loc[title, "sees neighbours"] = "yes" if row["sees neighbours"] else "no"
        shown.loc[title, "tuned M"] = cut(row["tuned M"])
        shown.loc[title, ["adapter MB", "file MB"]] = [
            cut(row[name], 1) for name in ("adapter MB", "file MB")
        ]
        if m := state.measured:
            low, high = (None if end is None else 100 * end for end in (m.dice_low, m.dice_high))
            shown.loc[title, COLUMNS[:2]] = [cut(100 * m.dice), f"{cut(low)} to {cut(high)}"]
            shown.loc[title, measured] = [cut(row[name]) for name in measured]
        else:
            shown.loc[title, "Dice per case"] = NOT_RUN if state.status == "missing" else state.status
    return shown


def within(
    study: Study,
    records: Sequence[Record],
    profile: str,
    memory_gb: float = np.inf,
    file_mb: float = np.inf,
    minutes: float = np.inf,
) -> pd.DataFrame:
    """The cells that fit a budget, by Dice, with the paired difference of each to the first; text.

    A cell without a record is listed last where its file fits: nobody knows whether the rest does.

    Args:
        study: a study, or one table of it.
        records: what was found.
        profile: budget of the records.
        memory_gb: peak memory of a run, training and scoring.
        file_mb: size of the file of what was tuned.
        minutes: of training.

    Returns:
        `told apart` says whether the interval of the paired difference to the first, over cases, leaves zero
        out. Where it does not, the records give no reason to prefer the first.
    """
    found = states(study, records, profile)
    numbers = _numbers(study, found, profile)
    shown = _choice_text(found, numbers)
    fits = numbers["file MB"] <= file_mb
    fits &= ~(numbers["peak GB"] > memory_gb) & ~(numbers["train min"] > minutes)
    order = numbers[fits].sort_values("Dice", ascending=False, kind="stable", na_position="last")
    table = shown.loc[order.index].reindex(columns=FITS, fill_value="")
    run = list(order.index[order["Dice"].notna()])
    table["fits"] = ["yes" if title in run else "not measured" for title in table.index]
    names, dice = {cell.title: cell.cell for cell in study.cells}, dice_by_cell(study, records, profile)
    if run:
        table.loc[run[0], "told apart"] = "first"
    for title in run[1:]:
        _, apart = compared(dice[names[title]], dice[names[run[0]]], study.seeds)
        if apart is None:
            table.loc[title, "behind the first"] = NO_COMMON_SEED
            continue
        interval = f"{signed(apart.low)} to {signed(apart.high)}"
        table.loc[title, FITS[4:7]] = [signed(apart.mean), interval, "yes" if apart.sign else "no"]
    return table.rename_axis("model")


def step_times(study: str, profile: str) -> dict[str, float]:
    """Seconds of a training step by cell, in turns (scripts/step_times.py); empty where that did not run.

    Args:
        study: its name; data sets share the times of the network.
        profile: that of the networks and the batch.
    """
    found = _step_times()
    rows = found["rows"] if found and found["profile"] == profile else []
    return {row["cell"]: row["step_s"] for row in rows if row["study"] == study}


def timed_on() -> str:
    """A line on the machine of `step_times`."""
    if not (found := _step_times()):
        return f"steps: {NOT_RUN}"
    where = found["environment"]
    return f"steps timed at profile {found['profile']} on {where['hardware']}, {where['threads']} threads"


def _step_times() -> dict[str, Any]:
    path = project_root() / "book" / "_data" / "step_times.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def equal_time_table(
    study: Study,
    records: Sequence[Record],
    profile: str,
    whole: str,
    step_s: Mapping[str, float],
    others: Sequence[Found] = (),
) -> pd.DataFrame:
    """How many steps of full fine-tuning take the time of each other cell, and what such a run gave; text.

    Args:
        study: a study with the cell `whole`.
        records: what was found.
        profile: budget.
        whole: the cell that trains everything.
        step_s: seconds of a step by cell, of `step_times`; a cell without them has no equal time.
        others: further studies, to look for the same network trained for about so many steps (10 %).

    Returns:
        "not run" as the Dice of a cell without a record, and of steps that no study has. Where both are
        there, the paired difference of the cell and full tuning at those steps, at the seeds of both.
    """
    asked, rows = study.config(study.choose([whole])[0], 0, profile), {}
    lengths = _lengths([(study, records), *others], asked, profile)
    dice = dice_by_cell(study, records, profile)
    for cell, state in zip(study.cells, states(study, records, profile), strict=True):
        if cell.cell == whole:
            continue
        m, own, of_full = state.measured, step_s.get(cell.cell), step_s.get(whole)
        row = dict.fromkeys(EQUAL_TIME, "") | {"Dice per case": NOT_RUN}
        if m:
            row["Dice per case"] = cut(100 * m.dice)
        if own and of_full:
            wanted = asked.train.steps * own / of_full
            row |= {"s per step": cut(own, 3), STEPS: f"{wanted:.0f}", "Dice of those": NOT_RUN}
            near = min(lengths, key=lambda run: abs(run.steps - wanted), default=None)
            if near and abs(near.steps - wanted) <= NEAR * wanted:
                row |= _beside(near, dice[cell.cell], study)
        rows[cell.title] = row
    return pd.DataFrame(rows).T.rename_axis("model")


def cases_table(few: Found, whole: Found, profile: str) -> pd.DataFrame:
    """Dice per case in percent by the number of training cases: a row a way to tune, a column a number; text.

    Args:
        few: a study whose cells are those of `whole` on some of the training cases, and its records.
        whole: the study on all of them, and its records.
        profile: budget.
    """
    of_all, rows = whole[0], dict[str, dict[str, str]]()
    known = {_on_all_cases(of_all.config(cell, 0, profile)): cell.title for cell in of_all.cells}
    for study, records in (few, whole):
        for cell, state in zip(study.cells, states(study, records, profile), strict=True):
            config = study.config(cell, 0, profile)
            number = config.data.train_cases
            column = "all cases" if number is None else f"{number} cases"
            row = rows.setdefault(known[_on_all_cases(config)], {})
            row[column] = cut(100 * state.measured.dice) if state.measured else NOT_RUN
    # Ways that were only asked on all cases are not in this table.
    table = pd.DataFrame(rows).T
    return table[table.notna().all(axis=1)].rename_axis("model")


def _on_all_cases(config: RunConfig) -> str:
    data = config.data.model_copy(update={"train_cases": None})
    return config.model_copy(update={"data": data}).model_dump_json()


def sees_neighbours(model: ModelConfig) -> bool:
    """Whether a trained network can predict a slice from the slices beside it.

    Slices that are a batch of images meet in an adapter along depth alone. In a patch embedding they meet
    unless its kernel has zeros there, as center inflation leaves them, and is frozen.
    """
    return _counted(model.model_dump_json())[-1]


@lru_cache(maxsize=256)
def _counted(text: str) -> tuple[int, int, int, bool]:
    """Parameters that train, bytes of what was tuned without and with the decoder, and `sees_neighbours`."""
    model = ModelConfig.model_validate_json(text)
    with torch.device("meta"):
        network = unfilled(model)
    alone, held = (sum(v.nbytes for v in tuned_state(network, decoder).values()) for decoder in (False, True))
    embedding = any(
        "patch_embed" in n and p.requires_grad and p.ndim > 1 for n, p in network.named_parameters()
    )
    heard = model.weights is None or model.inflation != "center" or embedding
    among = {"patch": heard, "slices": model.tuning.method in ALONG_DEPTH}
    sees = model.slices > 1 and (model.network == "unet3d" or among.get(model.mixing, True))
    return count_parameters(network, trainable_only=True), alone, held, sees


def _numbers(study: Study, found: Sequence[CellState], profile: str) -> pd.DataFrame:
    """By title: what was counted, and what was measured, NaN where it was not."""
    rows = {}
    for cell, state in zip(study.cells, found, strict=True):
        config = fitted_to(study.config(cell, study.seeds[0], profile), DATASETS[study.dataset])
        tuned, alone, held, sees = _counted(config.model.model_dump_json())
        row = {
            "tuned M": tuned / 1e6,
            "adapter MB": alone / 1e6,
            "file MB": held / 1e6,
            "sees neighbours": sees,
        }
        row |= dict.fromkeys(("Dice", "s per step", "train min", "peak GB"), np.nan)
        if m := state.measured:
            row |= {"Dice": 100 * m.dice, "s per step": m.train_s / config.train.steps}
            row |= {"train min": m.train_s / 60, "peak GB": m.peak_bytes / 1e9}
        rows[cell.title] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def _lengths(found: Sequence[Found], asked: RunConfig, profile: str) -> list[Length]:
    """What was recorded of a configuration, for every number of steps that a study asks."""
    lengths = list[Length]()
    for study, records in found:
        steps = {cell.cell: _steps_of_same(study.config(cell, 0, profile), asked) for cell in study.cells}
        same = study.model_copy(update={"cells": tuple(c for c in study.cells if steps[c.cell])})
        dice = dice_by_cell(same, records, profile)
        for state in states(same, records, profile):
            if state.measured and (number := steps[state.cell]):
                lengths.append(Length(number, state.measured.dice, dice[state.cell]))
    return lengths


def _steps_of_same(config: RunConfig, asked: RunConfig) -> int | None:
    """The steps of a configuration that is another's but for them; None where more differs."""
    steps = config.train.steps
    same = asked.model_copy(update={"train": asked.train.model_copy(update={"steps": steps})})
    return steps if config == same else None


def _beside(near: Length, of_cell: OfSeeds, study: Study) -> dict[str, str]:
    """Full tuning for about the time of a cell, and the difference of the cell to it; text."""
    shown = {"Dice of those": f"{cut(100 * near.dice)} at {near.steps} steps"}
    if not of_cell:
        return shown
    seeds, found = compared(of_cell, near.of_seeds, study.seeds)
    if found is None:
        return shown | {"model minus those": NO_COMMON_SEED}
    number = f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}"
    over = f"{found.over.replace('case', unit_of(study.dataset))}, {number}"
    return shown | {
        "model minus those": signed(found.mean),
        "95 % interval": f"{signed(found.low)} to {signed(found.high)}",
        "over": over,
    }
