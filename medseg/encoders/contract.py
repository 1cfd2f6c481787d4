"""The contract of every encoder: a list of feature maps, their channels and strides."""

from abc import ABC, abstractmethod

from torch import nn

from medseg.shapes import FeatureMap, Windows


class Encoder(nn.Module, ABC):
    """Windows (B, C, D, H, W) in, feature maps (B, channels[i], H / strides[i], W / strides[i]) out."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @abstractmethod
    def forward(self, windows: Windows) -> list[FeatureMap]:
        """Feature maps at the taps, from shallow to deep."""
