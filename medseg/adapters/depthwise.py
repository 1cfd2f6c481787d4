"""Depth-wise convolutions of a token volume: within its slices, along them, and both at once.

The first two are the functions of a Conv3d with kernel (1, k, k) and (k, 1, 1), zeros at the edges, with as
many parameters. bf16 weight gradients of a Conv3d are wrong on a CPU (medseg.training.precision), those of a
Conv2d are right. Channels stay last in memory; nothing is copied to move them.
"""

from torch import nn

from medseg.encoders.sites import TokenVolume
from medseg.errors import InputError


def _padding(kernel: int) -> int:
    """Zeros at each end that keep the size.

    Raises:
        InputError: an even kernel, for which there is no such number.
    """
    if kernel % 2 == 0:
        raise InputError(
            "a depth-wise convolution keeps the size of its volume",
            expected="an odd kernel",
            got=str(kernel),
            do="choose 3, 5, 7, ...",
        )
    return kernel // 2


class PlaneConv(nn.Conv2d):
    """Each channel of each slice with a kernel of `kernel` x `kernel`, odd."""

    def __init__(self, channels: int, kernel: int):
        super().__init__(channels, channels, kernel, padding=_padding(kernel), groups=channels)

    def forward(self, input: TokenVolume) -> TokenVolume:
        """The volume, convolved over height and width."""
        planes = super().forward(input.flatten(0, 1).movedim(-1, 1))
        return planes.movedim(1, -1).unflatten(0, input.shape[:2])


class DepthConv(nn.Conv2d):
    """Each channel of each column of slices with a kernel of `kernel`, odd."""

    def __init__(self, channels: int, kernel: int):
        super().__init__(channels, channels, (kernel, 1), padding=(_padding(kernel), 0), groups=channels)

    def forward(self, input: TokenVolume) -> TokenVolume:
        """The volume, convolved over depth."""
        columns = super().forward(input.flatten(2, 3).movedim(-1, 1))
        return columns.movedim(1, -1).unflatten(2, input.shape[2:4])


class CubeConv(nn.Conv3d):
    """Each channel with a whole kernel of `kernel` x `kernel` x `kernel`, odd; on a CPU for float32 alone."""

    def __init__(self, channels: int, kernel: int):
        super().__init__(channels, channels, kernel, padding=_padding(kernel), groups=channels)

    def forward(self, input: TokenVolume) -> TokenVolume:
        """The volume, convolved over depth, height and width."""
        return super().forward(input.movedim(-1, 1)).movedim(1, -1)
