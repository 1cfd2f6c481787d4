"""SETR-MLA (Zheng et al. 2021, section 3.2), multi-level aggregation, at the size of Med-Tuning's Table 8."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import nn

from medseg.decoders.layers import conv_norm, resized
from medseg.shapes import FeatureMap, Logits


class SetrMla(nn.Module):
    """Feature maps in, logits at the finest map out; they are resized to the image in one step.

    One stream a map: a 3x3 convolution, batch norm, ReLU, plus the streams of all deeper maps. The streams
    side by side go to the classifier. The published head has a 1x1 and further 3x3 convolutions in a stream;
    with them no width reaches the count that Table 8 prints, with this one 128 channels do.

    Args:
        in_channels: channels of the maps, shallow to deep.
        channels: width of a stream.
        classes: number of classes, background included.
        strides: not used: maps are resized to the first one.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, classes: int, strides: Sequence[int] | None = None
    ):
        super().__init__()
        self.streams = nn.ModuleList([conv_norm(width, channels, 3) for width in in_channels])
        self.classify = nn.Conv2d(len(in_channels) * channels, classes, 1)

    def forward(self, features: list[FeatureMap]) -> Logits:
        """Logits (B, classes, h, w)."""
        maps = [feature.contiguous(memory_format=torch.channels_last) for feature in features]
        streams = [stream(feature) for stream, feature in zip(self.streams, maps, strict=True)]
        sums = accumulate(reversed(streams), lambda deeper, own: own + resized(deeper, own))
        return self.classify(torch.cat([resized(level, maps[0]) for level in sums], dim=1))
