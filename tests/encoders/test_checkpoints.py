"""Foreign weights: the named file and no other, whole or not at all."""

import os
from pathlib import Path

import medseg.compat  # noqa: F401  isort: skip
import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from medseg.encoders.checkpoints import LoadReport, read_weights, stand_in_state
from medseg.encoders.sources import SUMS, WEIGHTS, WeightsCard, stated_sha256
from medseg.encoders.timm_encoder import TimmEncoder
from medseg.errors import InputError
from medseg.files import sha256_of

TINY, TAPS = "vit_tiny_patch16_224", (3, 5, 7, 11)
NAME = "vit_tiny_augreg"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_WEIGHTS", str(tmp_path))
    return tmp_path


def file_as(folder, monkeypatch, state, name="own", suffix=".safetensors", stated=True):
    """Put a state into the folder and give it a card of its own."""
    path = folder / f"{name}{suffix}"
    if isinstance(state, bytes):
        path.write_bytes(state)
    elif suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    card = WeightsCard(
        file=path.name,
        sha256=sha256_of(path) if stated else None,
        encoder=TINY,
        timm_name=name,
        trained_on="nothing",
        objective="SL",
        licence="none",
    )
    monkeypatch.setitem(WEIGHTS, name, card)
    return card


def test_unknown_name():
    with pytest.raises(InputError, match="unknown weights") as caught:
        read_weights("nobody")
    assert NAME in caught.value.expected


def test_missing_file(folder):
    with pytest.raises(InputError, match="missing") as caught:
        read_weights(NAME)
    assert WEIGHTS[NAME].file in caught.value.expected


def test_wrong_sha256(folder):
    (folder / WEIGHTS[NAME].file).write_bytes(b"something else")
    with pytest.raises(InputError, match="not the one named") as caught:
        read_weights(NAME)
    assert WEIGHTS[NAME].sha256 in caught.value.expected


def test_not_safetensors(folder, monkeypatch):
    file_as(folder, monkeypatch, b"no header")
    with pytest.raises(InputError, match="cannot be read"):
        read_weights("own")


@pytest.mark.parametrize("wrap", [None, "model", "state_dict"])
def test_a_pth_of_tensors_is_unwrapped(folder, monkeypatch, wrap):
    state = {"a": torch.ones(2), "epoch": 3}
    file_as(folder, monkeypatch, {wrap: state, "optimizer": {}} if wrap else state, suffix=".pth")
    read, _ = read_weights("own")
    assert read.keys() == {"a"} and torch.equal(read["a"], state["a"])


@pytest.mark.parametrize("state", [b"no archive", Path("code"), [1, 2]], ids=["bytes", "code", "list"])
def test_a_pth_of_anything_else(folder, monkeypatch, state):
    file_as(folder, monkeypatch, state, suffix=".pth")
    with pytest.raises(InputError, match="cannot be read"):
        read_weights("own")


def test_a_digest_that_nobody_stated_is_the_users_to_state(folder, monkeypatch):
    file_as(folder, monkeypatch, {"a": torch.ones(2)}, stated=False)
    assert stated_sha256("own") is None
    with pytest.raises(InputError, match="nobody has stated") as caught:
        read_weights("own")
    assert "sha256sum own.safetensors" in caught.value.do
    digest = sha256_of(folder / "own.safetensors")
    (folder / SUMS).write_text(f"{'0' * 64}  other.safetensors\n{digest}  own.safetensors\n")
    state, card = read_weights("own")
    assert state.keys() == {"a"} and card.sha256 == digest == stated_sha256("own")
    assert WEIGHTS["own"].sha256 is None
    (folder / "own.safetensors").write_bytes(b"another file")
    with pytest.raises(InputError, match="not the one named"):
        read_weights("own")


def test_stated_sha256_of_a_card_and_of_no_weights(monkeypatch):
    monkeypatch.delenv("MEDSEG_WEIGHTS", raising=False)
    assert stated_sha256(NAME) == WEIGHTS[NAME].sha256
    assert stated_sha256(None) is stated_sha256("stand_in") is stated_sha256("beit_base") is None


def test_what_the_hub_does_not_hold_is_not_fetched(monkeypatch):
    monkeypatch.delenv("MEDSEG_WEIGHTS", raising=False)
    with pytest.raises(InputError, match="missing") as caught:
        read_weights("tiny_vit_sa1b")
    assert "hub" not in caught.value.do


