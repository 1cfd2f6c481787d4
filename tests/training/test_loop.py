"""The loop: resumed = uninterrupted, bit for bit; the loss falls; a failure is said and nothing is lost."""

import errno
import json
import os
import random
import resource
import shutil
import signal
import threading
from dataclasses import replace

import medseg.compat  # noqa: F401  isort: skip
import pytest
import torch
from lightning.fabric.plugins.precision import MixedPrecision
from training_runs import HERE, PAPER_LR, UNET, call, same_bits, weights

from medseg.data import cache
from medseg.errors import InputError, Interrupted, OutOfMemory
from medseg.segmenter import build
from medseg.training import checkpoint, loop, precision
from medseg.training.curve import CURVE_FILE, read_curve
from medseg.training.engine import Engine
from medseg.training.loop import fit
from medseg.training.progress import look

FP32 = {"precision": "fp32", "lr": PAPER_LR}
IN_PARTS = {"train": {"batch": 4, "accumulate": 2}}


@pytest.fixture
def mapped_phantoms(loaded_phantoms, tmp_path):
    """The two training cases in files, none in memory."""
    by_name = {case.id: case for case in loaded_phantoms}
    yield cache.fill(by_name, by_name.__getitem__, 1, tmp_path)
    cache.empty(tmp_path)


def keep_checkpoints(whole, cut, step):
    """A callback that copies the checkpoints that are there when a step ends."""

    def at_step(progress):
        if progress.step == step:
            shutil.copytree(whole / checkpoint.FOLDER, cut / checkpoint.FOLDER)

    return at_step


def resumed_and_uninterrupted(config, cases, tmp_path, engine=None):
    """The same run twice: in one go, and gone on with from its first checkpoint (after step 2 of 4)."""
    whole, cut, steps = tmp_path / "whole", tmp_path / "cut", []
    uninterrupted = fit(config, cases, whole, on_step=keep_checkpoints(whole, cut, 3), engine=engine)
    # Draws of the caller must not matter.
    torch.manual_seed(99)
    resumed = fit(
        config, cases, cut, resume=True, on_step=lambda progress: steps.append(progress.step), engine=engine
    )
    assert steps == [3, 4], "only what was lost is done again"
    assert (whole / CURVE_FILE).read_text() == (cut / CURVE_FILE).read_text()
    return resumed, uninterrupted


def assert_same(first, second):
    assert first.losses == second.losses and len(first.losses) == 4
    assert same_bits(weights(first), weights(second))


RUNS = {
    "vit bf16": ({}, None),
    "vit fp32 random": ({"train": {"precision": "fp32"}, "model": {"inflation": "random"}}, None),
    "vit fp16 scaler": ({"train": {"precision": "fp16"}}, None),
    "unet3d fp32": ({"train": {"precision": "fp32"}, "model": UNET}, None),
    "in parts": (IN_PARTS, None),
    "made ahead": ({}, Engine(prefetch=2)),
    "recomputed": ({}, Engine(recompute=True)),
    "not fused": ({}, Engine(fused=False, channels_last=False)),
}


@pytest.mark.parametrize(("changes", "engine"), RUNS.values(), ids=RUNS)
def test_resumed_is_uninterrupted_bit_for_bit(tiny_config, loaded_phantoms, tmp_path, changes, engine):
    assert_same(*resumed_and_uninterrupted(tiny_config(**changes), loaded_phantoms, tmp_path, engine))


