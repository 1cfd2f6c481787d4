"""Two processes are one: the same losses, validations and scores, however they are started (gloo, CPU)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from on_processes import starting_from, stopping_after

from medseg.config import resolve
from medseg.data.cases import load_case
from medseg.errors import Interrupted
from medseg.records import store
from medseg.segmenter import build
from medseg.studies.fitted import fitted_to
from medseg.studies.run import open_data, run_one
from medseg.studies.study import ROOT
from medseg.training import checkpoint
from medseg.training.curve import read_curve
from medseg.training.loop import fit
from medseg.training.run_folder import MODEL_FILE, RECORD_FILE, TUNED_FILE, load_model, save_model
from medseg.tuning import load_tuned

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "on_processes.py"
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
MODEL = {"encoder": "test_vit", "taps": (1, 2, 3, 5), "image_px": 32, "slices": 3, "decoder_channels": 32}
# The paper's learning rate. At ten times that, one thread and two of one process differ by more than 1e-4
# after a dozen steps: rounding grows.
TRAIN = {"steps": 12, "batch": 8, "lr": 3e-5, "precision": "fp32", "validate_every": 4, "checkpoint_every": 4}


def called(*command, code=0):
    inherited = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK")}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env=inherited | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twenty phantoms, of which three are for validation: two processes do not divide them."""
    from medseg.data.phantoms import write_phantoms

    folder = tmp_path_factory.mktemp("data") / "Phantom"
    write_phantoms(folder, cases=20, seed=5)
    assert len(open_data(folder, 1234).split.validation) == 3
    return folder


def config(**train):
    return resolve("smoke", {"model": MODEL, "train": TRAIN | train})


@pytest.fixture(scope="module")
def start(data, tmp_path_factory):
    """A network that has learned something."""
    opened, folder = open_data(data, 1234), tmp_path_factory.mktemp("start")
    cases = [load_case(opened.cases[name], opened.card) for name in opened.split.train]
    still = {"zoom": (1.0, 1.0), "flip_p": 0.0, "rotate90_p": 0.0, "shift_p": 0.0}
    train = TRAIN | {"steps": 60, "lr": 2e-3, "validate_every": None, "checkpoint_every": 60}
    learning = fitted_to(resolve("smoke", {"model": MODEL, "train": train, "augment": still}), opened.card)
    save_model(fit(learning, cases, folder).segmenter.state_dict(), folder)
    return folder / MODEL_FILE


@pytest.fixture(scope="module")
def on_two(data, start):
    """A run on two processes, to its end or to the given exit code."""

    def run(run_dir, config, command=(SCRIPT,), code=0, **more):
        asked = {"config": config.model_dump(mode="json"), "data": str(data), "run_dir": str(run_dir)}
        asked |= {"engine": {"devices": 2}, "start": str(start)}
        called(*command, json.dumps(asked | more), code=code)
        return run_dir

    return run


@pytest.fixture(scope="module")
def on_one(data, start):
    """A run on one process, this one."""

    def run(run_dir, config, **more):
        with starting_from(start):
            run_one(config, open_data(data, 1234), run_dir, **more)
        return run_dir

    return run


@pytest.fixture(scope="module")
def one(on_one, tmp_path_factory):
    """The uninterrupted run on one process, made once."""
    made = {}

    def run(config):
        if (name := config.digest()) not in made:
            made[name] = on_one(tmp_path_factory.mktemp("one"), config)
        return made[name]

    return run


def distance(first, second):
    """Largest differences: of the loss of a step, of a validation, of the Dice of a case and label."""
    ours, theirs = read_curve(first), read_curve(second)
    assert len(ours.losses) == len(theirs.losses)
    assert [step for step, _ in ours.validations] == [step for step, _ in theirs.validations]
    scores = [store.read(folder / RECORD_FILE).scores() for folder in (first, second)]
    assert [(s.case, s.label) for s in scores[0]] == [(s.case, s.label) for s in scores[1]]
    validations = zip(ours.validations, theirs.validations, strict=True)
    cases = [(a.dice, b.dice) for a, b in zip(*scores, strict=True)]
    assert all((a is None) == (b is None) for a, b in cases)
    return {
        "losses": max(abs(a - b) for a, b in zip(ours.losses, theirs.losses, strict=True)),
        "validations": max(abs(a - b) for (_, a), (_, b) in validations),
        "cases": max(abs(a - b) for a, b in cases if a is not None),
    }


# Dice has steps: rounding decides a voxel where two classes are equal.
A_FEW_VOXELS = 1e-4


def assert_same(first, second, losses=1e-4, dice=1e-6):
    found = distance(first, second)
    print(found)
    assert found["losses"] <= losses and found["validations"] <= dice and found["cases"] <= dice


