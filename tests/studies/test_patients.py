"""Patients are what an interval counts: their cases are averaged first, and a copy of a case adds nothing."""

import pytest

from medseg.metrics.summary import case_means
from medseg.studies.patients import patient_dice, patient_of, unit_of
from medseg.studies.status import measure


def scored(record, dataset, dice):
    """The record as if it were of a data set, with the given Dice of one label by name of the case."""
    rows = tuple((case, 1, value, None, None, None, None, 50, 50, 50) for case, value in dice.items())
    data = record.data.model_copy(update={"name": dataset})
    return record.model_copy(update={"per_case": {"validation": rows[:2], "test": rows[2:]}, "data": data})


FRAMES = {f"patient{p:03}_frame{f:02}": p / 10 + f / 100 for p in range(1, 7) for f in (1, 3)}


def test_cases_of_a_patient_are_averaged(tiny_run):
    own = patient_dice(tiny_run.record)
    assert own == case_means(tiny_run.record.scores()), "a phantom is a patient of its own"
    record = scored(tiny_run.record, "ACDC", FRAMES | {"patient004_frame03": None})
    found = patient_dice(record)
    assert found["patient002"] == pytest.approx(0.22) and len(found) == 6
    assert found["patient004"] == pytest.approx(0.41), "a case without a Dice is left out"
    assert patient_dice(scored(tiny_run.record, "ACDC", {"patient009_frame01": None})) == {"patient009": None}


def test_the_interval_of_a_cell_is_over_patients(tiny_run):
    patients, cases = (measure([scored(tiny_run.record, name, FRAMES)]) for name in ("ACDC", "own folder"))
    assert patients.dice == cases.dice and patients.cases == cases.cases
    once = {case: p / 10 + 0.02 for p in range(1, 7) for case in [f"case{p}"]}
    alone = measure([scored(tiny_run.record, "own folder", once)])
    assert (patients.dice_low, patients.dice_high) == pytest.approx((alone.dice_low, alone.dice_high))
    assert patients.dice_high - patients.dice_low > 1.2 * (cases.dice_high - cases.dice_low)


def test_names_of_patients():
    assert patient_of("ACDC", "patient101_frame14") == patient_of("ACDC", "patient101_frame01")
    assert patient_of("own folder", "patient101_frame14") == "patient101_frame14"
    units = [unit_of(name) for name in ("ACDC", "Task04_Hippocampus", "own folder")]
    assert units == ["patient", "case", "case"]