def test_resumed_is_uninterrupted_with_mapped_volumes(
    tiny_config, loaded_phantoms, mapped_phantoms, tmp_path
):
    config = tiny_config()
    resumed, uninterrupted = resumed_and_uninterrupted(config, mapped_phantoms, tmp_path)
    assert_same(resumed, uninterrupted)
    assert_same(fit(config, loaded_phantoms, tmp_path / "memory"), uninterrupted)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_gradients_are_right_and_resumed_is_uninterrupted(phantoms, tmp_path):
    done = call(HERE / "compiled_run.py", phantoms, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["gradients_away"] < 1e-4
    assert found["same_bits"] and found["one_go"] == found["resumed"]
    # The compiler draws dropout in its own way: other losses, but of the same kind.
    assert found["one_go"] == pytest.approx(found["plain"], rel=0.1)


def test_a_finished_run_resumes_to_itself(tiny_config, loaded_phantoms, tmp_path):
    config = tiny_config(train={"steps": 2})
    first = fit(config, loaded_phantoms, tmp_path)
    again = fit(config, loaded_phantoms, tmp_path, resume=True, on_step=pytest.fail)
    assert same_bits(weights(first), weights(again)) and first.losses == again.losses


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_newest_costs_its_steps_and_nothing_else(tiny_config, loaded_phantoms, tmp_path, seed):
    config, draw, steps = tiny_config(), random.Random(seed), []
    first = fit(config, loaded_phantoms, tmp_path)
    newest = checkpoint.paths(tmp_path)[4]
    newest.write_bytes(newest.read_bytes()[: draw.randrange(newest.stat().st_size)])
    with pytest.warns(UserWarning, match=f"{newest.name} is damaged"):
        again = fit(config, loaded_phantoms, tmp_path, resume=True, on_step=lambda p: steps.append(p.step))
    assert steps == [3, 4]
    assert_same(again, first)


# The same run on another engine.

ENGINES = {"made ahead": Engine(prefetch=2), "recomputed": Engine(recompute=True)}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_what_changes_no_sum_changes_no_bit(tiny_config, loaded_phantoms, tmp_path, engine):
    config = tiny_config(train=FP32)
    plain = fit(config, loaded_phantoms, tmp_path / "plain")
    assert_same(fit(config, loaded_phantoms, tmp_path / "other", engine=engine), plain)


@pytest.mark.parametrize(
    ("option", "model"), [("fused", {}), ("channels_last", {}), ("channels_last", UNET)], ids=str
)
def test_other_kernels_agree_within_rounding(tiny_config, loaded_phantoms, tmp_path, option, model):
    config = tiny_config(train=FP32 | {"steps": 2}, model=model)
    with_it, without = (
        fit(config, loaded_phantoms, tmp_path / str(on), engine=Engine(**{option: on})).losses
        for on in (True, False)
    )
    assert with_it == pytest.approx(without, rel=1e-4)


@pytest.mark.parametrize("first", [True, False])
def test_a_run_may_go_on_in_another_layout(tiny_config, loaded_phantoms, tmp_path, first):
    config, whole, cut = tiny_config(train=FP32), tmp_path / "whole", tmp_path / "cut"
    before, after = Engine(channels_last=first), Engine(channels_last=not first)
    at_step = keep_checkpoints(whole, cut, 3)
    uninterrupted = fit(config, loaded_phantoms, whole, on_step=at_step, engine=before)
    resumed = fit(config, loaded_phantoms, cut, resume=True, engine=after)
    assert resumed.losses == pytest.approx(uninterrupted.losses, abs=2e-6)


def test_parts_are_the_whole_batch_where_no_batch_norm_is(tiny_config, loaded_phantoms, tmp_path):
    def run(accumulate):
        train = FP32 | {"steps": 3, "batch": 4, "accumulate": accumulate}
        return fit(tiny_config(train=train, model=UNET), loaded_phantoms, tmp_path / str(accumulate))

    whole, parts = run(1), run(2)
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)
    # Adam divides by the size of the gradient: where that is rounding (a bias before a norm), a weight may go
    # either way by the rate. Those are few.
    changes = [(weights(parts)[key] - value).abs().flatten() for key, value in weights(whole).items()]
    assert torch.cat(changes).max() <= 2 * 3 * PAPER_LR and torch.cat(changes).mean() <= 0.05 * PAPER_LR


@pytest.mark.parametrize(
    ("train", "text"),
    [({"batch": 2, "accumulate": 2}, "no statistics of one window"), ({"batch": 1}, "no statistics")],
)
def test_a_batch_norm_needs_two_windows(tiny_config, loaded_phantoms, tmp_path, train, text):
    with pytest.raises(InputError, match=text):
        fit(tiny_config(train=train), loaded_phantoms, tmp_path)
    fitted = fit(tiny_config(train=train | {"steps": 1}, model=UNET), loaded_phantoms, tmp_path / "unet")
    assert len(fitted.losses) == 1


