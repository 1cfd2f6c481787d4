"""UPerNet (Xiao et al. 2018) in the two forms TransSeg's code uses: after a plain ViT and after a Swin.

Four maps of one stride are first made a pyramid of strides x4, x2, x1, x1/2; maps of growing stride are one
already. Then a pyramid pooling module on the coarsest, a top-down path, and one fusion of all levels.
"""

from collections.abc import Sequence

import torch
from torch import nn

from medseg.decoders.dropout import ChannelDropout
from medseg.decoders.layers import conv_norm, double, one_stride, resized
from medseg.errors import InputError
from medseg.shapes import FeatureMap, Logits

POOL_SCALES = (1, 2, 3, 6)


def _to_pyramid(widths: Sequence[int]) -> nn.ModuleList:
    if len(widths) != 4:
        raise InputError(
            "UPerNet makes a pyramid of four maps",
            expected="four feature maps of one stride",
            got=f"{len(widths)} maps",
            do="tap four blocks of the encoder",
        )
    first, second = widths[:2]
    finest = nn.Sequential(double(first, first), nn.BatchNorm2d(first), nn.GELU(), double(first, first))
    return nn.ModuleList([finest, double(second, second), nn.Identity(), nn.MaxPool2d(2)])


class UPerNet(nn.Module):
    """Feature maps in, logits at the finest level of the pyramid out.

    Args:
        in_channels: channels of the maps, shallow to deep.
        channels: width of the decoder.
        classes: number of classes, background included.
        strides: of the maps in image pixels; None or all equal: maps of a plain ViT, which become a pyramid.

    Raises:
        InputError: strides that fall, or other than four maps of one stride.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, classes: int, strides: Sequence[int] | None = None
    ):
        super().__init__()
        deepest = in_channels[-1]
        if strides is not None and list(strides) != sorted(strides):
            raise InputError(
                "the feature maps are not ordered for UPerNet",
                expected="strides that never fall, shallow to deep",
                got=str(tuple(strides)),
                do="order the taps from shallow to deep",
            )
        self.to_pyramid = (
            _to_pyramid(in_channels)
            if one_stride(strides)
            else nn.ModuleList([nn.Identity() for _ in in_channels])
        )
        self.pools = nn.ModuleList(
            [nn.Sequential(nn.AdaptiveAvgPool2d(s), conv_norm(deepest, channels, 1)) for s in POOL_SCALES]
        )
        self.pooled = conv_norm(deepest + len(POOL_SCALES) * channels, channels, 3)
        self.laterals = nn.ModuleList([conv_norm(width, channels, 1) for width in in_channels[:-1]])
        self.smooth = nn.ModuleList([conv_norm(channels, channels, 3) for _ in in_channels[:-1]])
        self.fuse = conv_norm(len(in_channels) * channels, channels, 3)
        self.classify = nn.Sequential(ChannelDropout(0.1), nn.Conv2d(channels, classes, 1))

    def forward(self, features: list[FeatureMap]) -> Logits:
        """Logits (B, classes, H, W) at the finest level of the pyramid."""
        # Tokens come out of the encoder channels last; convolutions on a CPU and on tensor cores keep that.
        features = [feature.contiguous(memory_format=torch.channels_last) for feature in features]
        pyramid = [level(feature) for level, feature in zip(self.to_pyramid, features, strict=True)]
        deepest = pyramid[-1]
        pools = [resized(pool(deepest), deepest) for pool in self.pools]
        top_down = [self.pooled(torch.cat([deepest, *pools], dim=1))]
        for lateral, feature in zip(reversed(self.laterals), reversed(pyramid[:-1]), strict=True):
            top_down.insert(0, lateral(feature) + resized(top_down[0], feature))
        levels = [smooth(level) for smooth, level in zip(self.smooth, top_down[:-1], strict=True)]
        levels.append(top_down[-1])
        fused = self.fuse(torch.cat([resized(level, levels[0]) for level in levels], dim=1))
        return self.classify(fused)
