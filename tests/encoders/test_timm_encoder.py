"""One contract for every family of 2D encoders, the laws of inflation on each, and what is refused."""

import medseg.compat  # noqa: F401  isort: skip
import encoder_families as families
import pytest
import timm
import torch
from block_calls import check_recomputed
from encoder_families import BEIT, FAMILIES, OTHER_PX, PX, SWIN, TAPS, VIT

from medseg.encoders import mobile_sam, timm_encoder
from medseg.encoders.timm_encoder import TimmEncoder
from medseg.errors import InputError

TINY = "vit_tiny_patch16_224"
STRIDES = {
    SWIN: (4, 8, 16, 32),
    mobile_sam.NAME: (4, 8, 16, 16),
    "test_convnext": (4, 8, 16, 32),
}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(timm, "create_model", families.small)


@pytest.fixture
def lively(small, monkeypatch):
    """The stand-in's weights are small: maps of deep networks would hardly depend on the image."""
    monkeypatch.setattr(timm_encoder, "stand_in_state", families.lively_state)


def assert_same_maps(maps, expected):
    for ours, theirs in zip(maps, expected, strict=True):
        # A constant map would prove nothing.
        variation = theirs.flatten(2).std(-1).mean()
        assert variation > 1e-2
        assert (ours - theirs).abs().max() <= 1e-3 * variation


def windows_of(name, in_channels=1, slices=3, px=PX):
    return torch.randn(2, in_channels, slices, px, px, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("in_channels", "slices", "px"), [(1, 3, PX), (2, 4, OTHER_PX)])
