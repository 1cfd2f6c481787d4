"""The loop: resumed = uninterrupted, bit for bit; the loss falls; a failure is said and nothing is lost."""

import errno
import shutil
from dataclasses import replace

import medseg.compat  # noqa: F401  isort: skip
import pytest
import torch
from lightning.fabric.plugins.precision import MixedPrecision

from medseg.errors import InputError
from medseg.training import checkpoint, precision
from medseg.training.checkpoint import CHECKPOINT
from medseg.training.loop import CURVE_FILE, fit

UNET = {"network": "unet3d", "weights": None, "slices": 16}


def same_bits(first, second):
    ours, theirs = first.segmenter.state_dict(), second.segmenter.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train": {"precision": "fp32"}, "model": {"inflation": "random"}},
        {"train": {"precision": "fp16"}},
        {"train": {"precision": "fp32"}, "model": UNET},
    ],
    ids=["vit bf16", "vit fp32 random", "vit fp16 scaler", "unet3d fp32"],
)
def test_resumed_is_uninterrupted_bit_for_bit(tiny_config, loaded_phantoms, tmp_path, changes):
    config = tiny_config(**changes)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    cut.mkdir()

    def keep_the_first_checkpoint(progress):
        if progress.step == 3:
            shutil.copy(whole / CHECKPOINT, cut / CHECKPOINT)

    uninterrupted = fit(config, loaded_phantoms, whole, on_step=keep_the_first_checkpoint)
    # Draws of the caller must not matter.
    torch.manual_seed(99)
    steps = []
    resumed = fit(
        config, loaded_phantoms, cut, resume=True, on_step=lambda progress: steps.append(progress.step)
    )
    assert steps == [3, 4]
    assert resumed.losses == uninterrupted.losses and len(resumed.losses) == 4
    assert same_bits(resumed, uninterrupted)
    assert (whole / CURVE_FILE).read_text() == (cut / CURVE_FILE).read_text()


def test_a_finished_run_resumes_to_itself(tiny_config, loaded_phantoms, tmp_path):
    config = tiny_config(train={"steps": 2})
    first = fit(config, loaded_phantoms, tmp_path)
    again = fit(config, loaded_phantoms, tmp_path, resume=True, on_step=pytest.fail)
    assert same_bits(first, again) and first.losses == again.losses


def test_progress_and_cost(tiny_config, loaded_phantoms, tmp_path):
    seen = []
    fitted = fit(tiny_config(), loaded_phantoms, tmp_path, on_step=seen.append)
    assert [(p.step, p.steps) for p in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [p.loss for p in seen] == fitted.losses
    assert fitted.train_s > 0 and fitted.samples_per_s > 0 and fitted.peak_bytes > 0
    assert fitted.weights is not None and fitted.weights.coverage == 1.0
    rows = (tmp_path / CURVE_FILE).read_text().splitlines()
    assert rows[0] == "step,loss" and [float(row.split(",")[1]) for row in rows[1:]] == fitted.losses


def test_another_seed_is_another_run(tiny_config, loaded_phantoms, tmp_path):
    losses = {
        tuple(fit(tiny_config(train={"steps": 1, "seed": seed}), loaded_phantoms, tmp_path / str(n)).losses)
        for n, seed in enumerate((1234, 1234, 910))
    }
    assert len(losses) == 2


def test_a_loss_that_is_no_number_names_the_cases(tiny_config, loaded_phantoms, tmp_path):
    spoiled = [replace(case, image=case.image * float("nan")) for case in loaded_phantoms[:1]]
    with pytest.raises(FloatingPointError, match="step 1") as caught:
        fit(tiny_config(), spoiled, tmp_path)
    assert spoiled[0].id in str(caught.value)
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_full_disk_is_said_and_the_old_checkpoint_loads(
    tiny_config, loaded_phantoms, tmp_path, monkeypatch
):
    config, save, calls = tiny_config(), torch.save, []

    def full_at_the_second(tree, path):
        calls.append(path)
        if len(calls) == 1:
            return save(tree, path)
        path.write_bytes(b"the first few bytes")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full_at_the_second)
        with pytest.raises(InputError, match="checkpoint of step 4 cannot be written") as caught:
            fit(config, loaded_phantoms, tmp_path)
    assert caught.value.got == "No space left on device" and "--resume" in caught.value.do
    assert checkpoint.load(tmp_path, config.digest()).step == 2
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, CURVE_FILE}
    resumed = fit(config, loaded_phantoms, tmp_path, resume=True)
    assert same_bits(resumed, fit(config, loaded_phantoms, tmp_path / "other"))


def test_resuming_another_configuration_is_refused(tiny_config, loaded_phantoms, tmp_path):
    fit(tiny_config(train={"steps": 2}), loaded_phantoms, tmp_path)
    with pytest.raises(InputError, match="another configuration"):
        fit(tiny_config(train={"steps": 2, "lr": 0.5}), loaded_phantoms, tmp_path, resume=True)


def test_an_overflow_under_the_scaler_skips_the_step(tiny_config, loaded_phantoms, tmp_path, monkeypatch):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    monkeypatch.setattr(precision, "plugin", lambda chosen: MixedPrecision("16-mixed", "cpu", scaler))
    fitted = fit(tiny_config(train={"precision": "fp16"}), loaded_phantoms, tmp_path)
    assert scaler.get_scale() < 2.0**60 and len(fitted.losses) == 4
    assert all(parameter.isfinite().all() for parameter in fitted.segmenter.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("model", [{"decoder_channels": 32}, UNET], ids=["vit", "unet3d"])
def test_loss_falls(tiny_config, loaded_phantoms, tmp_path, model):
    train = {"steps": 30, "batch": 4, "lr": 3e-3, "checkpoint_every": 30, "precision": "fp32"}
    still = {"zoom": (1.0, 1.0), "flip_p": 0.0, "rotate90_p": 0.0, "shift_p": 0.0}
    config = tiny_config(train=train, model=model, augment=still)
    losses = fit(config, loaded_phantoms, tmp_path).losses
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])
