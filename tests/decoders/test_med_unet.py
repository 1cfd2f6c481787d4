"""U-Net of Med-Tuning's Table 8: the size of the image, and every map where it belongs."""

import pytest
import torch

from medseg.decoders.med_unet import MedUNet

WIDTHS = [9, 12, 16, 20]


def maps(sides=(2, 2, 2, 2)):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, w, s, s, generator=generator) for w, s in zip(WIDTHS, sides, strict=True)]


@pytest.mark.parametrize(
    ("strides", "sides", "edge"),
    [
        (None, (2, 2, 2, 2), 32),
        ([16] * 4, (2, 2, 2, 2), 32),
        ([4, 8, 16, 32], (8, 4, 2, 1), 32),
        # Patches of 14 px are doubled beyond the image.
        ([14] * 4, (2, 2, 2, 2), 32),
    ],
)
def test_logits_have_the_size_of_the_image(strides, sides, edge):
    assert MedUNet(WIDTHS, 16, 5, strides)(maps(sides)).shape == (1, 5, edge, edge)


def test_widths_halve_from_doubling_to_doubling():
    decoder = MedUNet(WIDTHS, 16, 3)
    assert [(conv.in_channels, conv.out_channels) for conv in decoder.refine] == [
        (20, 16),
        (16, 8),
        (8, 4),
        (4, 2),
    ]
    # The shallowest map enters last, a third as wide.
    assert [(conv.in_channels, conv.out_channels) for conv in decoder.skips] == [(16, 20), (12, 16), (3, 8)]


@pytest.mark.parametrize("number", range(4))
def test_a_shallower_map_enters_at_a_finer_level(number):
    decoder, features = MedUNet(WIDTHS, 16, 3).eval(), [feature.requires_grad_() for feature in maps()]
    met = []
    for conv in decoder.refine:
        conv.register_forward_pre_hook(lambda _, inputs: met.append(inputs[0]))
    decoder(features)
    seen = [torch.autograd.grad(level.sum(), features, retain_graph=True, allow_unused=True) for level in met]
    reached = [gradients[number] is not None for gradients in seen]
    assert reached == [level >= 2 - number for level in range(4)]


def test_more_maps_than_doublings():
    logits = MedUNet(WIDTHS, 16, 3, [4] * 4)(maps())
    assert logits.shape == (1, 3, 8, 8)
