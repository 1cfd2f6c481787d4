"""A fresh state has nothing behind it."""

from dataclasses import fields

from medseg.training.state import TrainingState


def test_fresh():
    state = TrainingState.fresh("a")
    assert state.config_digest == "a" and state.best is None
    assert not any(getattr(state, field.name) for field in fields(state) if field.name != "config_digest")
