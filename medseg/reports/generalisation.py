"""Other data sets and single organs: the paper's Tables 3 and 5 beside what was measured."""

import os
from collections.abc import Mapping, Sequence
from statistics import fmean

import pandas as pd

from medseg.data.catalog import DATASETS
from medseg.data.download import VARIABLE
from medseg.metrics.regions import as_server_2020
from medseg.metrics.summary import summarise
from medseg.records import store
from medseg.records.schema import Record
from medseg.reports.papers import paper_table
from medseg.reports.tables import NOT_RUN, cut, signed
from medseg.studies.obstacle import lacks_data
from medseg.studies.patients import patient_of, unit_of
from medseg.studies.schedule import answering
from medseg.studies.status import states
from medseg.studies.study import Study, load, project_root

NO_DATA = "no data here"
OURS, OTHERS, PER_CASE, POOLED = "printed", "printed, other split", "measured, per case", "measured, pooled"
# What a gain is: an arm, and the arm without it.
GAINS = {
    "depth, with transfer": ("transfer_depth", "transfer"),
    "transfer, with depth": ("transfer_depth", "depth"),
}
SIZES = {"maps": "label maps", "voxels": "voxels", "slices": "slices"}
OVERLAPS = {"neighbour_dice": "Dice of neighbours", "inner_dice": "Dice of neighbours, no ends"}
# The two arms of Table 5: cell, row of the printed table, heading here.
ARMS = (("transfer", "Ours w/o D", "one slice"), ("transfer_depth", "Ours", "five slices"))


def records_of(study: Study) -> list[Record]:
    """All records of a study in results/."""
    return store.read_study(project_root() / "results", study.name)


def generalisation_table(columns: Mapping[str, str], profile: str) -> pd.DataFrame:
    """One row a data set: what TransSeg prints in Table 5, and what was measured of the same two arms.

    Args:
        columns: column of Table 5 to the study that asks it here.
        profile: budget of the records.
    """
    rows = {}
    for column, name in columns.items():
        study, printed = load(name), paper_table("transseg_t5_generalisation")[column].dropna()
        row = {(OURS, title): cut(printed[line]) for _, line, title in ARMS}
        row |= {(OTHERS, who): n for who, n in _other_methods(printed).items()}
        rows[study.dataset] = row | _measured(study, profile)
    return pd.DataFrame(rows).T.rename_axis("data set")


def _other_methods(printed: "pd.Series[float]") -> dict[str, str]:
    """nnU-Net, and the one more method that some columns have; their names without the note in brackets."""
    found = {str(name).split(" (")[0]: cut(n) for name, n in printed.items() if "Ours" not in str(name)}
    return {"nnU-Net": found.pop("nnUNet"), "another": ", ".join(f"{who} {n}" for who, n in found.items())}


def _measured(study: Study, profile: str) -> dict[tuple[str, str], str]:
    records = records_of(study)
    found = {state.cell: state for state in states(study, records, profile)}
    absent = word_for_absent(study, records, profile)
    row: dict[tuple[str, str], str] = {}
    for block, field in ((PER_CASE, "dice"), (POOLED, "dice_pooled")):
        for cell, _, title in ARMS:
            measured = found[cell].measured
            row[block, title] = cut(100 * getattr(measured, field)) if measured else absent
    return row | {
        ("seeds", title): f"{len(found[cell].seeds_done)} of {len(study.seeds)}" for cell, _, title in ARMS
    }


def word_for_absent(study: Study, records: Sequence[Record], profile: str) -> str:
    """What stands for a cell without a record: that it was not run, or that its data are not at hand."""
    here = VARIABLE in os.environ and lacks_data(study.config(study.cells[0], 0, profile)) is None
    # Records are proof that the data were at hand, wherever this page is built.
    return NOT_RUN if records or here else NO_DATA


def organ_table(study: Study, records: Sequence[Record], profile: str) -> pd.DataFrame:
    """One row a cell, one column a structure: mean Dice over cases and seeds in percent (form of Table 3)."""
    labels = DATASETS[study.dataset].structures
    rows = []
    for state in states(study, records, profile):
        row = {"model": state.title} | dict.fromkeys([*labels.values(), "all labels"], NOT_RUN)
        if m := state.measured:
            row |= {name: cut(100 * m.dice_per_label[value]) for value, name in labels.items()}
            row["all labels"] = cut(100 * m.dice)
        rows.append(row | {"seeds": f"{len(state.seeds_done)} of {len(state.seeds_wanted)}"})
    return pd.DataFrame(rows).set_index("model")


