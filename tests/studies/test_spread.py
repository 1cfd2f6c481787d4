"""Runs as tasks: named by the record they file, done once, nothing started where nothing is missing."""

import os
import signal
from contextlib import contextmanager

import pytest

from medseg.batch import cluster
from medseg.errors import InputError, Interrupted
from medseg.records import store
from medseg.studies import spread
from medseg.studies.spread import run_study

STUDY = """
name: tiny
title: Tiny
question: Does it run?
dataset: Phantom
seeds: [1, 2]
paper_table: none
cells:
  - cell: three
    title: three slices
    changes:
      model: {weights: stand_in, image_px: 32, slices: 3, decoder_channels: 8}
      train: {steps: 2, batch: 2, checkpoint_every: 2, warmup_steps: 1}
  - cell: broken
    title: more taps than blocks
    changes: {model: {weights: stand_in, image_px: 32, taps: [3, 99]}}
"""


@pytest.fixture
def root(tmp_path, phantoms, monkeypatch):
    monkeypatch.setenv("MEDSEG_DATA", str(phantoms.parent))
    for name in ("studies", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "studies" / "tiny.yaml").write_text(STUDY)
    return tmp_path


def test_runs_here_and_only_what_is_missing(root, phantoms, monkeypatch):
    seen = []
    (first,) = run_study(
        "tiny", root, "colab", root / "runs", cells=["three"], seeds=1, on_outcome=seen.append
    )
    assert first.state == "done" and seen == [first]
    (record,) = store.read_study(root / "results", "tiny")
    assert first.name == f"tiny/{store.file_name(record)}" == first.value["record"]
    assert first.value["run_id"] == record.identity.run_id
    # Another folder with the same data gives the same run.
    second, broken = run_study("tiny", root, "colab", root / "runs", data=phantoms, seeds=1)[0], None
    assert second.name.startswith("tiny/broken-colab-s1-") and second.state == "failed", broken
    assert second.message and second.attempts == 1

    def refuse(*arguments):
        raise AssertionError("a cluster was started")

    monkeypatch.setattr(cluster, "_local", refuse)
    assert run_study("tiny", root, "colab", root / "runs", cells=["three"], seeds=1, workers=2) == []


def test_the_others_go_on_where_one_is_refused(root):
    outcomes = spread.run_here(
        "tiny", root, "colab", root / "runs", None, ["broken", "three"], 1, no_bar, lambda record: None
    )
    assert [outcome.state for outcome in outcomes] == ["failed", "done"]
    assert "taps" in outcomes[0].message


def test_asked_to_end_the_workers_are_ended(root, monkeypatch):
    ended = []

    @contextmanager
    def client(*arguments):
        try:
            yield None
        finally:
            ended.append(True)

    monkeypatch.setattr(cluster, "client", client)
    monkeypatch.setattr(spread, "run", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted, match="goes on from the last checkpoint"):
        run_study("tiny", root, "colab", root / "runs", cells=["three"], workers=1)
    assert ended


@contextmanager
def no_bar(title):
    yield lambda progress: None


def test_known_times_come_from_records_of_the_cell(tiny_run):
    record = tiny_run.record
    assert spread._expected("train", "smoke", [record, record]) == record.cost.train_s
    assert spread._expected("train", "colab", [record]) is None
    assert spread._expected("other", "smoke", [record]) is None


def test_data_that_are_not_there(root, monkeypatch):
    monkeypatch.delenv("MEDSEG_DATA")
    with pytest.raises(InputError, match="Phantom"):
        run_study("tiny", root, "colab", root / "runs")
    with pytest.raises(InputError, match="no cell"):
        run_study("tiny", root, "colab", root / "runs", cells=["nobody"])