def test_contract(small, name, in_channels, slices, px):
    encoder = TimmEncoder(name, in_channels, slices, px, TAPS)
    assert encoder.strides == STRIDES.get(name, (16,) * 4)
    maps = encoder(windows_of(name, in_channels, slices, px))
    assert len(maps) == len(encoder.channels) == 4
    for feature, channels, stride in zip(maps, encoder.channels, encoder.strides, strict=True):
        assert feature.shape == (2, channels, px // stride, px // stride)
    sum(feature.square().mean() for feature in maps).backward()
    assert not [
        name
        for name, parameter in encoder.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.isfinite().all())
    ]


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_inflated_it_starts_as_timms_own_2d_network(lively, name):
    slices = 3
    flat = families.plain(name)
    flat.load_state_dict(families.lively_state(flat.state_dict()))
    volume = windows_of(name, 1, slices)[:1]
    constant = volume[:, :, :1].expand(-1, -1, slices, -1, -1)

    def reference(gray):
        rgb = gray.expand(-1, 3, -1, -1)
        return flat.forward_intermediates(
            rgb, indices=list(TAPS), norm=False, output_fmt="NCHW", intermediates_only=True
        )

    encoder = TimmEncoder(name, 1, slices, PX, TAPS).eval()
    for rule, seen, same_as in (
        ("center", volume, volume[:, :, slices // 2]),
        ("center", constant, volume[:, :, 0]),
        ("average", constant, volume[:, :, 0]),
        ("average", volume, volume.mean(2)),
    ):
        report = encoder.load("stand_in", rule)
        assert (report.coverage, set(report.counts())) == (1.0, {"inflated", "mapped"})
        assert_same_maps(encoder(seen), reference(same_as))


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_center_at_another_size_is_the_network_of_one_slice(lively, name):
    volume = windows_of(name, px=OTHER_PX)
    three, one = (TimmEncoder(name, 1, slices, OTHER_PX, TAPS).eval() for slices in (3, 1))
    # A forward pass before: what a network keeps of its tables must not outlive the load.
    three(volume), one(volume[:, :, :1])
    for encoder in (three, one):
        report = encoder.load("stand_in", "center")
    changes = {VIT: 1, families.DEIT: 1, BEIT: 4, SWIN: 4}
    assert report.counts().get("resized", 0) == changes.get(name, 0)
    assert_same_maps(three(volume), one(volume[:, :, 1:2]))


def test_taps_are_raw_outputs_of_the_named_blocks(small):
    for name in (VIT, BEIT):
        encoder = TimmEncoder(name, 1, 1, 32, (0, 3)).eval()
        seen = {}
        for number in (0, 3):
            encoder.trunk.blocks[number].register_forward_hook(
                lambda module, inputs, tokens, number=number, seen=seen: seen.update({number: tokens})
            )
        with torch.no_grad():
            features = encoder(torch.randn(1, 1, 1, 32, 32))
        for feature, number in zip(features, (0, 3), strict=True):
            # Without the class token; rows of patches run along height.
            assert torch.equal(feature.flatten(2).mT, seen[number][:, 1:])


def test_what_lies_behind_the_last_tap_is_cut_off_and_skipped(small):
    encoder = TimmEncoder(VIT, 1, 3, 32, (0, 2))
    assert len(encoder.trunk.blocks) == 3
    assert encoder.load("stand_in", "center").coverage == 1.0


@pytest.mark.parametrize("name", FAMILIES)
def test_attention_by_products_is_attention(lively, name):
    encoder = TimmEncoder(name, 1, 3, PX, TAPS).eval()
    encoder.load("stand_in", "average")
    windows = windows_of(name)
    with torch.no_grad():
        before = encoder(windows)
        encoder.attend_by_products()
        assert not any(getattr(module, "fused_attn", False) for module in encoder.modules())
        assert_same_maps(encoder(windows), before)


@pytest.mark.parametrize("name", [VIT, BEIT, SWIN])
def test_recomputed_activations_change_no_bit(small, name):
    encoder = TimmEncoder(name, 1, 3, PX, TAPS)

    def step():
        encoder.zero_grad()
        sum(feature.square().mean() for feature in encoder(windows_of(name))).backward()
        return [parameter.grad for parameter in encoder.parameters()]

    blocks = [site.block for site in encoder.sites()]
    plain, again = check_recomputed(blocks, step, encoder.recompute_activations)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_batch_norms_are_not_recomputed(small):
    with pytest.raises(InputError, match="recomputed"):
        TimmEncoder(mobile_sam.NAME, 1, 3, PX, TAPS).recompute_activations()


def test_no_path_is_dropped_at_random(small):
    encoder = TimmEncoder(SWIN, 1, 3, PX, TAPS).train()
    first, second = encoder(windows_of(SWIN)), encoder(windows_of(SWIN))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("slices", "parameters"), [(1, 197_376), (5, 983_808)])
def test_beit_base_patch_embedding_grows_with_the_slices_alone(slices, parameters):
    with torch.device("meta"):
        encoder = TimmEncoder(BEIT, 1, slices, 224, (3, 5, 7, 11))
    assert sum(p.numel() for p in encoder.trunk.patch_embed.proj.parameters()) == parameters


def test_rows_of_the_bias_tables_of_beit_at_the_size_of_the_paper():
    with torch.device("meta"):
        encoder = TimmEncoder(BEIT, 1, 5, 512, (3, 5, 7, 11))
    tables = [value for key, value in encoder.state_dict().items() if key.endswith("position_bias_table")]
    assert {tuple(table.shape) for table in tables} == {(3972, 12)} and len(tables) == 12


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "vit_of_nobody"}, "cannot build"),
        ({"image_px": 40}, "does not fit|cannot build"),
        ({"taps": (3, 12)}, "does not fit"),
        ({"taps": (5, 3)}, "does not fit"),
        ({"architecture": SWIN, "image_px": 48, "taps": TAPS}, "does not fit"),
        ({"architecture": SWIN, "image_px": 64}, "does not fit"),
    ],
)
def test_what_it_cannot_be_is_refused(changes, words):
    asked = {"architecture": TINY, "in_channels": 1, "slices": 3, "image_px": 32, "taps": (3, 5, 7, 11)}
    with torch.device("meta"), pytest.raises(InputError, match=words) as caught:
        TimmEncoder(**(asked | changes))
    assert caught.value.expected and caught.value.got and caught.value.do


@pytest.mark.parametrize("shape", [(5, 1), (1, 4), (2, 5)])
def test_windows_of_other_axes_are_refused(small, shape):
    encoder = TimmEncoder(TINY, 1, 5, PX, (3,))
    assert encoder(torch.zeros(1, 1, 5, PX, PX))[0].shape[0] == 1
    with pytest.raises(InputError, match="windows do not fit") as caught:
        encoder(torch.zeros(1, *shape, PX, PX))
    assert "C = 1, D = 5" in caught.value.expected


def test_a_network_without_intermediate_maps_is_refused(monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda name, **options: torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match="intermediate maps"):
        timm_encoder.TimmEncoder(TINY, 1, 3, 32, TAPS)


def test_a_kernel_that_is_standardised_is_not_inflated():
    encoder = TimmEncoder("test_nfnet", 1, 3, 64, TAPS)
    with pytest.raises(InputError, match="cannot be inflated") as caught:
        encoder.load("stand_in", "center")
    assert "StdConv" in caught.value.got


def test_another_image_size_resizes_positions_and_covers_all():
    encoder = TimmEncoder(TINY, 1, 3, 48, (3, 5, 7, 11))
    report = encoder.load("stand_in", "center")
    assert report.actions["pos_embed"] == "resized"
    assert (report.coverage, report.sha256) == (1.0, None)
    assert encoder.trunk.pos_embed.shape == (1, 10, 192)