# What is kept.


def test_newest_and_best_are_kept_and_the_best_is_given(tiny_config, loaded_phantoms, tmp_path, monkeypatch):
    dice, seen = [0.1, 0.8, 0.3, 0.2], {}

    def scripted(segmenter, *arguments):
        seen[len(seen) + 1] = {key: value.clone() for key, value in segmenter.state_dict().items()}
        return dice[(len(seen) - 1) % 4]

    monkeypatch.setattr(loop, "validate", scripted)
    train = {"validate_every": 1, "checkpoint_every": 4, "selection": "best"}
    config, engine = tiny_config(train=train), Engine(keep=1)
    best = fit(config, loaded_phantoms, tmp_path, engine=engine)
    assert best.validations == list(enumerate(dice, start=1))
    assert set(checkpoint.paths(tmp_path)) == {4, 2}
    assert same_bits(weights(best), seen[2]) and not same_bits(seen[2], seen[4])
    last = fit(tiny_config(train=train | {"selection": "last"}), loaded_phantoms, tmp_path, engine=engine)
    assert same_bits(weights(last), seen[8]) and same_bits(seen[8], seen[4])


def test_the_best_survives_an_interruption(tiny_config, loaded_phantoms, tmp_path, monkeypatch):
    dice = iter([0.1, 0.9, 0.3, 0.2])
    monkeypatch.setattr(loop, "validate", lambda *arguments: next(dice))
    train = {"validate_every": 1, "selection": "best"}

    def interrupt(progress):
        if progress.step == 4:
            raise KeyboardInterrupt

    config, engine = tiny_config(train=train), Engine(keep=1)
    with pytest.raises(KeyboardInterrupt):
        fit(config, loaded_phantoms, tmp_path, on_step=interrupt, engine=engine)
    assert set(checkpoint.paths(tmp_path)) == {3, 2}
    fitted = fit(config, loaded_phantoms, tmp_path, resume=True, engine=engine)
    assert fitted.validations == [(1, 0.1), (2, 0.9), (3, 0.3), (4, 0.2)]
    kept = checkpoint.read(checkpoint.paths(tmp_path)[2]).model
    assert same_bits(weights(fitted), kept)


def test_validating_changes_no_training(tiny_config, loaded_phantoms, tmp_path):
    plain = fit(tiny_config(), loaded_phantoms, tmp_path / "plain")
    config = tiny_config(train={"validate_every": 1})
    scored = fit(config, loaded_phantoms, tmp_path / "scored", validation=loaded_phantoms[:1])
    assert_same(scored, plain)
    assert [step for step, _ in scored.validations] == [1, 2, 3, 4]
    assert all(0 <= dice <= 1 for _, dice in scored.validations)
    assert read_curve(tmp_path / "scored").validations == scored.validations


def test_a_fresh_start_clears_an_earlier_run(tiny_config, loaded_phantoms, tmp_path):
    fit(tiny_config(train={"steps": 8}), loaded_phantoms, tmp_path)
    config = tiny_config()
    fit(config, loaded_phantoms, tmp_path)
    assert set(checkpoint.paths(tmp_path)) == {4, 2}
    assert checkpoint.load(tmp_path, config.digest()).step == 4


