"""The ViT encoder keeps its contract, at the sizes that are known, and refuses what it cannot be."""

import pytest
import torch

from medseg.encoders.vit import ViTEncoder
from medseg.errors import InputError

TINY, TAPS = "vit_tiny_patch16_224", (3, 5, 7, 11)


@pytest.mark.parametrize(("in_channels", "slices", "px"), [(1, 3, 32), (2, 4, 48)])
def test_feature_maps_have_the_stated_channels_and_strides(in_channels, slices, px):
    with torch.device("meta"):
        encoder = ViTEncoder(TINY, in_channels, slices, px, TAPS)
        features = encoder(torch.empty(2, in_channels, slices, px, px))
    assert len(features) == len(encoder.channels) == len(encoder.strides) == 4
    for feature, channels, stride in zip(features, encoder.channels, encoder.strides, strict=True):
        assert feature.shape == (2, channels, px // stride, px // stride)


def test_taps_are_raw_outputs_of_the_named_blocks():
    encoder = ViTEncoder(TINY, 1, 1, 32, (0, 11)).eval()
    seen = {}
    for number in (0, 11):
        encoder.trunk.blocks[number].register_forward_hook(
            lambda module, inputs, tokens, number=number: seen.update({number: tokens})
        )
    with torch.no_grad():
        features = encoder(torch.randn(1, 1, 1, 32, 32))
    for feature, number in zip(features, (0, 11), strict=True):
        # Without the class token; rows of patches run along height.
        assert torch.equal(feature.flatten(2).mT, seen[number][:, 1:])


@pytest.mark.parametrize(("slices", "parameters"), [(1, 197_376), (5, 983_808)])
def test_beit_base_patch_embedding_grows_with_the_slices_alone(slices, parameters):
    with torch.device("meta"):
        encoder = ViTEncoder("beit_base_patch16_224", 1, slices, 224, TAPS)
    assert sum(p.numel() for p in encoder.trunk.patch_embed.proj.parameters()) == parameters


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "vit_of_nobody"}, "cannot build"),
        ({"image_px": 40}, "does not fit|cannot build"),
        ({"taps": (3, 12)}, "does not fit"),
    ],
)
def test_what_it_cannot_be_is_refused(changes, words):
    asked = {"architecture": TINY, "in_channels": 1, "slices": 3, "image_px": 32, "taps": TAPS} | changes
    with torch.device("meta"), pytest.raises(InputError, match=words) as caught:
        ViTEncoder(**asked)
    assert caught.value.expected and caught.value.got and caught.value.do


def test_another_image_size_resizes_positions_and_covers_all():
    encoder = ViTEncoder(TINY, 1, 3, 48, TAPS)
    report = encoder.load("stand_in", "center")
    assert report.actions["pos_embed"] == "resized"
    assert (report.coverage, report.sha256) == (1.0, None)
    assert encoder.trunk.pos_embed.shape == (1, 10, 192)
