"""A running training says where it stands, to its caller always and to others every two seconds."""

import os
import time

import pytest
from training_runs import OneOf

from medseg.config import TrainConfig
from medseg.training import reporter
from medseg.training.progress import PROGRESS_FILE, Progress, look, write
from medseg.training.reporter import Reporter
from medseg.training.state import TrainingState

HERE = Progress(step=3, steps=9, loss=0.5, dice=None, samples_per_s=8.0, left_s=3.0)


def test_what_is_written_is_seen(tmp_path):
    write(HERE, tmp_path)
    seen = look(tmp_path)
    assert seen.progress == HERE and -1 < seen.age_s < 60


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "{}", '{"time": "now"}', '{"time": "2026-01-01T00:00:00+00:00"}']
)
def test_nothing_to_see(tmp_path, text):
    if text is not None:
        (tmp_path / PROGRESS_FILE).write_text(text)
    assert look(tmp_path) is None


class Logged(OneOf):
    """Keeps what goes to the loggers."""

    def __init__(self, rank=0):
        super().__init__(rank, 2)
        self.logged = []

    def log_dict(self, metrics, step=None):
        self.logged.append((step, metrics))


def state(losses, validations=()):
    return TrainingState(len(losses), 0, {}, {}, {}, list(losses), list(validations), 1.0, "a")


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock of the reporter, in our hands."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_caller_hears_every_step_and_the_file_one_in_two_seconds(tmp_path, clock):
    heard, written, fabric = [], [], Logged()
    told = Reporter(fabric, tmp_path, TrainConfig(steps=6, batch=4), heard.append)
    for step, now in enumerate([100.0, 101.0, 102.5, 102.6, 103.0, 103.1], start=1):
        clock[0] = now
        told.tell(state([step / 10] * step, [(2, 0.75)] if step > 2 else []))
        written.append(look(tmp_path).progress.step)
    # The first, then after two seconds, and the last in any case.
    assert written == [1, 1, 3, 3, 3, 6]
    assert [p.step for p in heard] == [1, 2, 3, 4, 5, 6] and [p.dice for p in heard][1:3] == [None, 0.75]
    assert all(p.samples_per_s > 0 for p in heard)
    assert heard[-1].left_s == 0 and heard[0].left_s == pytest.approx(5 * 4 / heard[0].samples_per_s)
    assert [step for step, _ in fabric.logged] == [1, 2, 3, 4, 5, 6]
    assert fabric.logged[2][1]["loss"] == heard[2].loss == 0.3
    told.scored(6, 0.5)
    assert fabric.logged[-1] == (6, {"dice": 0.5})


def test_further_processes_are_silent(tmp_path):
    fabric = Logged(rank=1)
    told = Reporter(fabric, tmp_path, TrainConfig(steps=2), pytest.fail)
    told.tell(state([0.5]))
    told.scored(1, 0.5)
    assert not fabric.logged and not list(tmp_path.iterdir())


def test_a_full_disk_stops_no_training(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, os.strerror(28))

    heard = []
    monkeypatch.setattr(reporter, "write", full)
    Reporter(Logged(), tmp_path, TrainConfig(steps=2), heard.append).tell(state([0.5]))
    assert len(heard) == 1
