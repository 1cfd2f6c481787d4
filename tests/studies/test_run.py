"""One run to its record: the same for the same question, also when it was killed in between."""

import json
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from medseg.data.splits import msd_split
from medseg.errors import InputError
from medseg.records import store
from medseg.studies.run import fitted_to, open_data, run_one
from medseg.studies.study import ROOT
from medseg.training.run_folder import FILES, MODEL_FILE, load_model

# A process that kills itself with SIGKILL: in the middle of step 4, or halfway through the second checkpoint.
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from medseg.config import RunConfig
from medseg.studies.run import open_data, run_one

config, data, run_dir, moment = RunConfig.model_validate_json(sys.argv[1]), *sys.argv[2:]
save, saved = torch.save, []

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def save_half(tree, path):
    save(tree, path)
    saved.append(path)
    if len(saved) == 2 and moment == "writing":
        Path(path).write_bytes(Path(path).read_bytes()[:1000])
        die()

def at_step(progress):
    if progress.step == 3 and moment == "training":
        die()

torch.save = save_half
run_one(config, open_data(Path(data), 1234), Path(run_dir), on_step=at_step)
"""


def weights(folder):
    return load_file(folder / MODEL_FILE)


def same_bits(first, second):
    ours, theirs = weights(first), weights(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_folder_holds_the_whole_run(tiny_run):
    assert {path.name for path in tiny_run.folder.iterdir()} == set(FILES)
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
    assert record.model.input_shape == (1, 1, 3, 32, 32) and record.model.trainable == record.model.parameters
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


def test_configuration_takes_channels_and_classes_of_the_data(tiny_config, phantom_data):
    card = phantom_data.card.model_copy(update={"channels": ("T1", "T2"), "labels": {0: "none", 7: "one"}})
    fitted = fitted_to(tiny_config(), card)
    assert (fitted.model.in_channels, fitted.model.classes, fitted.data.name) == (2, 2, "Phantom")
    assert fitted.train == tiny_config().train


def test_a_held_folder_is_refused_and_kept(tiny_run, phantom_data):
    before = {path.name: path.read_bytes() for path in tiny_run.folder.iterdir()}
    with pytest.raises(InputError, match="already holds a run"):
        run_one(tiny_run.config, phantom_data, tiny_run.folder)
    assert {path.name: path.read_bytes() for path in tiny_run.folder.iterdir()} == before


def test_bad_data_is_refused_before_the_folder_is_made(tiny_config, phantom_data, tmp_path):
    from dataclasses import replace

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


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["training", "writing"])
def test_killed_and_resumed_is_the_same_record(tiny_run, phantoms, phantom_data, tmp_path, moment):
    folder = tmp_path / "killed"
    asked = json.dumps(tiny_run.config.model_dump(mode="json"))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, asked, str(phantoms), str(folder), moment],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (folder / "checkpoint.pt").exists() and not (folder / MODEL_FILE).exists()
    steps = []
    record = run_one(
        tiny_run.config,
        phantom_data,
        folder,
        resume=True,
        on_step=lambda progress: steps.append(progress.step),
    )
    assert steps == [3, 4], "only what was lost is done again"
    assert same_bits(folder, tiny_run.folder)
    assert record.substance() == tiny_run.record.substance()
    assert store.read(folder / "record.json") == record


@pytest.mark.slow
def test_overwritten_is_the_same_record(tiny_run, phantom_data, tmp_path):
    (tmp_path / "run.json").write_text("another run")
    record = run_one(tiny_run.config, phantom_data, tmp_path, overwrite=True)
    assert record.substance() == tiny_run.record.substance()
