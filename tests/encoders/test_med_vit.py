"""The ViT of Med-Tuning: timm's own without class token, its size, and weights without positions."""

import pytest
import torch
from torch import nn

import medseg.compat  # noqa: F401  isort: skip
import timm

from medseg.encoders.med_vit import MedVit
from medseg.errors import InputError

TAPS = (1, 2, 3, 5)


def images(px=64):
    return torch.randn(2, 4, 1, px, px, generator=torch.Generator().manual_seed(0))


def test_size_is_that_of_med_tuning():
    with torch.device("meta"):
        trunk = MedVit("vit_base_patch16_224", 4, 1, 128, (2, 5, 8, 11)).plane.trunk
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in trunk.named_children()}
    assert trunk.pos_embed.numel() == 49_152 and count["norm"] == 1_536
    everything = sum(p.numel() for p in trunk.parameters())
    # All that the paper counts, without what trains beside it in its decoder.
    assert everything == 100_849_156 - 15_007_492 + 49_152 + 1_536
    assert count["patch_embed"] + count["blocks"] == 100_849_156 - 15_007_492


def test_maps_are_those_of_timm_without_class_token():
    torch.manual_seed(0)
    encoder = MedVit("test_vit", 4, 1, 64, TAPS).eval()
    options = {"class_token": False, "global_pool": "avg", "fc_norm": False, "norm_layer": nn.LayerNorm}
    plain = timm.create_model("test_vit", img_size=64, in_chans=4, num_classes=0, **options).eval()
    plain.load_state_dict(encoder.plane.trunk.state_dict())
    raw, normed = (
        plain.forward_intermediates(images()[:, :, 0], indices=list(TAPS), norm=n, intermediates_only=True)
        for n in (False, True)
    )
    for ours, theirs in zip(encoder(images()), [*raw[:-1], normed[-1]], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_load_leaves_the_positions_at_random_and_says_so():
    encoder = MedVit("test_vit", 4, 1, 64, TAPS)
    trunk = encoder.plane.trunk
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    report = encoder.load("stand_in", "average")
    after = trunk.state_dict()
    assert before.keys() == after.keys() and {*after} <= {*report.actions}
    assert [key for key in after if torch.equal(before[key], after[key])] == ["pos_embed"]
    assert report.actions["pos_embed"] == "drawn"
    assert report.actions["norm.weight"] == "mapped"
    total = sum(p.numel() for p in trunk.parameters())
    assert report.drawn == pytest.approx(trunk.pos_embed.numel() / total)
    assert report.coverage == pytest.approx(1 - report.drawn)
    assert trunk.pos_embed.requires_grad


def test_positions_are_there_again_after_a_load_that_failed():
    encoder = MedVit("test_vit", 4, 1, 64, TAPS)
    with pytest.raises(InputError):
        encoder.load("nobody", "average")
    assert isinstance(encoder.plane.trunk.pos_embed, nn.Parameter)


@pytest.mark.real_weights
def test_published_weights_fill_it():
    encoder = MedVit("vit_tiny_patch16_224", 4, 1, 64, (2, 5, 8, 11))
    report = encoder.load("vit_tiny_augreg", "average")
    assert report.coverage + report.drawn == pytest.approx(1)
    assert report.actions["cls_token"] == "skipped"
    assert report.counts().keys() == {"mapped", "inflated", "drawn", "skipped"}


@pytest.mark.parametrize("architecture", ["swin_tiny_patch4_window7_224", "beit_base_patch16_224"])
def test_another_family(architecture):
    with torch.device("meta"), pytest.raises(InputError, match="without class token"):
        MedVit(architecture, 1, 1, 64, (0, 1, 2, 3))