@pytest.mark.parametrize("train", [{}, {"accumulate": 2}], ids=["whole", "in parts"])
def test_two_processes_are_one(on_two, one, tmp_path, train):
    asked = config(**train)
    assert_same(on_two(tmp_path, asked), one(asked))
    assert all(dice > 0.1 for _, dice in read_curve(tmp_path).validations), "there is something to compare"
    record, alone = (store.read(folder / RECORD_FILE) for folder in (tmp_path, one(asked)))
    assert record.identity == alone.identity and record.protocol.engine["devices"] == 2
    assert len(list((tmp_path / checkpoint.FOLDER).iterdir())) in (2, 3)


def test_two_processes_of_torchrun_are_one(on_two, one, tmp_path):
    assert_same(on_two(tmp_path, config(), (*TORCHRUN, SCRIPT)), one(config()))


def test_the_command_line_on_two_processes(data, tmp_path):
    train = ("medseg", "train", data, "--profile", "smoke", "--precision", "fp32")
    steps = ("--steps", 4, "--validate-every", 2)
    for name, start in (("one", ("-m",)), ("two", ("-m",)), ("torchrun", (*TORCHRUN, "-m"))):
        devices = ("--devices", 1 if name == "one" else 2)
        done = called(*start, *train, *steps, *devices, "-o", tmp_path / name)
        assert done.stdout.count("test: mean Dice per case") == 1, "one process speaks"
    assert_same(tmp_path / "two", tmp_path / "one")
    assert_same(tmp_path / "torchrun", tmp_path / "one")


def test_a_batch_that_two_cannot_share_is_refused(data, tmp_path):
    train = ("medseg", "train", data, "--profile", "smoke", "-o", tmp_path / "run")
    done = called("-m", *train, "--devices", 2, "--accumulate", 4, code=2)
    assert done.stderr.count("cannot be shared out") == 1 and "Traceback" not in done.stderr


def test_a_held_folder_is_refused_by_one_voice(data, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    train = ("medseg", "train", data, "--profile", "smoke", "-o", tmp_path)
    done = called("-m", *train, "--devices", 2, code=2)
    assert done.stderr.count("already holds a run") == 1 and "Traceback" not in done.stderr


SPLIT = {"devices": 2, "strategy": "fsdp"}


def test_parameters_in_parts_are_the_whole(on_two, one, tmp_path):
    assert_same(on_two(tmp_path, config(), engine=SPLIT), one(config()), dice=A_FEW_VOXELS)


@pytest.mark.parametrize("engine", [{"devices": 2}, SPLIT], ids=["ddp", "fsdp"])
def test_what_was_tuned_is_written_whole(data, tmp_path, engine):
    tuned = resolve("smoke", {"model": MODEL | {"tuning": {"method": "lora"}}, "train": TRAIN | {"steps": 4}})
    asked = {"config": tuned.model_dump(mode="json"), "data": str(data), "run_dir": str(tmp_path)}
    called(SCRIPT, json.dumps(asked | {"engine": engine, "start": None}))
    trained, run = load_model(tmp_path)
    fresh, _ = build(run.config.model, run.config.train.seed)
    load_tuned(fresh, tmp_path / TUNED_FILE)
    state = fresh.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in trained.state_dict().items())
    tuned_bytes = store.read(tmp_path / RECORD_FILE).model.tuned_bytes
    assert tuned_bytes == (tmp_path / TUNED_FILE).stat().st_size


@pytest.mark.parametrize("engine", [{"devices": 2}, SPLIT], ids=["ddp", "fsdp"])
def test_from_two_processes_to_one(on_two, on_one, one, tmp_path, engine):
    on_two(tmp_path, config(), code=75, stop_at=5, engine=engine)
    assert max(checkpoint.paths(tmp_path)) == 6
    assert_same(on_one(tmp_path, config(), resume=True), one(config()), dice=A_FEW_VOXELS)


@pytest.mark.parametrize("engine", [{"devices": 2}, SPLIT], ids=["ddp", "fsdp"])
def test_from_one_process_to_two(on_two, on_one, one, tmp_path, engine):
    with pytest.raises(Interrupted):
        on_one(tmp_path, config(), on_step=stopping_after(5))
    assert max(checkpoint.paths(tmp_path)) == 6
    resumed = on_two(tmp_path, config(), resume=True, engine=engine)
    assert_same(resumed, one(config()), dice=A_FEW_VOXELS)


def test_validation_is_exact(on_two, one, tmp_path):
    for n in (1, 2):
        on_two(one(config()), config(), engine={"devices": n}, validate=str(tmp_path / str(n)))
    texts = [(tmp_path / name).read_text() for name in ("1.0", "2.0", "2.1")]
    assert texts[0] == texts[1] == texts[2] and 0.1 < float(texts[0]) < 1
