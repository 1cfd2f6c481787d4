"""UPerNet (Xiao et al. 2018) on a plain ViT as Med-Tuning (Wang et al. 2023) has it: no pyramid at all."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from medseg.decoders.dropout import ChannelDropout
from medseg.decoders.layers import conv_norm, resized
from medseg.shapes import FeatureMap, Logits

BINS = (1, 2, 4, 6)


class MedUPerNet(nn.Module):
    """Feature maps in, logits at the finest map out; whoever resizes them to the image does it in one step.

    The first map is narrowed by a 1x1 convolution. The deepest passes a pyramid pooling module that keeps its
    width. Each map but the deepest gets the next deeper one added, itself without what was added to it, and
    all sums pass one and the same smoothing convolution. On a ViT all maps have one resolution.

    Args:
        in_channels: channels of the maps, shallow to deep.
        channels: width of the decoder; 256 in the paper's code.
        classes: number of classes, background included.
        strides: not used: maps are resized to the first one.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, classes: int, strides: Sequence[int] | None = None
    ):
        super().__init__()
        first, *deeper = in_channels
        deepest, pooled = in_channels[-1], in_channels[-1] // len(BINS)
        # The paper's code has a SyncBatchNorm here: one over all devices, medseg.training.sync_norm.
        self.narrow = nn.Sequential(nn.Conv2d(first, channels, 1), nn.BatchNorm2d(channels), nn.GELU())
        self.pools = nn.ModuleList(
            [nn.Sequential(nn.AdaptiveAvgPool2d(b), conv_norm(deepest, pooled, 1)) for b in BINS]
        )
        self.pooled = nn.Sequential(conv_norm(deepest + len(BINS) * pooled, deepest, 3), ChannelDropout(0.1))
        self.laterals = nn.ModuleList([nn.Conv2d(width, channels, 1) for width in deeper])
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)
        self.fuse = conv_norm(len(in_channels) * channels, channels, 3)
        self.classify = nn.Conv2d(channels, classes, 3, padding=1)

    def forward(self, features: list[FeatureMap]) -> Logits:
        """Logits (B, classes, h, w)."""
        first, *deeper = (feature.contiguous(memory_format=torch.channels_last) for feature in features)
        deepest = deeper[-1]
        size = deepest.shape[-2:]
        pools = [
            functional.interpolate(pool(deepest), size=size, mode="bilinear", align_corners=True)
            for pool in self.pools
        ]
        deeper[-1] = self.pooled(torch.cat([deepest, *pools], dim=1))
        levels = [self.narrow(first)]
        levels += [lateral(feature) for lateral, feature in zip(self.laterals, deeper, strict=True)]
        sums = [self.smooth(fine + resized(coarse, fine)) for fine, coarse in pairwise(levels)]
        fused = self.fuse(torch.cat([resized(level, levels[0]) for level in [*sums, levels[-1]]], dim=1))
        return self.classify(fused)
