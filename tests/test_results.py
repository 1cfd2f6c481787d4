"""Every record in results/: valid, named by what it holds, and its numbers follow from its counts."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from medseg.data.splits import Split, split_cases
from medseg.encoders.checkpoints import WEIGHTS
from medseg.metrics.overlap import case_dice
from medseg.records import store
from medseg.records.schema import Record, run_id
from medseg.studies import study as studies
from medseg.studies.report import NOT_USED, SELECTION, TEST_USED

ROOT = Path(__file__).parents[1]
# Begun with two threads a run, gone on with one (lab log); every other table has one number.
MIXED_THREADS = {"transseg_main", "medtuning_inflation_time"}
FILES = sorted((ROOT / "results").rglob("*.json"))


def sections(record: Record) -> dict[str, list[str]]:
    """What is wrong with a record by itself, by subject; all lists empty for a good one."""
    return {
        "identity": wrong_identity(record),
        "code": wrong_code(record),
        "split": wrong_split(record),
        "scores": wrong_scores(record),
        "protocol": wrong_protocol(record),
    }


def wrong_identity(record):
    found, config = [], record.config
    if record.identity.run_id != run_id(config, record.data.split_sha256, record.weights.sha256):
        found.append("run_id is not the digest of configuration, split and weights")
    if record.identity.seed != config.train.seed:
        found.append("seed is not that of the configuration")
    if config.profile == "smoke":
        found.append("a smoke run is never a result")
    source = record.weights.source
    if source != config.model.weights or (source and not is_digest_of(record.weights.sha256, source)):
        found.append("weights are not those of the configuration")
    return found


def is_digest_of(sha256, source):
    """Whether it is that of the card; a card without one was stated by whoever ran it, and must be there."""
    return source in WEIGHTS and sha256 is not None and sha256 == (WEIGHTS[source].sha256 or sha256)


def wrong_code(record):
    if record.code.commit is None or len(record.code.commit) != 40:
        return ["no commit"]
    return ["changed files"] if record.code.dirty is not False else []


def wrong_split(record):
    data = record.data
    parts = [data.train, data.validation, data.test]
    ids = sorted(case for part in parts for case in part)
    if len(set(ids)) != len(ids):
        return ["a case is in two parts"]
    asked = record.config.data
    if asked.train_cases is None:
        split = split_cases(ids, data.name, asked.split_seed, asked.fold)
    else:  # the cases that were left out are not in the record
        split = Split(*map(tuple, parts))
        if len(split.train) > asked.train_cases:
            return ["more training cases than were asked for"]
    if [split.train, split.validation, split.test] != parts:
        return ["not the paper's split of these cases"]
    return [] if split.digest == data.split_sha256 else ["split_sha256 is of another split"]


def wrong_scores(record):
    found = []
    if record.outcome.status != "done":
        return [] if record.outcome.reason else ["a failure without a reason"]
    for part, cases in (("validation", record.data.validation), ("test", record.data.test)):
        rows = record.scores(part)
        labels = range(1, record.config.model.classes)
        if [(row.case, row.label) for row in rows] != [(case, label) for case in cases for label in labels]:
            found.append(f"{part}: not one row for each case and label, in order")
        for row in rows:
            dice = case_dice(row.tp, row.fp, row.fn)
            if (dice is None) != (row.dice is None) or abs((dice or 0) - (row.dice or 0)) > 1e-6:
                found.append(f"{row.case} {row.label}: dice does not follow from the counts")
            if row.volume_ml is None or row.reference_ml is None:
                # The spacing of the case is not known: then nothing is given in mm.
                if {row.volume_ml, row.reference_ml, row.hd95_mm, row.nsd} != {None}:
                    found.append(f"{row.case} {row.label}: millimetres without a spacing")
            # Volumes of prediction and reference share one voxel size.
            elif abs(row.volume_ml * (row.tp + row.fn) - row.reference_ml * (row.tp + row.fp)) > 1e-4 * (
                row.tp + row.fn + row.fp + 1
            ):
                found.append(f"{row.case} {row.label}: volumes do not follow from the counts")
    return found


def wrong_protocol(record):
    found, train = [], record.config.train
    if (record.protocol.steps, record.protocol.batch) != (train.steps, train.batch):
        found.append("steps or batch are not those of the configuration")
    if record.outcome.status == "done" and record.curve[-1][0] != train.steps:
        found.append("the curve does not reach the last step")
    said = (SELECTION[train.selection], TEST_USED[train.selection])
    if (record.protocol.selection, record.protocol.test_used) not in {said, (said[0], NOT_USED)}:
        found.append("what chose the weights is not what the configuration says")
    if record.started > record.finished:
        found.append("finished before it started")
    return found


def records():
    return [(path, store.read(path)) for path in FILES]


def test_every_file_is_a_record_under_its_own_name():
    for path, record in records():
        assert path.stat().st_size <= store.LIMIT_BYTES
        assert path.relative_to(ROOT / "results").parts == (record.identity.study, store.file_name(record))
        assert path.read_text() == store.to_json(record), f"{path.name} is not canonical"


def test_every_record_is_right_in_itself():
    for path, record in records():
        assert not any(sections(record).values()), (path.name, sections(record))


def test_every_record_answers_a_cell_of_its_study():
    for path, record in records():
        study = studies.load(record.identity.study, ROOT)
        (cell,) = study.choose([record.identity.cell])
        fold = record.config.data.fold
        assert fold in study.splits, path.name
        asked = study.config(cell, record.identity.seed, record.config.profile, fold)
        # Channels and classes are the data set's own.
        model = asked.model.model_copy(
            update={"classes": record.config.model.classes, "in_channels": record.config.model.in_channels}
        )
        assert record.config == asked.model_copy(update={"model": model}), path.name
        assert record.data.name == study.dataset, path.name


def test_a_cell_has_one_record_a_seed_and_fold():
    seen = [
        (r.identity.study, r.identity.cell, r.config.profile, r.identity.seed, r.config.data.fold)
        for _, r in records()
    ]
    assert len(seen) == len(set(seen))


def test_a_table_has_one_hardware_and_one_split():
    tables, splits = defaultdict(set), defaultdict(set)
    for _, r in records():
        key = (r.identity.study, r.config.profile, r.config.data.fold)
        threads = r.environment.threads
        if r.identity.study in MIXED_THREADS:
            assert threads in (1, 2)
            threads = None
        tables[key].add((r.environment.hardware, threads, r.data.validation, r.data.test))
        splits[*key, r.config.data.train_cases].add(r.data.split_sha256)
    for found in (tables, splits):
        assert all(len(kinds) == 1 for kinds in found.values()), dict(found)


# The checks themselves: a smoke run is found, and so is every number that was touched.


@pytest.fixture
def good(tiny_run):
    """The tiny run as if it were a result."""
    record = tiny_run.record
    model = record.config.model.model_copy(update={"weights": None})
    config = record.config.model_copy(update={"profile": "colab", "model": model})
    nothing = record.weights.model_copy(update={"source": None, "rule": None})
    identity = record.identity.model_copy(
        update={"run_id": run_id(config, record.data.split_sha256, None), "study": "s"}
    )
    code = record.code.model_copy(update={"commit": "0" * 40, "dirty": False})
    return record.model_copy(
        update={"config": config, "weights": nothing, "identity": identity, "code": code}
    )


def edited(record, *path, value):
    """The record with one value of its JSON tree changed."""
    tree = json.loads(record.model_dump_json())
    place = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value(place[path[-1]]) if callable(value) else value
    return Record.model_validate(tree)


def test_a_good_record_passes(good):
    assert not any(sections(good).values()), sections(good)


def test_a_smoke_run_is_found(tiny_run):
    assert any("smoke" in text for text in sections(tiny_run.record)["identity"])


@pytest.mark.parametrize(
    ("subject", "path", "value"),
    [
        ("identity", ("config", "train", "lr"), 0.1),
        ("identity", ("identity", "run_id"), "0" * 16),
        ("identity", ("identity", "seed"), 910),
        ("identity", ("weights", "source"), "vit_tiny_augreg"),
        ("code", ("code", "dirty"), True),
        ("code", ("code", "commit"), None),
        ("split", ("data", "train"), lambda cases: cases[::-1]),
        ("split", ("data", "test"), ["phantom_099"]),
        ("split", ("data", "validation", 0), "phantom_001"),
        ("split", ("data", "split_sha256"), "0" * 64),
        ("scores", ("per_case", "test", 0, 2), 0.987654),
        ("scores", ("per_case", "test", 0, 7), lambda tp: tp + 11),
        ("scores", ("per_case", "validation"), lambda rows: rows[1:]),
        ("scores", ("outcome", "status"), "failed"),
        ("protocol", ("protocol", "steps"), 9),
        ("protocol", ("curve"), [[2, 0.5]]),
        ("protocol", ("finished",), "2000-01-01T00:00:00+00:00"),
    ],
)
def test_a_touched_value_is_found(good, subject, path, value):
    path = (path,) if isinstance(path, str) else path
    assert sections(edited(good, *path, value=value))[subject]
