"""Inflation rules: 2D kernels to 3D kernels, as pure functions over a named axis.

Source: TransSeg (Zhang et al. 2022), section 3.2, for center, average and random. A kernel is (out, in,
height, width); the result has a depth axis in front of height: (out, in, depth, height, width). What each
rule keeps of the 2D response is stated by the laws in tests/inflation/test_rules.py. Every rule takes the
kernel, the number of slices (at least 1), and the generator that "random" draws from and the others ignore.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from medseg.errors import InputError
from medseg.shapes import KERNEL_DEPTH, KERNEL_IN

Kernel2D = Float[Tensor, "out inp h w"]
Kernel3D = Float[Tensor, "out inp d h w"]
COLOURS = 3


def sum_to_gray(kernel: Float[Tensor, "out rgb h w"], in_channels: int) -> Float[Tensor, "out inp h w"]:
    """Sum over RGB, then share equally over the input channels.

    On an image whose channels are equal the response is that of the RGB kernel on the gray image.

    Args:
        kernel: of a first layer, any number of colours.
        in_channels: of the images that it will see, at least 1.
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


def linear(kernel: Kernel2D, depth: int, generator: Generator | None = None) -> Kernel3D:
    """Weigh the slices by a triangle that peaks on the centre slice and sums to 1.

    Between center and average: the neighbours have a say from the start, the centre slice the largest.
    """
    middle = depth // 2
    triangle = torch.tensor([middle + 1.0 - abs(d - middle) for d in range(depth)])
    weights = (triangle / triangle.sum()).to(kernel)
    return kernel.unsqueeze(KERNEL_DEPTH) * weights[:, None, None]


def variance(kernel: Kernel2D, depth: int, generator: Generator | None = None) -> Kernel3D:
    """Repeat the 2D kernel over depth, divided by the root of depth.

    The response to independent slices keeps the variance of the 2D response; to equal slices it grows by the
    root of depth.
    """
    return torch.stack([kernel / depth**0.5] * depth, dim=KERNEL_DEPTH)


def rgb(kernel: Kernel2D, depth: int, generator: Generator | None = None) -> Float[Tensor, "out 1 d h w"]:
    """Put the red, green and blue kernels on three neighbouring slices, the green one on the centre slice.

    Nothing is summed: three slices take the place of three colours. A kernel that is gray already counts as
    three equal colours, a third each.

    Raises:
        InputError: fewer than three slices, or a kernel of neither one nor three input channels.
    """
    if depth < COLOURS or kernel.shape[KERNEL_IN] not in (1, COLOURS):
        raise InputError(
            "the rule rgb does not fit",
            expected="at least 3 slices, and a kernel with 3 input channels (or 1, gray)",
            got=f"{depth} slices, {kernel.shape[KERNEL_IN]} input channels",
            do="choose more slices or another rule",
        )
    if kernel.shape[KERNEL_IN] == 1:
        kernel = (kernel / COLOURS).expand(-1, COLOURS, -1, -1)
    first = depth // 2 - 1
    inflated = kernel.new_zeros(kernel.shape[0], 1, depth, *kernel.shape[2:])
    inflated[:, 0, first : first + COLOURS] = kernel
    return inflated


def random(kernel: Kernel2D, depth: int, generator: Generator | None = None) -> Kernel3D:
    """Draw the 3D kernel anew, uniform in +-1 / sqrt(fan in), torch's own bound; the 2D kernel is dropped."""
    out_channels, in_channels, height, width = kernel.shape
    bound = (in_channels * depth * height * width) ** -0.5
    drawn = torch.rand(out_channels, in_channels, depth, height, width, generator=generator)
    return ((2 * drawn - 1) * bound).to(kernel)


Rule = Callable[[Tensor, int, Generator | None], Tensor]
RULES: dict[str, Rule] = {
    "center": center,
    "average": average,
    "linear": linear,
    "variance": variance,
    "rgb": rgb,
    "random": random,
}


def lift_kernel(
    kernel: Float[Tensor, "out rgb h w"],
    *,
    rule: str,
    in_channels: int,
    depth: int,
    generator: Generator | None = None,
) -> Float[Tensor, "out inp d h w"]:
    """Lift the colour kernel of a first layer to `in_channels` channels of `depth` slices.

    The colours are summed to gray before the rule, but for "rgb", which needs them apart.

    Args:
        kernel: of the 2D network.
        rule: key of RULES.
        in_channels: image channels of a slice.
        depth: slices.
        generator: for the rule "random"; torch's own where None.

    Raises:
        InputError: unknown rule, depth or channels below 1, or a rule that does not fit the depth.
    """
    if rule not in RULES or depth < 1 or in_channels < 1:
        raise InputError(
            "there is no such inflation",
            expected=f"rule {' | '.join(RULES)}; at least 1 slice and 1 channel",
            got=f"rule {rule!r}, {depth} slices, {in_channels} channels",
            do="choose one of the rules",
        )
    if rule == "rgb":
        return rgb(kernel, depth).expand(-1, in_channels, -1, -1, -1) / in_channels
    return RULES[rule](sum_to_gray(kernel, in_channels), depth, generator)
