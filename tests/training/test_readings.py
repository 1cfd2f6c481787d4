"""Numbers of the last steps come out once, in order; what is no number is refused with names."""

import pytest
import torch
from training_runs import OneOf

from medseg.training.readings import Reading, Readings

NAN, INF = float("nan"), float("inf")


def test_steps_come_out_once_and_in_order():
    readings = Readings(OneOf())
    for step in range(3):
        readings.add(torch.tensor(step / 2, requires_grad=True), torch.tensor(2.0 + step), stop=step == 2)
    assert len(readings) == 3
    assert readings.read() == [Reading(0.0, 2.0, False), Reading(0.5, 3.0, False), Reading(1.0, 4.0, True)]
    assert len(readings) == 0


def test_processes_are_averaged_and_one_word_stops_all(monkeypatch):
    def as_if_the_other_had(rows):
        rows += torch.tensor([[3.0, 2.0, 1.0]])

    monkeypatch.setattr(torch.distributed, "all_reduce", as_if_the_other_had)
    readings = Readings(OneOf(0, 2))
    readings.add(torch.tensor(1.0), torch.tensor(2.0), stop=False)
    assert readings.read() == [Reading(2.0, 2.0, True)]


@pytest.mark.parametrize(
    ("loss", "norm", "scaled", "refused"),
    [
        (1.0, 1.0, False, False),
        (NAN, 1.0, False, True),
        (INF, 1.0, True, True),
        (1.0, NAN, False, True),
        (1.0, INF, False, True),
        (1.0, INF, True, False),
        (NAN, NAN, True, True),
    ],
)
def test_what_is_no_number_is_refused_with_the_cases(loss, norm, scaled, refused):
    reading = Reading(loss, norm, stop=False)
    if not refused:
        reading.check(6, scaled, pytest.fail)
        return
    with pytest.raises(FloatingPointError, match=r"at step 7; cases of the batch: \['six'\]"):
        reading.check(6, scaled, {6: ["six"]}.__getitem__)


def test_overflow():
    assert Reading(1.0, INF, False).overflow and Reading(1.0, NAN, False).overflow
    assert not Reading(1.0, 1e30, False).overflow
