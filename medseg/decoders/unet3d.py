"""The control of every study: a plain 3D U-Net (MONAI's), trained from scratch at the same budget."""

import medseg.compat  # noqa: F401  isort: skip
from monai.networks.nets import UNet
from torch import Tensor, nn

from medseg.shapes import Windows

CHANNELS = (16, 32, 64, 128, 256)
STRIDES = (2, 2, 2, 2)
MULTIPLE = 2 ** len(STRIDES)


class UNet3D(nn.Module):
    """Windows (B, C, D, H, W) in, logits (B, classes, D, H, W) out; D, H, W are multiples of 16."""

    def __init__(self, in_channels: int, classes: int):
        super().__init__()
        self.net = UNet(3, in_channels, classes, CHANNELS, strides=STRIDES, num_res_units=2, norm="instance")

    def forward(self, windows: Windows) -> Tensor:
        """Logits of every voxel."""
        return self.net(windows)
