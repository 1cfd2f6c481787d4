"""Depth-wise convolutions on token volumes are those of Conv3d."""

import pytest
import torch
from torch import nn

from medseg.adapters.depthwise import CubeConv, DepthConv, PlaneConv

KERNELS = [
    (PlaneConv, (1, 3, 3)),
    (PlaneConv, (1, 5, 5)),
    (DepthConv, (3, 1, 1)),
    (DepthConv, (5, 1, 1)),
    (CubeConv, (9, 9, 9)),
]


@pytest.mark.parametrize(("ours", "kernel"), KERNELS)
def test_same_function_and_parameters_as_conv3d(ours, kernel):
    torch.manual_seed(0)
    convolution = ours(4, max(kernel))
    padding = tuple(edge // 2 for edge in kernel)
    reference = nn.Conv3d(4, 4, kernel, padding=padding, groups=4)
    with torch.no_grad():
        reference.weight.copy_(convolution.weight.view_as(reference.weight))
        reference.bias.copy_(convolution.bias)
    volume = torch.randn(2, 3, 4, 5, 4)
    expected = reference(volume.movedim(-1, 1)).movedim(1, -1)
    torch.testing.assert_close(convolution(volume), expected)


@pytest.mark.parametrize("ours", [PlaneConv, DepthConv])
def test_bf16_gradients_are_those_of_float32(ours):
    torch.manual_seed(0)
    convolution, volume = ours(256, 3), torch.randn(1, 2, 4, 4, 256)
    convolution(volume).square().mean().backward()
    expected, convolution.weight.grad = convolution.weight.grad, None
    with torch.autocast("cpu", torch.bfloat16):
        convolution(volume).square().mean().backward()
    assert (convolution.weight.grad - expected).norm() < 0.02 * expected.norm()
