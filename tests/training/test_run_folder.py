"""A run folder is taken once; a held one needs a word; a trained network comes back as it was."""

import pytest
import torch
from safetensors.torch import save

from medseg.data.catalog import DATASETS
from medseg.errors import InputError
from medseg.segmenter import build
from medseg.training import checkpoint
from medseg.training.curve import read_curve
from medseg.training.run_folder import (
    HELD,
    MODEL_FILE,
    RUN_FILE,
    Run,
    load_model,
    prepare,
    read,
    save_model,
    save_state,
)
from medseg.training.state import TrainingState


@pytest.fixture
def run(tiny_config):
    return Run(config=tiny_config(), card=DATASETS["Phantom"])


def test_a_new_folder_holds_its_question(tmp_path, run):
    prepare(tmp_path / "new" / "run", run, resume=False, overwrite=False)
    assert read(tmp_path / "new" / "run") == run
    assert [path.name for path in (tmp_path / "new" / "run").iterdir()] == [RUN_FILE]


@pytest.mark.parametrize("name", HELD)
def test_a_held_folder_is_refused_and_kept(tmp_path, run, name):
    (tmp_path / name).write_text("kept")
    with pytest.raises(InputError, match="already holds a run") as caught:
        prepare(tmp_path, run, resume=False, overwrite=False)
    assert "--resume" in caught.value.do and "--overwrite" in caught.value.do
    assert (tmp_path / name).read_text() == "kept" and len(list(tmp_path.iterdir())) == 1


def test_overwrite_removes_the_run_and_nothing_else(tmp_path, run):
    for name in (*HELD, "notes.txt"):
        (tmp_path / name).write_text("old")
    prepare(tmp_path, run, resume=False, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {RUN_FILE, "notes.txt"}
    assert read(tmp_path) == run


def test_overwrite_removes_checkpoints(tmp_path, run):
    checkpoint.save(TrainingState.fresh("a"), tmp_path)
    with pytest.raises(InputError, match="already holds a run"):
        prepare(tmp_path, run, resume=False, overwrite=False)
    prepare(tmp_path, run, resume=False, overwrite=True)
    assert not checkpoint.has_any(tmp_path)


def test_a_file_is_no_folder(tmp_path, run):
    (tmp_path / "run").write_text("kept")
    with pytest.raises(InputError, match="is a file"):
        prepare(tmp_path / "run", run, resume=False, overwrite=True)


def test_resume_needs_the_same_options(tmp_path, run, tiny_config):
    prepare(tmp_path, run, resume=False, overwrite=False)
    prepare(tmp_path, run, resume=True, overwrite=False)
    other = Run(config=tiny_config(train={"steps": 5}), card=run.card)
    with pytest.raises(InputError, match="other options") as caught:
        prepare(tmp_path, other, resume=True, overwrite=False)
    steps = run.config.train.steps
    assert caught.value.got == f"config.train.steps: {steps} in run.json, 5 now"
    elsewhere = Run(config=run.config, card=run.card.model_copy(update={"name": "Task99_Elsewhere"}))
    with pytest.raises(InputError, match="on other data") as caught:
        prepare(tmp_path, elsewhere, resume=True, overwrite=False)
    assert "Task99_Elsewhere" in caught.value.got
    assert read(tmp_path) == run


@pytest.mark.parametrize("text", [None, "{", "{}", '{"config": 3}', "[]"])
def test_no_run(tmp_path, text):
    if text is not None:
        (tmp_path / RUN_FILE).write_text(text)
    with pytest.raises(InputError, match="holds no run") as caught:
        read(tmp_path)
    assert "medseg train" in caught.value.do


def test_a_network_comes_back_as_it_was(tmp_path, run):
    prepare(tmp_path, run, resume=False, overwrite=False)
    segmenter, _ = build(run.config.model, seed=5)
    save_model(segmenter.state_dict(), tmp_path)
    loaded, its_run = load_model(tmp_path)
    assert its_run == run and not loaded.training and loaded.target == segmenter.target
    ours, theirs = segmenter.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("damage", ["missing", "truncated", "other network"])
def test_an_unfinished_or_damaged_network_is_refused(tmp_path, run, damage):
    prepare(tmp_path, run, resume=False, overwrite=False)
    if damage == "truncated":
        whole = save({"weight": torch.zeros(4)})
        (tmp_path / MODEL_FILE).write_bytes(whole[:-3])
    elif damage == "other network":
        segmenter, _ = build(run.config.model.model_copy(update={"decoder_channels": 9}), seed=5)
        save_model(segmenter.state_dict(), tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        load_model(tmp_path)


def test_a_state_leaves_checkpoint_and_curve(tmp_path, run):
    train = run.config.train
    state = TrainingState(2, 0, {}, {}, {}, [0.5, 0.25], [(2, 0.75)], 1.0, run.config.digest())
    save_state(state, train, tmp_path, keep=1)
    assert checkpoint.load(tmp_path, run.config.digest()) == state
    curve = read_curve(tmp_path)
    assert (curve.losses, curve.validations) == ([0.5, 0.25], [(2, 0.75)])
    # One step of warm-up, then a line down from the full rate to zero after the fourth step.
    assert curve.rates == pytest.approx([train.lr, train.lr])


def test_no_room_is_said(tmp_path, run, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    state = TrainingState(2, 0, {}, {}, {}, [0.5, 0.25], [], 1.0, "a")
    with pytest.raises(InputError, match="checkpoint of step 2 cannot be written") as caught:
        save_state(state, run.config.train, tmp_path, keep=1)
    assert caught.value.got == "No space left on device" and "--resume" in caught.value.do
