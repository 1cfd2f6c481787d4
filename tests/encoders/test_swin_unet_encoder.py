"""The encoder of Swin-Unet: its size, timm's Swin with windows of 4, the skips, weights with windows of 7."""

import pytest
import torch
from block_calls import check_recomputed
from encoder_families import small

import medseg.compat  # noqa: F401  isort: skip
import timm
from timm.models.swin_transformer import SwinTransformer

from medseg.encoders import timm_encoder
from medseg.encoders.sources import WEIGHTS
from medseg.encoders.swin_unet import PUBLISHED, SwinUnetEncoder
from medseg.errors import InputError

PX = 128


@pytest.fixture
def encoder(monkeypatch):
    """Narrow, with the blocks and windows of the real one."""
    monkeypatch.setattr(
        timm, "create_model", lambda name, **o: small(name, **({"depths": (2, 2, 6, 2), "img_size": 224} | o))
    )
    torch.manual_seed(0)
    return SwinUnetEncoder(4, 1, PX)


def images():
    return torch.randn(2, 4, 1, PX, PX, generator=torch.Generator().manual_seed(0))


def test_size_is_that_of_med_tuning_part_by_part():
    with torch.device("meta"):
        trunk = SwinUnetEncoder(4, 1, PX).plane.trunk

    def count(*modules):
        return sum(p.numel() for module in modules for p in module.parameters())

    assert count(trunk.patch_embed) == 6_432 and count(trunk.norm) == 1_536
    # The paper's code merges patches at the end of a stage, timm at the start of the next.
    merges = [stage.downsample for stage in trunk.layers][1:] + [torch.nn.Identity()]
    stages = [count(stage.blocks, merge) for stage, merge in zip(trunk.layers, merges, strict=True)]
    assert stages == [298_470, 1_186_764, 4_732_824, 14_178_096]


def test_maps_are_what_enters_the_stages_and_the_normed_end(encoder):
    widths = {"embed_dim": 12, "num_heads": (1, 2, 3, 6)}
    plain = SwinTransformer(PX, in_chans=4, num_classes=0, depths=(2, 2, 2, 2), window_size=4, **widths)
    plain.load_state_dict(encoder.plane.trunk.state_dict())
    entering = []
    for stage in plain.layers:
        stage.blocks.register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0]))
    encoder.eval(), plain.eval()
    with torch.no_grad():
        end = plain.forward_features(images()[:, :, 0])
        maps = encoder(images())
    for ours, theirs in zip(maps, [*entering[:-1], end], strict=True):
        torch.testing.assert_close(ours, theirs.movedim(-1, 1))
    assert [m.shape[1:] for m in maps] == [
        (c, PX // s, PX // s) for c, s in zip(encoder.channels, encoder.strides, strict=True)
    ]


def test_gradients_reach_every_parameter(encoder):
    sum(m.square().mean() for m in encoder(images())).backward()
    assert not [name for name, p in encoder.named_parameters() if p.grad is None]


def test_weights_with_windows_of_7_fill_it_whole(encoder):
    report = encoder.load("stand_in", "average")
    state = encoder.plane.trunk.state_dict()
    assert report.coverage == 1.0 and set(state) <= set(report.actions)
    tables = [key for key in state if key.endswith("bias_table")]
    assert len(tables) == 8 and all(state[key].shape[0] == 7**2 for key in tables)
    assert {report.actions[key] for key in tables} == {"resized"}


def test_published_blocks_that_are_cut_off_are_skipped(encoder, monkeypatch):
    published = timm.create_model(PUBLISHED).state_dict()
    monkeypatch.setattr(timm_encoder, "read_weights", lambda name: (published, WEIGHTS["vit_tiny_augreg"]))
    report = encoder.load("swin_tiny", "average")
    assert report.coverage == 1.0 and set(published) <= set(report.actions)
    assert report.actions["norm.weight"] == "mapped"
    cut = [key for key in published if key.startswith(tuple(f"layers.2.blocks.{n}." for n in (2, 3, 4, 5)))]
    skipped = {key for key, action in report.actions.items() if action == "skipped"}
    assert skipped == {*cut, "head.fc.weight", "head.fc.bias"}


def test_recomputed_activations_change_no_bit(encoder):
    def step():
        encoder.zero_grad()
        sum(m.square().mean() for m in encoder(images())).backward()
        return [p.grad for p in encoder.parameters()]

    blocks = [site.block for site in encoder.sites()]
    plain, again = check_recomputed(blocks, step, encoder.recompute_activations)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_sites_are_two_blocks_a_stage(encoder):
    sites = encoder.sites()
    assert [(site.stage, site.closes_stage) for site in sites] == [
        (s, n == 1) for s in range(4) for n in (0, 1)
    ]
    assert all(encoder.get_submodule(site.name) is site.block for site in sites)


def test_other_taps():
    with pytest.raises(InputError, match="four stages"):
        SwinUnetEncoder(1, 1, PX, (0, 1))
