"""Two cells over cases and seeds: what both have is compared, and one seed says that it is one."""

import pandas as pd
import pytest
from study_records import as_result

from medseg.metrics.statistics import paired_difference
from medseg.reports.paired import SIGN, compared, paired_table, pieces, readings
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
    assert (row["95 % interval"], row["over"]) == ("-9.70 to +15.70", "cases and seeds")
    assert row.name == "transfer and depth minus transfer, one slice"


def test_the_verdict_is_the_side_of_zero_and_stands_beside_the_print(table):
    up = table(("transfer_depth", 910, 0.01), ("transfer", 910, 0.0))
    down = table(("transfer_depth", 910, 0.0), ("transfer", 910, 0.01))
    even = table(("transfer_depth", 910, 0.0), ("transfer", 910, 0.0))
    found = [
        (row["side of zero"], row["paper's difference"], row["same sign as paper"])
        for row in (up, down, even)
    ]
    # TransSeg, Table 5, Hippocampus: 86.83 and 86.24.
    printed = "+0.59"
    assert found == [
        ("above, one seed", printed, "yes, one seed"),
        ("below, one seed", printed, "no, one seed"),
        ("holds zero, one seed", printed, "open"),
    ]
    assert (table()["paper's difference"], table()["same sign as paper"]) == (printed, "")


def test_what_is_not_printed_is_left_out(tiny_run, study):
    records = [as_result(tiny_run.record, study, cell, 910) for cell in ("depth", "neither")]
    found = paired_table(study, records, "colab", [("depth", "neither")])
    assert "paper's difference" not in found and found["side of zero"].iloc[0] == "holds zero, one seed"


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


def test_readings_sort_the_rows_by_what_the_interval_says(tiny_run, study):
    runs = [("transfer_depth", 0.02), ("transfer", 0.0), ("depth", 0.02), ("neither", 0.02)]
    records = [as_result(tiny_run.record, study, cell, 910, plus) for cell, plus in runs]
    pairs = [PAIR, ("depth", "neither"), ("transfer", "depth"), ("transfer", "unet3d")]
    found = paired_table(study, records, "colab", pairs)
    above = "transfer and depth minus transfer, one slice +2.00 (1 seed)."
    below = "transfer, one slice minus from scratch, depth -2.00 (1 seed)."
    even = "from scratch, depth minus from scratch, one slice +0.00 (1 seed)."
    assert readings(found).splitlines() == [
        f"- **side of zero: above, one seed.** {above}",
        f"- **side of zero: below, one seed.** {below}",
        f"- **side of zero: holds zero, one seed.** {even}",
    ]
    assert readings(found, SIGN) == f"- **same sign as paper: yes, one seed.** {above}"
    both = pd.concat({"Hip": found.iloc[:1]}, names=["data"])
    assert "Hip, transfer and depth minus" in readings(both)
    nothing = paired_table(study, [], "colab", [PAIR])
    assert readings(nothing) == readings(nothing, SIGN) == "- Nothing was compared: not run."


def test_a_page_names_once_what_every_row_says(tiny_run, study):
    runs = [("transfer_depth", 0.02), ("transfer", 0.0), ("depth", 0.02)]
    records = [as_result(tiny_run.record, study, cell, 910, plus) for cell, plus in runs]
    pairs = [PAIR, ("transfer", "depth"), ("transfer", "unet3d")]
    found = paired_table(study, records, "colab", pairs)
    shown, said, listed = pieces(found, "side of zero")
    cases = found["counted"].iloc[0]
    assert said._repr_markdown_() == (
        f"*seeds: 1 (910); counted: {cases}; interval and t-test over: cases; "
        "1 of 3 differences are not run.*"
    )
    assert {"points", "95 % interval", "side of zero"} < set(shown) and len(shown) == 2
    assert not {"over", "counted", "seeds", "seed: points", "at each seed"} & set(shown)
    assert listed == readings(found)


def test_a_page_names_the_seeds_once_where_every_row_has_them(tiny_run, study):
    runs = [("transfer_depth", 910, 0.02), ("transfer", 910, 0.0), ("transfer_depth", 1234, 0.04)]
    records = [as_result(tiny_run.record, study, *run) for run in [*runs, ("transfer", 1234, 0.0)]]
    shown, said = pieces(paired_table(study, records, "colab", [PAIR]))
    assert shown["at each seed"].tolist() == ["+4.00, +2.00"] and "seed: points" not in shown
    assert said._repr_markdown_().startswith("*seeds: 2 (1234, 910); ")


def test_a_page_keeps_a_column_whose_rows_differ(tiny_run, study):
    runs = [
        ("transfer_depth", 910),
        ("transfer", 910),
        ("depth", 910),
        ("transfer_depth", 1234),
        ("transfer", 1234),
    ]
    records = [as_result(tiny_run.record, study, *run) for run in runs]
    shown, said = pieces(paired_table(study, records, "colab", [PAIR, ("transfer", "depth")]))
    assert shown["seeds"].tolist() == ["2", "1"] and shown["over"].tolist() == ["cases and seeds", "cases"]
    assert "seed" not in said and "seed: points" in shown
    assert len(shown) == 2


def test_a_page_without_runs_says_so(study):
    assert pieces(paired_table(study, [], "colab", [PAIR])) == ["*1 of 1 differences are not run.*"]
