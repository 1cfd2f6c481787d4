"""Channel dropout is torch's Dropout2d, and the rows of a share are those rows of the whole."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medseg.decoders.dropout import ChannelDropout


def features(rows=6, dtype=torch.float32):
    values = torch.randn(rows, 5, 3, 4, generator=torch.Generator().manual_seed(1))
    return values.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()


def dropped(layer, values, seed=11):
    torch.manual_seed(seed)
    return layer(values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_it_is_dropout2d_bit_for_bit(p, dtype):
    ours, theirs = features(dtype=dtype), features(dtype=dtype)
    first, second = dropped(ChannelDropout(p), ours), dropped(nn.Dropout2d(p), theirs)
    assert torch.equal(first, second) and first.dtype == dtype
    weights = torch.arange(first.numel()).reshape(first.shape)
    (first * weights).sum().backward()
    (second * weights).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)


@given(st.sampled_from([1, 2, 3, 6]), st.integers(0, 99))
def test_the_rows_of_a_share_are_those_of_the_whole(parts, seed):
    layer, whole = ChannelDropout(0.5), features().detach()
    expected, size = dropped(layer, whole, seed), 6 // parts
    for first in range(0, 6, size):
        layer.share = (first, size, 6)
        assert torch.equal(dropped(layer, whole[first : first + size], seed), expected[first : first + size])


def test_a_window_of_several_images_is_a_row():
    layer, whole = ChannelDropout(0.5), features().detach()
    expected = dropped(layer, whole, 3)
    for first in range(3):
        layer.share = (first, 1, 3)
        images = slice(2 * first, 2 * first + 2)
        assert torch.equal(dropped(layer, whole[images], 3), expected[images])


def test_nothing_is_dropped_in_evaluation_and_nothing_drawn():
    layer, values = ChannelDropout(0.5).eval(), features()
    layer.share = (4, 2, 8)
    torch.manual_seed(3)
    assert torch.equal(layer(values), values)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after)
