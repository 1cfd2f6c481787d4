"""A record says enough to recompute its own name and every score, and nothing about who ran it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medseg.config import RunConfig
from medseg.metrics.case import CaseScore
from medseg.records import store
from medseg.records.schema import COLUMNS, RUN_ID_LENGTH, Record, row_of, run_id, thinned

LOSSES = st.lists(st.floats(0, 10), max_size=400)


@given(LOSSES)
def test_a_curve_has_at_most_fifty_points_and_keeps_the_mean(losses):
    points = thinned(losses)
    assert len(points) <= 50
    ends = [step for step, _ in points]
    assert ends == sorted(set(ends)) and (ends[-1:] == [len(losses)] if losses else not ends)
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    total = sum(size * value for size, (_, value) in zip(sizes, points, strict=True))
    assert total == pytest.approx(sum(losses), abs=1e-5 * (len(losses) + 1))


@pytest.mark.parametrize("length", [1, 49, 50, 51, 99, 100, 101, 999, 1000, 1001, 25_000])
def test_lengths_of_runs(length):
    points = thinned([1.0] * length)
    assert 25 <= len(points) <= 50 or len(points) == length
    assert points[-1][0] == length


def test_a_short_curve_is_kept_whole():
    assert thinned([3.0, 2.0]) == ((1, 3.0), (2, 2.0))


def test_run_id_depends_on_what_decides_a_run():
    config = RunConfig()
    ids = {
        run_id(config, "a", None),
        run_id(config, "b", None),
        run_id(config, "a", "c"),
        run_id(RunConfig.model_validate({"train": {"seed": 910}}), "a", None),
    }
    assert len(ids) == 4 and {len(name) for name in ids} == {RUN_ID_LENGTH}
    assert run_id(RunConfig(), "a", None) == run_id(config, "a", None)


def test_the_record_of_a_run_names_itself(tiny_run):
    record = tiny_run.record
    assert record.identity.run_id == run_id(record.config, record.data.split_sha256, record.weights.sha256)


def test_rows_and_scores_are_the_same_thing():
    score = CaseScore(
        case="a", label=1, dice=2 / 3, hd95_mm=None, nsd=0.5, volume_ml=1.25, reference_ml=1, tp=1, fp=1, fn=0
    )
    row = row_of(score)
    assert row == ("a", 1, 0.666667, None, 0.5, 1.25, 1, 1, 1, 0)
    assert dict(zip(COLUMNS, row, strict=True)) == score.model_dump() | {"dice": 0.666667}


def test_a_case_without_spacing_is_a_row_with_nulls(tiny_run):
    lost = {"hd95_mm": None, "nsd": None, "volume_ml": None, "reference_ml": None}
    scores = [score.model_copy(update=lost) for score in tiny_run.record.scores("test")]
    rows = {"test": [row_of(score) for score in scores]}
    record = Record.model_validate(tiny_run.record.model_dump() | {"per_case": rows})
    assert record.scores() == scores
    assert Record.model_validate_json(store.to_json(record)) == record
    assert all(row[3:7] == (None,) * 4 for row in record.per_case["test"])


def test_records_of_results_keep_their_bytes():
    paths = sorted((Path(__file__).parents[2] / "results").rglob("*.json"))
    assert paths and all(store.to_json(store.read(path)) == path.read_text() for path in paths)


def test_scores_of_the_named_parts(tiny_run):
    record = tiny_run.record
    validation, test = record.scores("validation"), record.scores("test")
    assert {score.case for score in validation} == set(record.data.validation)
    assert {score.case for score in test} == set(record.data.test)
    assert record.scores() == validation + test
    assert [row_of(score) for score in test] == list(record.per_case["test"])


def test_substance_leaves_out_what_differs_between_equal_runs(tiny_run):
    record = tiny_run.record
    later = record.model_copy(
        update={
            "started": "2000-01-01T00:00:00+00:00",
            "cost": record.cost.model_copy(update={"train_s": 9e9}),
        }
    )
    assert later.substance() == record.substance()
    other = record.model_copy(update={"curve": ((1, 0.5),)})
    assert other.substance() != record.substance()
    kept = {"identity", "outcome", "config", "data", "weights", "model", "protocol", "curve", "per_case"}
    assert kept <= record.substance().keys()


def test_records_do_not_change_and_know_no_other_field(tiny_run):
    with pytest.raises(ValidationError):
        tiny_run.record.started = "now"
    tree = tiny_run.record.model_dump(mode="json")
    with pytest.raises(ValidationError):
        Record.model_validate(tree | {"host": "here"})
    with pytest.raises(ValidationError):
        Record.model_validate(tree | {"schema_number": 2})
