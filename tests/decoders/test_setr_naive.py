"""SETR-Naive: the resolution of the logits, the last map alone."""

import torch

from medseg.decoders.setr_naive import SetrNaive


def test_only_the_last_map_is_used_and_at_its_resolution():
    maps = [torch.randn(2, width, 5, 5, requires_grad=True) for width in (8, 12)]
    logits = SetrNaive([8, 12], 6, 4)(maps)
    assert logits.shape == (2, 4, 5, 5)
    logits.square().sum().backward()
    assert maps[0].grad is None and maps[1].grad.abs().sum() > 0


def test_a_pixel_is_classified_by_its_own_token():
    decoder, feature = SetrNaive([12], 6, 4).eval(), torch.randn(1, 12, 4, 4, requires_grad=True)
    decoder([feature])[:, :, 1, 2].sum().backward()
    assert feature.grad.abs().sum(dim=(0, 1)).nonzero().tolist() == [[1, 2]]