def structure_table(study: Study, records: Sequence[Record], profile: str) -> pd.DataFrame:
    """One row a structure, text: its size and slice variation, and what depth and transfer bring there.

    The lower rows of TransSeg, Table 3. Size and variation are from book/_data/structures.csv, which
    scripts/structures.py makes of all labelled cases; the gains are differences of mean Dice per case, in
    points, over the seeds that both arms have.
    """
    measured = pd.read_csv(project_root() / "book" / "_data" / "structures.csv").set_index("data")
    known_of = measured.loc[study.dataset].set_index("structure").to_dict("index")
    runs = [r for r in answering(study, records, profile) if r.outcome.status == "done"]
    rows = {}
    for number, name in DATASETS[study.dataset].structures.items():
        known = known_of[name]
        row = {title: str(known[column]) for column, title in SIZES.items()}
        row |= {title: cut(100 * known[column]) for column, title in OVERLAPS.items()}
        for title, arms in GAINS.items():
            row[title] = _gain(runs, number, *arms) or NOT_RUN
        rows[name] = row
    return pd.DataFrame(rows).T.rename_axis("structure")


def _gain(runs: Sequence[Record], label: int, first: str, second: str) -> str:
    """Points of one structure, and the number of seeds that both cells have; empty without one."""
    a, b = (
        {
            r.identity.seed: d
            for r in runs
            if r.identity.cell == cell and (d := _of_label(r, label)) is not None
        }
        for cell in (first, second)
    )
    gains = [a[seed] - b[seed] for seed in a.keys() & b.keys()]
    return f"{signed(100 * fmean(gains))}, seeds: {len(gains)}" if gains else ""


def _of_label(record: Record, label: int) -> float | None:
    (found,) = (row.mean_dice for row in summarise(record.scores()).labels if row.label == label)
    return found


def server_table(study: Study, records: Sequence[Record], profile: str) -> pd.DataFrame:
    """One row a cell, text: Dice in percent and HD95 in mm of each region, as the server of BraTS 2020 does.

    Means over test cases and seeds of values that every case has (medseg.metrics.regions.as_server_2020).
    """
    regions, rows = DATASETS[study.dataset].structures, {}
    kept = [r for r in answering(study, records, profile) if r.outcome.status == "done"]
    for cell in study.cells:
        runs = [r for r in kept if r.identity.cell == cell.cell]
        scores = as_server_2020(row for run in runs for row in run.scores("test"))
        row = {"seeds": f"{len(runs)} of {len(study.seeds)}"}
        for number, name in regions.items():
            own = [score for score in scores if score.label == number]
            row[f"Dice {name}"] = cut(100 * fmean(s.dice or 0.0 for s in own)) if own else NOT_RUN
            row[f"HD95 {name}, mm"] = cut(fmean(s.hd95_mm or 0.0 for s in own)) if own else ""
        rows[cell.title] = row
    return pd.DataFrame(rows).T.rename_axis("model")


def beside_print_table(studies: Sequence[Study], profile: str) -> pd.DataFrame:
    """One row a study: the arm that is best on validation cases, its Dice on test cases, printed numbers.

    The study's first reference is nnU-Net. Dice per case stands beside it, pooled Dice beside TransSeg's
    own network, with five slices, whichever arm is best here.
    """
    return pd.DataFrame([_best(study, profile) for study in studies]).fillna("").set_index("data set")


def _best(study: Study, profile: str) -> dict[str, str]:
    kept = answering(study, records_of(study), profile)
    reached = {s.cell: s.measured.dice_validation for s in states(study, kept, profile) if s.measured}
    best = max(reached, key=lambda cell: reached[cell]) if reached else None
    runs = [r for r in kept if r.identity.cell == best and r.outcome.status == "done"]
    tests = [summarise(run.scores("test")) for run in runs]
    row = {"data set": study.dataset, "best arm": study.choose([best])[0].title if best else NOT_RUN}
    row |= {"seeds": str(len(runs)), "test cases": _counted(runs[0]) if runs else ""}
    nnunet, ours = study.references[0].paper_dice, study.choose(["transfer_depth"])[0].paper_dice
    row |= _beside("per case", [test.mean_dice for test in tests], "nnU-Net", nnunet)
    return row | _beside("pooled", [test.mean_pooled_dice for test in tests], "TransSeg (five slices)", ours)


def _counted(record: Record) -> str:
    """Number of test cases, and of their patients where the names tell them apart."""
    cases, dataset = record.data.test, record.data.name
    patients = {patient_of(dataset, case) for case in cases}
    return f"{len(cases)}" + (f" of {len(patients)} patients" if unit_of(dataset) == "patient" else "")


def _beside(kind: str, found: Sequence[float | None], who: str, printed: float | None) -> dict[str, str]:
    dice = [100 * value for value in found if value is not None]
    mean = fmean(dice) if dice else None
    difference = None if mean is None or printed is None else mean - printed
    return {kind: cut(mean), f"{who} printed": cut(printed), f"{kind} minus {who}": signed(difference)}
