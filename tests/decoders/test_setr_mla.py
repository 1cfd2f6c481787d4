"""SETR-MLA: the resolution of the logits, sums from deep to shallow."""

import pytest
import torch

from medseg.decoders.setr_mla import SetrMla

WIDTHS = [8, 12, 16, 20]


def maps(sides=(4, 4, 4, 4)):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, w, s, s, generator=generator) for w, s in zip(WIDTHS, sides, strict=True)]


@pytest.mark.parametrize("sides", [(4, 4, 4, 4), (16, 8, 4, 2)])
def test_logits_have_the_resolution_of_the_first_map(sides):
    assert SetrMla(WIDTHS, 8, 5)(maps(sides)).shape == (2, 5, sides[0], sides[0])


@pytest.mark.parametrize("number", range(4))
def test_a_stream_holds_its_map_and_all_deeper_ones(number):
    decoder, features = SetrMla(WIDTHS, 8, 5).eval(), [f.requires_grad_() for f in maps()]
    # The classifier sees the deepest stream first.
    inputs = []
    decoder.classify.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    decoder(features)
    inputs[0].unflatten(1, (4, 8))[:, 3 - number].sum().backward()
    assert [f.grad is not None and bool(f.grad.any()) for f in features] == [n >= number for n in range(4)]
