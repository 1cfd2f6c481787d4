"""SETR-Naive (Zheng et al. 2021, section 3.2): a 1x1 convolution on the last map, then the classifier."""

from collections.abc import Sequence

import torch
from torch import nn

from medseg.decoders.layers import conv_norm
from medseg.shapes import CHANNEL, FeatureMap, Logits


class SetrNaive(nn.Module):
    """The last feature map in, logits at its resolution out; they are resized to the image in one step.

    Layer norm, 1x1 convolution, batch norm, ReLU, 1x1 convolution. With 256 channels this form reaches the
    count of Med-Tuning's Table 8, see tests/test_paper_counts_medtuning.py.

    Args:
        in_channels: channels of the maps, shallow to deep; the last is used.
        channels: width of the decoder; 256 in the paper.
        classes: number of classes, background included.
        strides: not used.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, classes: int, strides: Sequence[int] | None = None
    ):
        super().__init__()
        self.norm = nn.LayerNorm(in_channels[-1])
        self.refine = conv_norm(in_channels[-1], channels, 1)
        self.classify = nn.Conv2d(channels, classes, 1)

    def forward(self, features: list[FeatureMap]) -> Logits:
        """Logits (B, classes, h, w)."""
        last = self.norm(features[-1].movedim(CHANNEL, -1)).movedim(-1, CHANNEL)
        return self.classify(self.refine(last.contiguous(memory_format=torch.channels_last)))
