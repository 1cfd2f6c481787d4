"""UPerNet: the published size, the finest level's resolution, and a decision that uses every map."""

import pytest
import torch

from medseg.decoders.upernet import UPerNet

WIDTHS = [8, 12, 16, 20]


def maps(side, batch=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, width, side, side, generator=generator) for width in WIDTHS]


def test_size_on_a_base_vit_with_14_classes():
    with torch.device("meta"):
        decoder = UPerNet([768] * 4, 768, 14)
    assert sum(p.numel() for p in decoder.parameters()) == 74_940_686


@pytest.mark.parametrize("side", [2, 3, 8])
def test_logits_are_four_times_as_fine_as_the_tokens(side):
    decoder = UPerNet(WIDTHS, 8, 5)
    assert decoder(maps(side)).shape == (2, 5, 4 * side, 4 * side)


def test_every_map_matters():
    decoder = UPerNet(WIDTHS, 8, 5).eval()
    features = [feature.requires_grad_() for feature in maps(4)]
    decoder(features).square().sum().backward()
    assert all(feature.grad is not None and feature.grad.abs().sum() > 0 for feature in features)


def test_images_of_a_batch_do_not_mix_in_evaluation():
    decoder = UPerNet(WIDTHS, 8, 5).eval()
    with torch.no_grad():
        both = decoder(maps(4))
        second = decoder([feature[1:] for feature in maps(4)])
    torch.testing.assert_close(both[1:], second, rtol=1e-5, atol=1e-6)


def test_memory_layout_does_not_change_the_logits():
    decoder = UPerNet(WIDTHS, 8, 5).eval()
    with torch.no_grad():
        plain = decoder(maps(4))
        last = decoder([feature.to(memory_format=torch.channels_last) for feature in maps(4)])
    torch.testing.assert_close(plain, last, rtol=1e-5, atol=1e-6)
