"""A U-Net decoder (after Ronneberger et al. 2015) at the size that Med-Tuning's Table 8 prints."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from medseg.decoders.layers import doublings, enlarge, resized
from medseg.shapes import CHANNEL, FeatureMap, Logits


class MedUNet(nn.Module):
    """Feature maps in, logits at the size of the image out, or a little above it.

    Layer norm on the last map. Then for each doubling: the map twice as fine, plus the next shallower one
    through a 1x1 convolution, as long as there is one, a 3x3 convolution to half the width, and ReLU. As in
    the first U-Net convolutions have a bias and no norm behind them. The first map is narrowed to a third,
    by the layers that the paper's ViT has in front of every decoder.

    Paper and code say no more than "U-Net" and a count, which many forms have. This one was taken for it
    reaches both numbers of the row and is made of what the other decoders of Table 8 have.

    Args:
        in_channels: channels of the maps, shallow to deep.
        channels: width behind the first doubling; 384, half of the ViT's, gives the printed count.
        classes: number of classes, background included.
        strides: of the maps in image pixels; None: patches of 16. Maps are resized to where they are added.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, classes: int, strides: Sequence[int] | None = None
    ):
        super().__init__()
        steps = doublings(strides)
        widths = [in_channels[-1]] + [max(channels >> step, 1) for step in range(steps)]
        first = max(in_channels[0] // 3, 1)
        # As in medseg.decoders.med_upernet.
        self.narrow = nn.Sequential(nn.Conv2d(in_channels[0], first, 1), nn.BatchNorm2d(first), nn.GELU())
        self.norm = nn.LayerNorm(in_channels[-1])
        self.enlarge = enlarge(2)
        # Modules stand deep to shallow, in the order of use.
        skipped = [first, *in_channels[1:-1]][::-1][:steps]
        self.skips = nn.ModuleList(
            [nn.Conv2d(inputs, widths[number], 1) for number, inputs in enumerate(skipped)]
        )
        self.refine = nn.ModuleList(
            [nn.Conv2d(inputs, outputs, 3, padding=1) for inputs, outputs in pairwise(widths)]
        )
        self.classify = nn.Conv2d(widths[-1], classes, 3, padding=1)

    def forward(self, features: list[FeatureMap]) -> Logits:
        """Logits (B, classes, h, w)."""
        maps = [feature.contiguous(memory_format=torch.channels_last) for feature in features]
        maps[0] = self.narrow(maps[0])
        level = self.norm(maps[-1].movedim(CHANNEL, -1)).movedim(-1, CHANNEL)
        for number, refine in enumerate(self.refine):
            level = self.enlarge(level)
            if number < len(self.skips):
                level = level + resized(self.skips[number](maps[-2 - number]), level)
            level = functional.relu(refine(level))
        return self.classify(level)