def test_no_hub(monkeypatch):
    def offline(*arguments, **options):
        raise OSError("no route")

    monkeypatch.delenv("MEDSEG_WEIGHTS", raising=False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(InputError, match="could not be fetched") as caught:
        read_weights(NAME)
    assert "MEDSEG_WEIGHTS" in caught.value.do


def test_the_right_file_fills_the_encoder(folder, monkeypatch):
    state = timm.create_model(TINY, img_size=32).state_dict()
    card = file_as(folder, monkeypatch, state)
    encoder = TimmEncoder(TINY, 1, 3, 32, TAPS)
    report = encoder.load("own", "center")
    assert (report.source, report.sha256, report.coverage) == ("own", card.sha256, 1.0)
    assert report.counts() == {"inflated": 1, "mapped": len(encoder.trunk.state_dict()) - 1, "skipped": 4}
    assert torch.equal(encoder.trunk.blocks[7].mlp.fc1.weight, state["blocks.7.mlp.fc1.weight"])


@pytest.mark.parametrize(
    "other",
    [
        lambda: {"conv1.weight": torch.zeros(3)},
        # Same key names, another width.
        lambda: {
            k: v[..., :64].contiguous()
            for k, v in timm.create_model(TINY, img_size=32).state_dict().items()
            if k != "patch_embed.proj.weight"
        },
    ],
    ids=["other keys", "other shapes"],
)
def test_another_architecture_is_refused_and_changes_nothing(other, folder, monkeypatch):
    file_as(folder, monkeypatch, other())
    encoder = TimmEncoder(TINY, 1, 3, 32, TAPS)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with pytest.raises(InputError, match="do not fit"):
        encoder.load("own", "center")
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_low_coverage_is_refused():
    report = LoadReport("own", None, {"a": "mapped"}, coverage=0.5, drawn=0.25)
    report.require(0.75)
    with pytest.raises(InputError, match="do not fit") as caught:
        report.require(0.9)
    assert "0.500" in caught.value.got


def test_stand_in_is_the_same_at_every_call():
    template = {
        "norm.weight": torch.empty(400),
        "mlp.weight": torch.empty(20, 20),
        "mlp.bias": torch.empty(400),
    }
    first, second = stand_in_state(template), stand_in_state(template)
    assert all(torch.equal(first[key], second[key]) for key in template)
    assert {key: value.shape for key, value in first.items()} == {k: v.shape for k, v in template.items()}
    assert first["norm.weight"].mean().item() == pytest.approx(1, abs=0.01)
    assert first["mlp.bias"].std().item() == pytest.approx(0.02, rel=0.2)


def test_stand_in_of_a_batch_norm_is_one_that_can_run():
    template = torch.nn.Sequential(torch.nn.Identity(), torch.nn.BatchNorm2d(8)).state_dict()
    state = stand_in_state({key.replace("1.", "conv.bn."): value for key, value in template.items()})
    assert (state["conv.bn.running_var"] > 0.5).all() and (state["conv.bn.weight"] > 0.5).all()
    count = state["conv.bn.num_batches_tracked"]
    assert count.dtype == torch.int64 and count == 0


@pytest.mark.real_weights
@pytest.mark.parametrize("slices", [1, 5])
@pytest.mark.parametrize("rule", ["center", "average"])
@pytest.mark.parametrize(("name", "bound"), [(NAME, 1e-5), ("deit_tiny", 1e-4)])
def test_real_weights_load_whole_and_see_what_timm_sees(name, bound, rule, slices):
    card = WEIGHTS[name]
    path = os.path.join(os.environ["MEDSEG_WEIGHTS"], card.file)
    plain = timm.create_model(card.encoder, pretrained=True, pretrained_cfg_overlay={"file": path}).eval()
    encoder = TimmEncoder(card.encoder, 1, slices, 224, TAPS).eval()
    report = encoder.load(name, rule)
    assert (report.coverage, report.sha256) == (1.0, card.sha256)
    assert set(report.counts()) == {"mapped", "inflated", "skipped"}
    gray = torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        flat = plain.forward_intermediates(
            gray.expand(-1, 3, -1, -1),
            indices=list(TAPS),
            norm=False,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        lifted = encoder(gray[:, :, None].expand(-1, -1, slices, -1, -1))
    for ours, theirs in zip(lifted, flat, strict=True):
        # Trained ViTs have a few large features: the bound is relative to them.
        assert (ours - theirs).abs().max() <= bound * theirs.abs().max()


@pytest.mark.real_weights
@pytest.mark.parametrize("name", [name for name, card in WEIGHTS.items() if card.sha256])
def test_real_files_fill_their_encoder(name):
    state, card = read_weights(name)
    assert card is WEIGHTS[name]
    taps = TAPS if card.keys == "timm" else (0, 1, 2, 3)
    report = TimmEncoder(card.encoder, 1, 5, 64, taps).load(name, "center")
    counts = report.counts()
    assert report.coverage == 1.0 and counts["inflated"] == 1
    # Every key of the file is accounted for.
    assert sum(counts.values()) == len(state)
