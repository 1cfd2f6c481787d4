"""Foreign weights: the named file and no other, whole or not at all."""

import os
import string

import medseg.compat  # noqa: F401  isort: skip
import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from medseg.encoders import checkpoints
from medseg.encoders.checkpoints import WEIGHTS, LoadReport, WeightsCard, read_weights, stand_in_state
from medseg.encoders.vit import ViTEncoder
from medseg.errors import InputError
from medseg.files import sha256_of

TINY, TAPS = "vit_tiny_patch16_224", (3, 5, 7, 11)
NAME = "vit_tiny_augreg"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_WEIGHTS", str(tmp_path))
    return tmp_path


def file_as(folder, monkeypatch, state, name="own"):
    """Put a state into the folder and give it a card of its own."""
    path = folder / f"{name}.safetensors"
    if isinstance(state, bytes):
        path.write_bytes(state)
    else:
        save_file(state, path)
    card = WeightsCard(
        file=path.name,
        sha256=sha256_of(path),
        encoder=TINY,
        timm_name=name,
        trained_on="nothing",
        licence="none",
    )
    monkeypatch.setitem(WEIGHTS, name, card)
    return card


@pytest.mark.parametrize("name", WEIGHTS)
def test_cards_are_complete(name):
    card = WEIGHTS[name]
    assert len(card.sha256) == 64 and set(card.sha256) <= set(string.hexdigits.lower())
    assert timm.is_model(card.encoder) and card.timm_name.startswith(card.encoder)
    assert card.licence and card.trained_on


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
    encoder = ViTEncoder(TINY, 1, 3, 32, TAPS)
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
    encoder = ViTEncoder(TINY, 1, 3, 32, TAPS)
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


@pytest.mark.real_weights
@pytest.mark.parametrize("slices", [1, 5])
@pytest.mark.parametrize("rule", ["center", "average"])
def test_real_weights_load_whole_and_see_what_timm_sees(rule, slices):
    card = WEIGHTS[NAME]
    path = os.path.join(os.environ["MEDSEG_WEIGHTS"], card.file)
    plain = timm.create_model(TINY, pretrained=True, pretrained_cfg_overlay={"file": path}).eval()
    encoder = ViTEncoder(TINY, 1, slices, 224, TAPS).eval()
    report = encoder.load(NAME, rule)
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
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.real_weights
@pytest.mark.parametrize("name", WEIGHTS)
def test_real_files_are_the_ones_on_the_cards(name):
    state, card = read_weights(name)
    assert card is checkpoints.WEIGHTS[name] and "patch_embed.proj.weight" in state
