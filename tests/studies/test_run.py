"""One run to its record: the same for the same question, and a failure is one, too."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medseg.batch.lock import sole_in
from medseg.config import DataConfig
from medseg.data import cache
from medseg.data.cases import load_case
from medseg.data.catalog import CT_WINDOW_HU
from medseg.data.splits import msd_split
from medseg.errors import InputError, Interrupted, OutOfMemory
from medseg.records import store
from medseg.studies import run
from medseg.studies.fitted import fitted_to
from medseg.studies.run import open_data, run_one
from medseg.training import checkpoint, loop
from medseg.training.curve import read_curve
from medseg.training.engine import Engine
from medseg.training.run_folder import HELD, MODEL_FILE, RECORD_FILE, TUNED_FILE, load_model


def weights(folder):
    return load_file(folder / MODEL_FILE)


def same_bits(first, second):
    ours, theirs = weights(first), weights(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_folder_holds_the_whole_run(tiny_run):
    others = {TUNED_FILE, "tensorboard", "wandb"}
    assert {path.name for path in tiny_run.folder.iterdir()} == set(HELD) - others
    segmenter, run = load_model(tiny_run.folder)
    assert run.config == tiny_run.record.config and run.card.name == "Phantom"
    saved = weights(tiny_run.folder)
    assert all(torch.equal(value, saved[key]) for key, value in segmenter.state_dict().items())


def test_the_record_says_what_was_done(tiny_run, phantom_data):
    record, split = tiny_run.record, phantom_data.split
    assert record.outcome.status == "done" and record.config == fitted_to(tiny_run.config, phantom_data.card)
    assert (record.identity.study, record.identity.cell, record.identity.seed) == ("own_data", "train", 1234)
    assert (record.data.train, record.data.validation, record.data.test) == (
        split.train,
        split.validation,
        split.test,
    )
    assert record.data.split_sha256 == split.digest
    assert (record.weights.source, record.weights.sha256, record.weights.rule) == ("stand_in", None, "center")
    assert (record.weights.coverage, record.weights.drawn) == (1.0, 0.0)
    assert (record.protocol.steps, record.protocol.batch, record.protocol.precision) == (4, 2, "bf16")
    engine = record.protocol.engine
    assert record.protocol.skipped_steps == 0 and "loggers" not in engine
    assert (engine["devices"], engine["strategy"], engine["fused"]) == (1, "ddp", True)
    assert record.model.input_shape == (1, 1, 3, 32, 32) and record.model.trainable == record.model.parameters
    assert record.model.tuned_bytes is None and record.weights.decoder_keys == {}
    assert [step for step, _ in record.curve] == [1, 2, 3, 4]
    assert record.started <= record.finished and record.cost.train_s >= 0
    # A row for each case and label of validation and test, none of training.
    for part, cases in (("validation", split.validation), ("test", split.test)):
        assert [row[:2] for row in record.per_case[part]] == [
            (c, label) for c in cases for label in (1, 2, 3)
        ]


def test_reference_volumes_are_those_of_the_files(tiny_run, phantom_data):
    import nibabel as nib
    import numpy as np

    for score in tiny_run.record.scores():
        file = nib.load(phantom_data.cases[score.case].labels)
        voxels = int((np.asanyarray(file.dataobj) == score.label).sum())
        assert score.tp + score.fn == voxels
        assert score.reference_ml == pytest.approx(voxels * abs(np.linalg.det(file.affine)) / 1000, rel=1e-4)


def test_split_is_the_rule_on_the_order_of_the_files(phantoms, phantom_data):
    ids = [f"phantom_{n:03d}" for n in range(6)]
    assert list(phantom_data.cases) == ids
    assert phantom_data.split == msd_split(ids, "Phantom", 1234)
    assert open_data(phantoms, 5678).split != phantom_data.split


def test_a_run_trains_on_as_many_cases_as_it_asks_for(tiny_config, phantom_data, tmp_path):
    whole = phantom_data.split
    record = run_one(tiny_config(data={"train_cases": 2}, train={"steps": 1}), phantom_data, tmp_path)
    assert record.data.train == whole.train[:2] and len(whole.train) > 2
    assert (record.data.validation, record.data.test) == (whole.validation, whole.test)
    assert record.data.split_sha256 != whole.digest
    few, many = (phantom_data.asked(DataConfig(train_cases=n)).split.train for n in (1, 1000))
    assert few == whole.train[:1] and many == whole.train


def test_configuration_takes_channels_and_classes_of_the_data(tiny_config, phantom_data):
    card = phantom_data.card.model_copy(update={"channels": ("T1", "T2"), "labels": {0: "none", 7: "one"}})
    fitted = fitted_to(tiny_config(), card)
    assert (fitted.model.in_channels, fitted.model.classes, fitted.data.name) == (2, 2, "Phantom")
    assert fitted.train == tiny_config().train


def test_a_held_folder_is_refused_and_kept(tiny_run, phantom_data):
    def files():
        return {path: path.read_bytes() for path in tiny_run.folder.rglob("*") if path.is_file()}

    before = files()
    with pytest.raises(InputError, match="already holds a run"):
        run_one(tiny_run.config, phantom_data, tiny_run.folder)
    assert files() == before


def test_bad_data_is_refused_before_the_folder_is_made(tiny_config, phantom_data, tmp_path):
    card = phantom_data.card.model_copy(update={"labels": {0: "background", 1: "organ"}})
    with pytest.raises(InputError, match="label values"):
        run_one(tiny_config(), replace(phantom_data, card=card), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_interrupted_and_resumed_is_the_same_record(tiny_run, phantom_data, tmp_path):
    def interrupt(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    folder = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        run_one(tiny_run.config, phantom_data, folder, on_step=interrupt)
    assert not (folder / MODEL_FILE).exists()
    record = run_one(tiny_run.config, phantom_data, folder, resume=True)
    assert same_bits(folder, tiny_run.folder)
    assert record.substance() == tiny_run.record.substance()


def test_asked_to_end_while_it_scores_it_is_gone_on_with(tiny_run, phantom_data, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(run, "predict", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted, match="not scored yet; go on with --resume"):
            run_one(tiny_run.config, phantom_data, tmp_path)
    assert not (tmp_path / RECORD_FILE).exists() and not (tmp_path / MODEL_FILE).exists()
    seen = []
    record = run_one(tiny_run.config, phantom_data, tmp_path, resume=True, on_step=seen.append)
    assert not seen, "nothing is trained again"
    assert same_bits(tmp_path, tiny_run.folder)
    assert record.substance() == tiny_run.record.substance()


def test_a_run_without_a_checkpoint_starts_again(tiny_run, phantom_data, tmp_path):
    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_one(tiny_run.config, phantom_data, tmp_path, on_step=interrupt)
    assert not checkpoint.has_any(tmp_path)
    record = run_one(tiny_run.config, phantom_data, tmp_path, resume=True)
    assert record.substance() == tiny_run.record.substance()


def test_mapped_volumes_change_no_bit_and_go(tiny_run, phantom_data, tmp_path):
    said, mapped = [], []

    def at_step(progress):
        mapped.append(len(list((tmp_path / cache.FOLDER).iterdir())))

    engine = Engine(cache_gb=1e-6, prefetch=2)
    config = tiny_run.config
    record = run_one(config, phantom_data, tmp_path, on_step=at_step, on_start=said.append, engine=engine)
    assert mapped == [8] * 4, "image and labels of four cases"
    assert " 0 MB in memory" in said[0] and said[0].endswith("2 made ahead")
    assert not (tmp_path / cache.FOLDER).exists()
    assert same_bits(tmp_path, tiny_run.folder) and record.per_case == tiny_run.record.per_case


def test_the_last_validation_is_that_of_the_record(tiny_config, phantom_data, tmp_path):
    config = tiny_config(train={"validate_every": 3, "precision": "fp32"})
    record = run_one(config, phantom_data, tmp_path)
    validations = read_curve(tmp_path).validations
    assert [step for step, _ in validations] == [3, 4]
    dice = [score.dice for score in record.scores("validation") if score.dice is not None]
    # One case: the mean over its labels, as rounded in the record.
    assert len(phantom_data.split.validation) == 1
    assert validations[-1][1] == pytest.approx(sum(dice) / len(dice), abs=1e-6)


def test_the_best_weights_are_scored(tiny_run, tiny_config, phantom_data, tmp_path, monkeypatch):
    dice = iter([0.9, 0.1])
    monkeypatch.setattr(loop, "validate", lambda *arguments: next(dice))
    config = tiny_config(train={"validate_every": 2, "selection": "best"})
    record = run_one(config, phantom_data, tmp_path)
    saved = checkpoint.read(checkpoint.paths(tmp_path)[2]).model
    assert all(torch.equal(value, saved[key]) for key, value in weights(tmp_path).items())
    assert not same_bits(tmp_path, tiny_run.folder)
    assert record.protocol.selection == "weights of the best validation Dice among the steps of the curve"


def test_choosing_on_test_cases_is_told(tiny_config, phantom_data, tmp_path, monkeypatch):
    dice, looked_at = iter([0.9, 0.1]), []

    def scripted(segmenter, cases, *arguments):
        looked_at.append(tuple(case.id for case in cases))
        return next(dice)

    monkeypatch.setattr(loop, "validate", scripted)
    config = tiny_config(train={"validate_every": 2, "selection": "best_on_test"})
    protocol = run_one(config, phantom_data, tmp_path).protocol
    assert looked_at == [phantom_data.split.test] * 2 and phantom_data.split.test
    saved = checkpoint.read(checkpoint.paths(tmp_path)[2]).model
    assert all(torch.equal(value, saved[key]) for key, value in weights(tmp_path).items())
    assert protocol.selection == "weights of the best Dice of the TEST cases among the steps of the curve"
    assert protocol.test_used == "it chose the weights: its score is no estimate"


def test_a_window_takes_the_place_of_the_cards_normalisation(tiny_run, tiny_config, phantom_data, tmp_path):
    clip = CT_WINDOW_HU
    asked = phantom_data.asked(tiny_config(data={"clip": clip}).data)
    case = phantom_data.cases[phantom_data.split.test[0]]
    own, clipped = (load_case(case, data.card) for data in (phantom_data, asked))
    low, high = clip
    expected = 2 * (np.clip(own.volume.array, low, high) - low) / (high - low) - 1
    np.testing.assert_allclose(clipped.image.numpy(), expected, atol=1e-5)
    assert phantom_data.asked(tiny_config(data={"clip": "transseg"}).data).card == asked.card
    record = run_one(tiny_config(data={"clip": clip}), phantom_data, tmp_path)
    assert record.curve != tiny_run.record.curve and record.config.data.clip == clip
    # What predicts with the network later normalises as it was trained.
    assert load_model(tmp_path)[1].card == asked.card != phantom_data.card


def test_too_little_memory_is_a_record(tiny_config, phantom_data, tmp_path, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(loop.DiceFocal, "forward", full)
    with pytest.raises(OutOfMemory, match="2 windows in a forward pass"):
        run_one(tiny_config(), phantom_data, tmp_path)
    record = store.read(tmp_path / RECORD_FILE)
    assert record.outcome.status == "out_of_memory" and "2 windows" in record.outcome.reason
    assert (record.curve, record.scores(), record.protocol.engine) == ((), [], {})
    assert record.protocol.test_used == "not scored: the run did not end"
    assert record.identity.run_id and record.config == fitted_to(tiny_config(), phantom_data.card)
    assert not (tmp_path / MODEL_FILE).exists() and not (tmp_path / cache.FOLDER).exists()


def test_a_loss_that_is_no_number_is_a_record(tiny_config, phantom_data, tmp_path, monkeypatch):
    load = run.load_case

    def spoiled(case, card):
        loaded = load(case, card)
        return replace(loaded, image=loaded.image * float("nan"))

    monkeypatch.setattr(run, "load_case", spoiled)
    with pytest.raises(FloatingPointError, match="step 1"):
        run_one(tiny_config(), phantom_data, tmp_path)
    record = store.read(tmp_path / RECORD_FILE)
    assert record.outcome.status == "failed" and "phantom_00" in record.outcome.reason
    # It keeps its name: the same question, asked again, is the same run.
    monkeypatch.setattr(run, "load_case", load)
    again = run_one(tiny_config(), phantom_data, tmp_path, overwrite=True)
    assert again.outcome.status == "done" and again.identity == record.identity


def test_a_logger_that_is_not_there_is_refused_before_the_folder_is_made(
    tiny_config, phantom_data, tmp_path, monkeypatch
):
    from medseg.training import loggers

    def absent(run_dir):
        raise ModuleNotFoundError("No module named 'wandb'")

    monkeypatch.setitem(loggers.MAKERS, "wandb", absent)
    with pytest.raises(InputError, match="not installed"):
        run_one(tiny_config(), phantom_data, tmp_path / "run", engine=Engine(loggers=("wandb",)))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_overwritten_is_the_same_record(tiny_run, phantom_data, tmp_path):
    (tmp_path / "run.json").write_text("another run")
    record = run_one(tiny_run.config, phantom_data, tmp_path, overwrite=True)
    assert record.substance() == tiny_run.record.substance()


def test_a_batch_that_does_not_fit_is_refused_before_the_folder_is_made(tiny_config, phantom_data, tmp_path):
    with pytest.raises(InputError, match="no statistics of one window"):
        run_one(tiny_config(train={"batch": 1}), phantom_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_at_work_is_refused_and_left_as_it_is(tmp_path, phantom_data, tiny_config):
    run_one(tiny_config(), phantom_data, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    # A lock is of an open file: within one process, too, a second one is refused.
    with sole_in(tmp_path), pytest.raises(InputError, match="another process is at work"):
        run_one(tiny_config(), phantom_data, tmp_path, overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    run_one(tiny_config(), phantom_data, tmp_path, overwrite=True)
