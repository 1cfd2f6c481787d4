"""Inflation rules: 2D kernels to 3D kernels, as pure functions over a named axis.

Source: TransSeg (Zhang et al. 2022), section 3.2. A kernel is (out, in, height, width); the result has a
depth axis in front of height: (out, in, depth, height, width).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from medseg.shapes import KERNEL_DEPTH, KERNEL_IN

Kernel2D = Float[Tensor, "out inp h w"]
Kernel3D = Float[Tensor, "out inp d h w"]


def sum_to_gray(kernel: Float[Tensor, "out rgb h w"], in_channels: int) -> Float[Tensor, "out inp h w"]:
    """Sum over RGB, then share equally over the input channels.

    On an image whose channels are equal the response is that of the RGB kernel on the gray image.
    """
    gray = kernel.sum(KERNEL_IN, keepdim=True)
    return gray.expand(-1, in_channels, -1, -1) / in_channels


def center(kernel: Kernel2D, depth: int, generator: Generator | None = None) -> Kernel3D:
    """Put the 2D kernel on the centre slice, zeros elsewhere: the net starts as the 2D net of that slice."""
    shape = list(kernel.unsqueeze(KERNEL_DEPTH).shape)
    shape[KERNEL_DEPTH] = depth
    inflated = kernel.new_zeros(shape)
    inflated.select(KERNEL_DEPTH, depth // 2).copy_(kernel)
    return inflated


def average(kernel: Kernel2D, depth: int, generator: Generator | None = None) -> Kernel3D:
    """Repeat the 2D kernel over depth, divided by depth: the net starts as the 2D net of the mean slice."""
    return torch.stack([kernel / depth] * depth, dim=KERNEL_DEPTH)


def random(kernel: Kernel2D, depth: int, generator: Generator | None = None) -> Kernel3D:
    """Draw the 3D kernel anew, uniform in +-1 / sqrt(fan in), torch's own bound; the 2D kernel is dropped."""
    out_channels, in_channels, height, width = kernel.shape
    bound = (in_channels * depth * height * width) ** -0.5
    drawn = torch.rand(out_channels, in_channels, depth, height, width, generator=generator)
    return ((2 * drawn - 1) * bound).to(kernel)


Rule = Callable[[Tensor, int, Generator | None], Tensor]
RULES: dict[str, Rule] = {"center": center, "average": average, "random": random}
