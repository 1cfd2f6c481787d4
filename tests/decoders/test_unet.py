"""The light U-Net decoder: the finest level's resolution on both kinds of maps, and a use of every map."""

import pytest
import torch

from medseg.decoders.unet import UNet
from medseg.decoders.upernet import UPerNet

WIDTHS = [8, 12, 16, 20]
SWIN = [4, 8, 16, 32]


def maps(sides, batch=2):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, width, side, side, generator=generator)
        for width, side in zip(WIDTHS, sides, strict=True)
    ]


KINDS = pytest.mark.parametrize(
    ("strides", "sides"), [(None, (3, 3, 3, 3)), ([14] * 4, (3, 3, 3, 3)), (SWIN, (24, 12, 6, 3))]
)


@KINDS
def test_logits_are_eight_times_as_fine_as_the_deepest_map(strides, sides):
    decoder = UNet(WIDTHS, 32, 5, strides)
    assert decoder(maps(sides)).shape == (2, 5, 24, 24)


@pytest.mark.parametrize("sides", [(23, 12, 6, 3), (8, 4, 2, 1)])
def test_a_pyramid_may_be_odd_and_end_in_one_pixel(sides):
    decoder = UNet(WIDTHS, 32, 5, SWIN)
    assert decoder(maps(sides)).shape == (2, 5, sides[0], sides[0])


@KINDS
def test_every_map_matters(strides, sides):
    decoder = UNet(WIDTHS, 32, 5, strides)
    features = [feature.requires_grad_() for feature in maps(sides)]
    decoder(features).square().sum().backward()
    assert all(feature.grad is not None and feature.grad.abs().sum() > 0 for feature in features)


@KINDS
def test_images_of_a_batch_do_not_mix_in_evaluation(strides, sides):
    decoder = UNet(WIDTHS, 32, 5, strides).eval()
    with torch.no_grad():
        both = decoder(maps(sides))
        second = decoder([feature[1:] for feature in maps(sides)])
    torch.testing.assert_close(both[1:], second, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("widths", "strides"), [([768] * 4, [16] * 4), ([128, 256, 512, 1024], SWIN)])
def test_it_is_light(widths, strides):
    """Fewer than an eighth of UPerNet's parameters at the same width."""
    with torch.device("meta"):
        light, heavy = (decoder(widths, 512, 14, strides) for decoder in (UNet, UPerNet))
    count = [sum(p.numel() for p in decoder.parameters()) for decoder in (light, heavy)]
    assert count[0] < count[1] / 8
