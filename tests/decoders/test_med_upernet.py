"""UPerNet of Med-Tuning: the published size part by part, one smoothing convolution, a use of every map."""

import pytest
import torch

from medseg.decoders.med_upernet import MedUPerNet

WIDTHS = [8, 12, 16, 20]


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def maps(sides=(4, 4, 4, 4)):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, w, s, s, generator=generator) for w, s in zip(WIDTHS, sides, strict=True)]


def test_size_is_that_of_med_tuning_part_by_part():
    with torch.device("meta"):
        d = MedUPerNet([768] * 4, 256, 4)
    parts = [
        count(d.narrow),
        count(d.pools, d.pooled),
        count(d.laterals, d.smooth, d.fuse),
        count(d.classify),
    ]
    assert parts == [197_376, 11_209_728, 3_540_480, 9_220]
    assert count(d) == sum(parts)


@pytest.mark.parametrize("sides", [(4, 4, 4, 4), (3, 3, 3, 3), (16, 8, 4, 2)])
def test_logits_have_the_resolution_of_the_first_map(sides):
    assert MedUPerNet(WIDTHS, 8, 5)(maps(sides)).shape == (2, 5, sides[0], sides[0])


def test_one_convolution_smooths_three_sums():
    decoder, seen = MedUPerNet(WIDTHS, 8, 5).eval(), []
    decoder.smooth.register_forward_hook(lambda *_: seen.append(1))
    decoder(maps())
    assert len(seen) == 3


@pytest.mark.parametrize("number", range(4))
def test_every_map_matters(number):
    decoder = MedUPerNet(WIDTHS, 8, 5).eval()
    changed = maps()
    changed[number] = changed[number] + torch.randn_like(changed[number])
    with torch.no_grad():
        assert not torch.allclose(decoder(maps()), decoder(changed))
