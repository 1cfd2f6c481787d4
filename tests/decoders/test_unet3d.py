"""The control: logits on the grid of its window, whole in three dimensions."""

import pytest
import torch

from medseg.decoders.unet3d import UNet3D


@pytest.mark.parametrize(("in_channels", "shape"), [(1, (16, 16, 32)), (2, (32, 16, 16))])
def test_logits_have_the_size_of_the_window(in_channels, shape):
    with torch.device("meta"):
        network = UNet3D(in_channels, 4).eval()
        assert network(torch.empty(2, in_channels, *shape)).shape == (2, 4, *shape)


def test_neighbouring_slices_are_seen():
    network = UNet3D(1, 2).eval()
    windows = torch.randn(1, 1, 16, 32, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    network(windows)[:, :, 8].square().sum().backward()
    assert windows.grad is not None
    assert (windows.grad.abs().sum((0, 1, 3, 4)) > 0).sum() > 3
