"""Axis constants and tensor aliases: axes are always B C D H W (batch, channel, depth, height, width)."""

from typing import TypeAlias

from jaxtyping import Float, Integer
from torch import Tensor

from medseg.errors import InputError

BATCH, CHANNEL, DEPTH, HEIGHT, WIDTH = range(5)

# Convolution weights: out, in, then the kernel axes in the order of the image axes.
KERNEL_OUT, KERNEL_IN, KERNEL_DEPTH, KERNEL_HEIGHT, KERNEL_WIDTH = range(5)

Windows: TypeAlias = Float[Tensor, "b c d h w"]
Images: TypeAlias = Float[Tensor, "b c h w"]
Logits: TypeAlias = Float[Tensor, "b k h w"]
SliceLabels: TypeAlias = Integer[Tensor, "b h w"]
Tokens: TypeAlias = Float[Tensor, "b n c"]
# Maps of one list differ in channels and size, and from the windows they come from: only the batch is bound.
FeatureMap: TypeAlias = Float[Tensor, "b _c _h _w"]


def require_window(windows: Windows, in_channels: int, slices: int, who: str) -> None:
    """Raise InputError where windows have other channels or slices; folded, their product may fit."""
    if windows.shape[CHANNEL : DEPTH + 1] != (in_channels, slices):
        raise InputError(
            f"the windows do not fit {who}",
            expected=f"B C D H W with C = {in_channels}, D = {slices}",
            got=str(tuple(windows.shape)),
            do="cut such windows, or build it for these numbers",
        )
