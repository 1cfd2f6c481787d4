"""What decoders share: convolution with batch norm, doubling, resizing, and what the strides of maps say."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

# The stride of the last map where none is given: patches of 16 px.
DEFAULT_STRIDE = 16


def resized(feature: Tensor, like: Tensor) -> Tensor:
    """A map (B, C, h, w) at the height and width of another, bilinear."""
    return functional.interpolate(feature, size=like.shape[-2:], mode="bilinear", align_corners=False)


def conv_norm(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution of unchanged size, batch norm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def double(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """Twice the height and width, by a transposed convolution whose kernel is its stride."""
    return nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)


def enlarge(factor: int) -> nn.Upsample:
    """`factor` times the height and width, bilinear."""
    return nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)


def one_stride(strides: Sequence[int] | None) -> bool:
    """Whether all maps have one stride, as those of a plain ViT, which None stands for."""
    return strides is None or len(set(strides)) == 1


def doublings(strides: Sequence[int] | None) -> int:
    """How often the last map is doubled to reach the image, rounded up.

    >>> doublings([4, 8, 16, 32]), doublings(None)
    (5, 4)
    """
    last = strides[-1] if strides else DEFAULT_STRIDE
    return (last - 1).bit_length()
