"""UPerNet (Xiao et al. 2018) on the feature maps of a plain ViT, in the form TransSeg's code uses.

Four maps of one stride become a pyramid of strides x4, x2, x1, x1/2; a pyramid pooling module on the
coarsest, a top-down path, and one fusion of all levels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.decoders.dropout import ChannelDropout
from medseg.shapes import FeatureMap, Logits

POOL_SCALES = (1, 2, 3, 6)


def _resized(feature: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(feature, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _conv_norm(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def _upsample(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)


class UPerNet(nn.Module):
    """Feature maps of equal stride in, logits at 4 / stride of the image out.

    Args:
        in_channels: channels of the four maps, shallow to deep.
        channels: width of the decoder.
        classes: number of classes, background included.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, classes: int):
        super().__init__()
        first, second, _, deepest = in_channels
        self.to_pyramid = nn.ModuleList(
            [
                nn.Sequential(_upsample(first), nn.BatchNorm2d(first), nn.GELU(), _upsample(first)),
                _upsample(second),
                nn.Identity(),
                nn.MaxPool2d(2),
            ]
        )
        self.pools = nn.ModuleList(
            [nn.Sequential(nn.AdaptiveAvgPool2d(s), _conv_norm(deepest, channels, 1)) for s in POOL_SCALES]
        )
        self.pooled = _conv_norm(deepest + len(POOL_SCALES) * channels, channels, 3)
        self.laterals = nn.ModuleList([_conv_norm(width, channels, 1) for width in in_channels[:-1]])
        self.smooth = nn.ModuleList([_conv_norm(channels, channels, 3) for _ in in_channels[:-1]])
        self.fuse = _conv_norm(len(in_channels) * channels, channels, 3)
        self.classify = nn.Sequential(ChannelDropout(0.1), nn.Conv2d(channels, classes, 1))

    def forward(self, features: list[FeatureMap]) -> Logits:
        """Logits (B, classes, H, W) at the finest level of the pyramid."""
        # Tokens come out of the encoder channels last; convolutions on a CPU and on tensor cores keep that.
        features = [feature.contiguous(memory_format=torch.channels_last) for feature in features]
        pyramid = [level(feature) for level, feature in zip(self.to_pyramid, features, strict=True)]
        deepest = pyramid[-1]
        pools = [_resized(pool(deepest), deepest) for pool in self.pools]
        top_down = [self.pooled(torch.cat([deepest, *pools], dim=1))]
        for lateral, feature in zip(reversed(self.laterals), reversed(pyramid[:-1]), strict=True):
            top_down.insert(0, lateral(feature) + _resized(top_down[0], feature))
        levels = [smooth(level) for smooth, level in zip(self.smooth, top_down[:-1], strict=True)]
        levels.append(top_down[-1])
        fused = self.fuse(torch.cat([_resized(level, levels[0]) for level in levels], dim=1))
        return self.classify(fused)
