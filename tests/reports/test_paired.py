"""Two cells over cases and seeds: what both have is compared, and one seed says that it is one."""

import pytest
from study_records import as_result

from medseg.metrics.statistics import paired_difference
from medseg.reports.paired import compared, paired_table
from medseg.reports.tables import NOT_RUN, signed
from medseg.studies.study import ROOT, load

PAIR = ("transfer_depth", "transfer")


@pytest.fixture
def study():
    return load("transseg_main", ROOT)


@pytest.fixture
def table(study, tiny_run):
    """The row of the pair, from (cell, seed, how much every Dice is moved)."""

    def row(*runs):
        records = [as_result(tiny_run.record, study, *run) for run in runs]
        return paired_table(study, records, "colab", [PAIR]).iloc[0]

    return row


def test_seeds_that_both_have_and_the_difference_of_each(table):
    runs = [("transfer_depth", 1234, 0.02), ("transfer_depth", 5678, 0.04), ("transfer_depth", 910, 0.9)]
    row = table(*runs, ("transfer", 5678, 0.0), ("transfer", 1234, 0.0))
    assert row["seed: points"] == "1234: +2.00, 5678: +4.00" and (row["points"], row["seeds"]) == (
        "+3.00",
        "2",
    )
    assert (row["95 % interval"], row["over"]) == ("+2.00 to +4.00", "cases and seeds")
    assert row.name == "transfer and depth minus transfer, one slice"


def test_the_verdict_is_the_side_of_zero_and_stands_beside_the_print(table):
    up = table(("transfer_depth", 910, 0.01), ("transfer", 910, 0.0))
    down = table(("transfer_depth", 910, 0.0), ("transfer", 910, 0.01))
    even = table(("transfer_depth", 910, 0.0), ("transfer", 910, 0.0))
    found = [(row["verdict"], row["printed points"], row["as printed"]) for row in (up, down, even)]
    # TransSeg, Table 5, Hippocampus: 86.83 and 86.24.
    printed = "+0.59"
    assert found == [("above", printed, "yes"), ("below", printed, "no"), ("not told apart", printed, "open")]
    assert (table()["printed points"], table()["as printed"]) == (printed, "")


def test_what_is_not_printed_is_left_out(tiny_run, study):
    records = [as_result(tiny_run.record, study, cell, 910) for cell in ("depth", "neither")]
    found = paired_table(study, records, "colab", [("depth", "neither")])
    assert "printed points" not in found and found["verdict"].iloc[0] == "not told apart"


def test_one_seed_is_said(table):
    row = table(("transfer_depth", 910, 0.01), ("transfer", 910, 0.0))
    assert (row["over"], row["seeds"], row["seed: points"]) == ("cases", "1", "910: +1.00")


def test_without_a_common_seed_nothing_is_compared(table):
    assert table(("transfer_depth", 910, 0.01), ("transfer", 1234, 0.0))["points"] == NOT_RUN
    assert table()["points"] == NOT_RUN


def test_cases_are_those_of_every_seed():
    a = {1: {"x": 3.0, "y": 5.0}, 2: {"x": 4.0, "y": 6.0, "z": 1.0}}
    b = {2: {"y": 5.0, "x": 1.0}, 1: {"x": 1.0, "y": 2.0}}
    seeds, found = compared(a, b, (2, 1))
    assert seeds == [2, 1] and (found.n, found.per_seed) == (2, (2.0, 2.5))
    seeds, found = compared({1: a[1]}, b, (2, 1))
    plain = paired_difference([3.0, 5.0], [1.0, 2.0])
    assert seeds == [1] and signed(found.low) == signed(plain.low) and found.mean == plain.mean
