"""SETR-PUP (Zheng et al. 2021, section 3.2) at the size that Med-Tuning's Table 8 prints."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from medseg.decoders.layers import conv_norm, doublings, enlarge
from medseg.shapes import CHANNEL, FeatureMap, Logits


class MedSetrPup(nn.Module):
    """The last feature map in, logits at half the height and width of the image out.

    Layer norm, then a 1x1 convolution, batch norm and ReLU for each doubling, each half as wide as the one
    before. Paper and code say no more than a count; this is the form of SetrNaive repeated, and reaches it.
    TransSeg's form, with 3x3 convolutions of one width, is in medseg.decoders.setr_pup. The last doubling is
    left to whoever resizes logits to the image.

    Args:
        in_channels: channels of the maps, shallow to deep; the last is used.
        channels: width of the first convolution; 384, half of the ViT's, gives the printed count.
        classes: number of classes, background included.
        strides: of the maps in image pixels; None: patches of 16.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, classes: int, strides: Sequence[int] | None = None
    ):
        super().__init__()
        widths = [in_channels[-1]] + [max(channels >> step, 1) for step in range(doublings(strides))]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [conv_norm(inputs, outputs, 1), enlarge(2)]
        self.norm = nn.LayerNorm(in_channels[-1])
        self.refine = nn.Sequential(*layers[:-1])
        self.classify = nn.Conv2d(widths[-1], classes, 1)

    def forward(self, features: list[FeatureMap]) -> Logits:
        """Logits (B, classes, h, w)."""
        last = self.norm(features[-1].movedim(CHANNEL, -1)).movedim(-1, CHANNEL)
        return self.classify(self.refine(last.contiguous(memory_format=torch.channels_last)))
