"""A light U-Net decoder (after Ronneberger et al. 2015) with skips from all taps. Its form is our own."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from medseg.decoders.layers import conv_norm, enlarge, one_stride, resized
from medseg.shapes import FeatureMap, Logits

NARROWEST = 8


class UNet(nn.Module):
    """Feature maps in, logits at the finest level out.

    Each map is narrowed by a 1x1 convolution, the deepest to `channels`, each shallower one to half of that.
    Maps of one stride are enlarged: the deepest stays, each shallower one is twice as fine. Going up, the
    coarser level is resized, set beside the skip, and mixed by two 3x3 convolutions.

    Args:
        in_channels: channels of the maps, shallow to deep.
        channels: width of the deepest level; halved at each finer one, down to 8.
        classes: number of classes, background included.
        strides: of the maps in image pixels; None or all equal: maps of a plain ViT.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, classes: int, strides: Sequence[int] | None = None
    ):
        super().__init__()
        widths = [max(channels >> level, NARROWEST) for level in range(len(in_channels))]
        plain = one_stride(strides)
        # Modules stand deep to shallow, in the order of use.
        self.narrow = nn.ModuleList(
            [
                nn.Sequential(
                    conv_norm(inputs, width, 1), enlarge(2**level) if plain and level else nn.Identity()
                )
                for level, (inputs, width) in enumerate(zip(reversed(in_channels), widths, strict=True))
            ]
        )
        self.mix = nn.ModuleList(
            [
                nn.Sequential(conv_norm(coarse + fine, fine, 3), conv_norm(fine, fine, 3))
                for coarse, fine in pairwise(widths)
            ]
        )
        self.classify = nn.Conv2d(widths[-1], classes, 1)

    def forward(self, features: list[FeatureMap]) -> Logits:
        """Logits (B, classes, h, w)."""
        last_first = [feature.contiguous(memory_format=torch.channels_last) for feature in reversed(features)]
        skips = [narrow(feature) for narrow, feature in zip(self.narrow, last_first, strict=True)]
        level = skips[0]
        for mix, skip in zip(self.mix, skips[1:], strict=True):
            level = mix(torch.cat([skip, resized(level, skip)], dim=1))
        return self.classify(level)