def test_progress_and_cost(tiny_config, loaded_phantoms, tmp_path):
    seen, said = [], []
    fitted = fit(tiny_config(), loaded_phantoms, tmp_path, on_step=seen.append, on_start=said.append)
    assert [(p.step, p.steps) for p in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [p.loss for p in seen] == fitted.losses
    assert [p.left_s > 0 for p in seen] == [True, True, True, False]
    assert fitted.train_s > 0 and fitted.samples_per_s > 0 and fitted.peak_bytes > 0
    assert fitted.weights is not None and fitted.weights.coverage == 1.0
    assert fitted.precision == "bf16" and fitted.engine.fused
    assert len(said) == 1 and said[0].startswith("2 training volumes")
    curve = read_curve(tmp_path)
    assert curve.losses == fitted.losses and len(curve.rates) == 4
    assert look(tmp_path).progress == seen[-1]


def test_another_seed_is_another_run(tiny_config, loaded_phantoms, tmp_path):
    losses = {
        tuple(fit(tiny_config(train={"steps": 1, "seed": seed}), loaded_phantoms, tmp_path / str(n)).losses)
        for n, seed in enumerate((1234, 1234, 910))
    }
    assert len(losses) == 2


# What goes wrong.


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_loss_that_is_no_number_names_the_cases(tiny_config, loaded_phantoms, tmp_path, prefetch):
    spoiled = [replace(case, image=case.image * float("nan")) for case in loaded_phantoms[:1]]
    with pytest.raises(FloatingPointError, match="loss is nan.*step 1;") as caught:
        fit(tiny_config(), spoiled, tmp_path, engine=Engine(prefetch=prefetch))
    assert spoiled[0].id in str(caught.value)
    assert not checkpoint.has_any(tmp_path)
    assert not [thread for thread in threading.enumerate() if thread.name == "medseg-prefetch"]


def test_a_gradient_that_is_no_number_names_the_cases(tiny_config, loaded_phantoms, tmp_path, monkeypatch):
    def spoiled(*arguments):
        segmenter, report = build(*arguments)
        next(segmenter.parameters()).register_hook(lambda gradient: gradient * float("inf"))
        return segmenter, report

    monkeypatch.setattr(loop, "build", spoiled)
    with pytest.raises(FloatingPointError, match="norm of the gradient (nan|inf), at step 1") as caught:
        fit(tiny_config(train={"precision": "fp32"}), loaded_phantoms[:1], tmp_path)
    assert loaded_phantoms[0].id in str(caught.value) and "loss is 0." in str(caught.value).replace(
        "1.", "0."
    )


def test_an_overflow_under_the_scaler_skips_the_step(tiny_config, loaded_phantoms, tmp_path, monkeypatch):
    def scaler_of(scale):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        monkeypatch.setattr(precision, "plugin", lambda chosen: MixedPrecision("16-mixed", "cpu", scaler))
        return scaler

    config = tiny_config(train={"precision": "fp16"})
    scaler = scaler_of(2.0**60)
    fitted = fit(config, loaded_phantoms, tmp_path)
    assert scaler.get_scale() == 2.0**56 and fitted.skipped_steps == len(fitted.losses) == 4
    start, _ = build(config.model, config.train.seed)
    assert all(
        torch.equal(a, b) for a, b in zip(fitted.segmenter.parameters(), start.parameters(), strict=True)
    )
    # Scale and count are part of the state.
    (saved := checkpoint.load(tmp_path, config.digest())).step = 3
    assert (saved.skipped, saved.scaler["scale"]) == (4, 2.0**56)
    scaler = scaler_of(2.0**10)
    fit(config, loaded_phantoms, tmp_path, resume=True)
    assert scaler.get_scale() == 2.0**56


def test_a_full_disk_is_said_and_the_old_checkpoint_loads(
    tiny_config, loaded_phantoms, tmp_path, monkeypatch
):
    config, save, calls = tiny_config(), torch.save, []

    def full_at_the_second(tree, handle):
        calls.append(handle)
        if len(calls) == 1:
            return save(tree, handle)
        handle.write(b"the first few bytes")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full_at_the_second)
        with pytest.raises(InputError, match="checkpoint of step 4 cannot be written") as caught:
            fit(config, loaded_phantoms, tmp_path)
    assert caught.value.got == "No space left on device" and "--resume" in caught.value.do
    assert checkpoint.load(tmp_path, config.digest()).step == 2
    assert len(list((tmp_path / checkpoint.FOLDER).iterdir())) == 1
    resumed = fit(config, loaded_phantoms, tmp_path, resume=True)
    assert_same(resumed, fit(config, loaded_phantoms, tmp_path / "other"))


