"""ConvTrans: the last map doubled by transposed convolutions up to the image, as in TransSeg's code."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from medseg.decoders.layers import double, doublings
from medseg.shapes import FeatureMap, Logits


class ConvTrans(nn.Module):
    """The last feature map in, logits at the size of the image out.

    Instance norm and ReLU stand before each transposed convolution; the last one gives the classes.

    Args:
        in_channels: channels of the maps, shallow to deep; the last is used.
        channels: width of the decoder.
        classes: number of classes, background included.
        strides: of the maps in image pixels; None: patches of 16.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, classes: int, strides: Sequence[int] | None = None
    ):
        super().__init__()
        widths = [in_channels[-1]] + [channels] * (doublings(strides) - 1) + [classes]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.InstanceNorm2d(inputs), nn.ReLU(), double(inputs, outputs)]
        self.enlarge = nn.Sequential(*layers)

    def forward(self, features: list[FeatureMap]) -> Logits:
        """Logits (B, classes, H, W)."""
        return self.enlarge(features[-1].contiguous(memory_format=torch.channels_last))
