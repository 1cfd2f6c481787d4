"""SETR-PUP: the published size, half the image, and the classifier in front of the last doubling."""

import pytest
import torch
from torch.nn import functional

from medseg.decoders.setr_pup import SetrPup


def last_map(channels, side=3, batch=2):
    return torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_size_on_a_base_vit_with_14_classes_is_that_of_transseg():
    with torch.device("meta"):
        decoder = SetrPup([768] * 4, 768, 14)
    assert sum(p.numel() for p in decoder.parameters()) == 21_247_502


@pytest.mark.parametrize(
    ("strides", "factor"), [(None, 8), ([16] * 4, 8), ([14] * 4, 8), ([4, 8, 16, 32], 16)]
)
def test_logits_have_half_the_size_of_the_image(strides, factor):
    decoder = SetrPup([8, 12, 16, 20], 8, 5, strides)
    assert decoder([last_map(20)]).shape == (2, 5, 3 * factor, 3 * factor)


def test_to_classify_and_to_double_may_change_places():
    """The published order doubles last, ours leaves that to the resize to the image."""
    decoder = SetrPup([6], 8, 5, [16]).eval()
    double = {"scale_factor": 2, "mode": "bilinear", "align_corners": False}
    with torch.no_grad():
        refined = decoder.refine(last_map(6))
        published = decoder.classify(functional.interpolate(refined, **double))
        torch.testing.assert_close(functional.interpolate(decoder([last_map(6)]), **double), published)


def test_only_the_last_map_is_used():
    decoder = SetrPup([8, 12], 8, 5)
    maps = [last_map(8).requires_grad_(), last_map(12).requires_grad_()]
    decoder(maps).square().sum().backward()
    assert maps[0].grad is None
    assert maps[1].grad is not None and maps[1].grad.abs().sum() > 0
