"""SETR-PUP (Zheng et al. 2021), progressive upsampling of the last map, in the form TransSeg's code uses."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from medseg.decoders.layers import doublings, enlarge
from medseg.shapes import FeatureMap, Logits


class SetrPup(nn.Module):
    """The last feature map in, logits at half the height and width of the image out.

    A 3x3 convolution, instance norm and ReLU for each doubling. The last doubling is left to whoever resizes
    logits to the image: the classifier looks at one pixel, so it may as well stand before it.

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
        widths = [in_channels[-1]] + [channels] * doublings(strides)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            # The norm has no parameters and takes the bias out again: it stays for the published count.
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.InstanceNorm2d(outputs), nn.ReLU()]
            layers += [enlarge(2)]
        self.refine = nn.Sequential(*layers[:-1])
        self.classify = nn.Conv2d(widths[-1], classes, 1)

    def forward(self, features: list[FeatureMap]) -> Logits:
        """Logits (B, classes, h, w)."""
        return self.classify(self.refine(features[-1].contiguous(memory_format=torch.channels_last)))
