"""Records on disk: the same text for the same record, small, whole, and read back as they were."""

import json

import pytest

from medseg.errors import InputError
from medseg.records import store
from medseg.records.schema import Outcome, Record
from medseg.studies.study import ROOT


def renamed(record, **identity):
    return record.model_copy(update={"identity": record.identity.model_copy(update=identity)})


def test_round_trip(tiny_run, tmp_path):
    store.write(tiny_run.record, tmp_path / "record.json")
    assert store.read(tmp_path / "record.json") == tiny_run.record


def test_the_run_folder_keeps_the_record(tiny_run):
    assert store.read(tiny_run.folder / "record.json") == tiny_run.record


def test_text_is_canonical(tiny_run, tmp_path):
    store.write(tiny_run.record, tmp_path / "record.json")
    text = (tmp_path / "record.json").read_text()
    assert text == store.to_json(store.read(tmp_path / "record.json"))
    # A new record states every field, those too that hold by default.
    assert json.loads(text) == tiny_run.record.model_dump(mode="json")

    def sorted_keys(pairs):
        names = [name for name, _ in pairs]
        assert names == sorted(names)
        return dict(pairs)

    json.loads(text, object_pairs_hook=sorted_keys)
    # One case and label a line, so that two records can be compared by eye.
    row = tiny_run.record.per_case["test"][0]
    assert json.dumps(row, separators=(",", ":")) in [line.strip().rstrip(",") for line in text.splitlines()]


def old(record):
    """The text of a record from before there was accumulation, an engine, or a file of what was tuned."""
    tree = record.model_dump(mode="json")
    for name in ("accumulate", "validate_every", "selection"):
        del tree["config"]["train"][name]
    for name in ("skipped_steps", "engine"):
        del tree["protocol"][name]
    del tree["model"]["tuned_bytes"], tree["weights"]["decoder_keys"]
    return store.to_json(Record.model_validate(tree))


def test_a_record_from_before_a_field_was_added_keeps_its_text(tiny_run, tmp_path):
    path, text = tmp_path / "record.json", old(tiny_run.record)
    added = ("skipped_steps", "accumulate", "tuned_bytes", "decoder_keys")
    assert not [name for name in added if name in text]
    path.write_text(text)
    record = store.read(path)
    assert store.to_json(record) == text
    assert (record.protocol.skipped_steps, record.config.train.selection) == (0, "last")
    assert record.model.tuned_bytes is None and record.weights.decoder_keys == {}
    assert record.config.digest() == tiny_run.record.config.digest(), "a new field renames no old run"


@pytest.mark.parametrize("path", sorted((ROOT / "results").rglob("*.json")), ids=lambda path: path.stem)
def test_the_records_that_are_there_keep_their_text(path):
    assert store.to_json(store.read(path)) == path.read_text()


def test_no_nan_in_a_file(tiny_run, tmp_path):
    cost = tiny_run.record.cost.model_copy(update={"train_s": float("nan")})
    with pytest.raises(ValueError):
        store.write(tiny_run.record.model_copy(update={"cost": cost}), tmp_path / "record.json")
    assert not list(tmp_path.iterdir())


def test_a_large_record_is_refused_and_the_old_one_kept(tiny_run, tmp_path):
    path = tmp_path / "record.json"
    store.write(tiny_run.record, path)
    before = path.read_bytes()
    rows = tiny_run.record.per_case["test"] * 300
    large = tiny_run.record.model_copy(update={"per_case": {"test": rows}})
    with pytest.raises(ValueError, match="limit"):
        store.write(large, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", [None, "", "{", "{}", '{"schema_number": 2}', "null"])
def test_not_a_record(tmp_path, text):
    path = tmp_path / "record.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match="is not a record"):
        store.read(path)


def test_a_failure_is_a_record(tiny_run, tmp_path):
    outcome = Outcome(status="out_of_memory", reason="80 GB asked for")
    failed = tiny_run.record.model_copy(update={"outcome": outcome, "per_case": {}})
    store.write(failed, tmp_path / "record.json")
    assert store.read(tmp_path / "record.json") == failed
    assert failed.scores() == []


def test_names_tell_runs_apart(tiny_run):
    record = tiny_run.record
    name = store.file_name(record)
    assert name == f"train-smoke-s1234-{record.identity.run_id[:8]}.json"
    others = [renamed(record, seed=910), renamed(record, cell="depth"), renamed(record, run_id="f" * 16)]
    assert len({name, *map(store.file_name, others)}) == 4


def test_a_study_is_read_in_order(tiny_run, tmp_path):
    records = [renamed(tiny_run.record, study="s", cell=cell) for cell in ("b", "a")]
    for record in records:
        store.write(record, tmp_path / "s" / store.file_name(record))
    store.write(tiny_run.record, tmp_path / "other" / "x.json")
    assert store.read_study(tmp_path, "s") == records[::-1]
    assert store.read_study(tmp_path, "nobody") == []


def test_profiles_do_not_mix(tiny_run):
    record = tiny_run.record
    full = record.model_copy(update={"config": record.config.model_copy(update={"profile": "full"})})
    assert store.of_profile([record, full], "full") == [full]