def test_a_file_that_may_not_grow_is_a_full_disk(tiny_config, loaded_phantoms, tmp_path):
    # The system itself refuses, in the middle of a write: files end at one megabyte, a checkpoint has four.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(progress):
        if progress.step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, before[1]))

    config = tiny_config()
    try:
        with pytest.raises(InputError, match="checkpoint of step 4 cannot be written") as caught:
            fit(config, loaded_phantoms, tmp_path, on_step=limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.got == "File too large"
    assert [path.name[:13] for path in (tmp_path / checkpoint.FOLDER).iterdir()] == ["step-00000002"]
    resumed = fit(config, loaded_phantoms, tmp_path, resume=True)
    assert_same(resumed, fit(config, loaded_phantoms, tmp_path / "other"))


def test_a_full_disk_stops_no_heartbeat(tiny_config, loaded_phantoms, tmp_path):
    # A folder where the file should be: writing fails as on a full disk.
    (tmp_path / "progress.json").mkdir()
    assert len(fit(tiny_config(train={"steps": 2}), loaded_phantoms, tmp_path).losses) == 2


def test_resuming_another_configuration_is_refused(tiny_config, loaded_phantoms, tmp_path):
    fit(tiny_config(train={"steps": 2}), loaded_phantoms, tmp_path)
    with pytest.raises(InputError, match="another configuration"):
        fit(tiny_config(train={"steps": 2, "lr": 0.5}), loaded_phantoms, tmp_path, resume=True)


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize(("step", "number"), [(1, signal.SIGTERM), (2, signal.SIGTERM), (2, signal.SIGINT)])
def test_a_signal_saves_and_says_so(tiny_config, loaded_phantoms, tmp_path, step, number, prefetch):
    def terminate(progress):
        if progress.step == step:
            os.kill(os.getpid(), number)

    config, engine, before = tiny_config(), Engine(prefetch=prefetch), signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"saved after step {step + 1} of 4"):
        fit(config, loaded_phantoms, tmp_path, on_step=terminate, engine=engine)
    assert signal.getsignal(number) == before
    assert max(checkpoint.paths(tmp_path)) == step + 1
    assert not [thread for thread in threading.enumerate() if thread.name == "medseg-prefetch"]
    resumed = fit(config, loaded_phantoms, tmp_path, resume=True, engine=engine)
    assert_same(resumed, fit(config, loaded_phantoms, tmp_path / "other"))


@pytest.mark.parametrize("step", [3, 4])
def test_sigterm_in_the_last_step_or_validation_leaves_a_trained_network(
    tiny_config, loaded_phantoms, tmp_path, step
):
    def terminate(progress):
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="trained, not scored yet"):
        fit(tiny_config(), loaded_phantoms, tmp_path, on_step=terminate)
    assert max(checkpoint.paths(tmp_path)) == 4
    seen = []
    resumed = fit(tiny_config(), loaded_phantoms, tmp_path, resume=True, on_step=seen.append)
    assert not seen
    assert_same(resumed, fit(tiny_config(), loaded_phantoms, tmp_path / "other"))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
def test_too_little_memory_is_said_with_numbers(tiny_config, loaded_phantoms, tmp_path, monkeypatch, error):
    def full(*arguments):
        raise error

    monkeypatch.setattr(loop.DiceFocal, "forward", full)
    with pytest.raises(
        OutOfMemory, match=r"4 windows .*: [\d.]+ GB used of [\d.]+ GB.*--accumulate 2"
    ) as said:
        fit(tiny_config(train={"batch": 4}), loaded_phantoms, tmp_path)
    assert "--recompute" in str(said.value) and said.value.__cause__ is error


def test_another_error_is_not_called_memory(tiny_config, loaded_phantoms, tmp_path, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(loop.DiceFocal, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not match") as caught:
        fit(tiny_config(), loaded_phantoms, tmp_path)
    assert not isinstance(caught.value, OutOfMemory)


@pytest.mark.slow
@pytest.mark.parametrize("model", [{"decoder_channels": 32}, UNET], ids=["vit", "unet3d"])
def test_loss_falls(tiny_config, loaded_phantoms, tmp_path, model):
    train = {"steps": 30, "batch": 4, "lr": 3e-3, "checkpoint_every": 30, "precision": "fp32"}
    still = {"zoom": (1.0, 1.0), "flip_p": 0.0, "rotate90_p": 0.0, "shift_p": 0.0}
    config = tiny_config(train=train, model=model, augment=still)
    losses = fit(config, loaded_phantoms, tmp_path).losses
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])
