"""SETR-PUP of Med-Tuning's Table 8: the resolution of the logits."""

import pytest
import torch

from medseg.decoders.med_setr_pup import MedSetrPup


@pytest.mark.parametrize(("strides", "factor"), [(None, 8), ([16, 16], 8), ([4, 32], 16)])
def test_logits_have_half_the_size_of_the_image(strides, factor):
    decoder = MedSetrPup([8, 12], 16, 5, strides)
    assert decoder([torch.randn(2, 8, 3, 3), torch.randn(2, 12, 3, 3)]).shape == (
        2,
        5,
        3 * factor,
        3 * factor,
    )


def test_only_the_last_map_is_used():
    maps = [torch.randn(2, width, 3, 3, requires_grad=True) for width in (8, 12)]
    MedSetrPup([8, 12], 16, 5)(maps).square().sum().backward()
    assert maps[0].grad is None and maps[1].grad.abs().sum() > 0
