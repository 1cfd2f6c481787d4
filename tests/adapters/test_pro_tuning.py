"""Pro-tuning: one block a stage, and what it computes."""

from functools import partial

import pytest
import torch
from tuned_encoders import check_laws, check_recomputation, stir, tuned_encoder

from medseg.adapters.pro_tuning import ProTuning
from medseg.errors import InputError


def test_one_block_a_stage():
    encoder, _ = tuned_encoder("vit")
    adapter = ProTuning(encoder.sites())
    assert [site.name for site in adapter.closing] == [f"trunk.blocks.{tap}" for tap in encoder.taps]


def test_laws_from_the_identity():
    check_laws(partial(ProTuning, zero_init=True), *tuned_encoder("vit_slices"))


def test_recomputed_activations_give_the_same_gradients():
    encoder, windows = tuned_encoder("swin")
    adapter = ProTuning(encoder.sites())
    stir(adapter)
    check_recomputation(adapter, encoder, windows)


def test_the_block_is_three_convolutions_of_each_slice():
    encoder, _ = tuned_encoder("vit")
    block = ProTuning(encoder.sites()).blocks[0]
    first, middle, last = block
    volume = torch.randn(2, 3, 4, 4, first.in_features)
    plane = volume[1, 2].movedim(-1, 0)[None]
    plane = torch.conv2d(plane, first.weight[..., None, None], first.bias)
    plane = torch.conv2d(plane, middle.weight, middle.bias, padding=2, groups=len(middle.weight))
    plane = torch.conv2d(plane, last.weight[..., None, None], last.bias)
    torch.testing.assert_close(block(volume)[1, 2], plane[0].movedim(0, -1))


def test_an_even_kernel_is_refused():
    encoder, _ = tuned_encoder("vit")
    with pytest.raises(InputError, match="kernel has no centre"):
        ProTuning(encoder.sites(), kernel=4)
