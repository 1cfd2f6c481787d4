"""Encoders by the name that a configuration gives them."""

from collections.abc import Sequence
from typing import Literal

from medseg.encoders.contract import Encoder
from medseg.encoders.timm_encoder import TimmEncoder
from medseg.encoders.volume_tokens import VolumeTokens

VIDEO_SWIN = "video_swin_"


def make(
    architecture: str,
    in_channels: int,
    slices: int,
    image_px: int,
    taps: Sequence[int],
    mixing: Literal["patch", "joint", "cycle"] = "patch",
) -> Encoder:
    """The encoder of a name: "video_swin_tiny | small | base", "tiny_vit_5m_mobile_sam", or a timm name.

    Args:
        architecture: the name.
        in_channels: image channels of a slice.
        slices: depth of the window.
        image_px: edge of the square slice.
        taps: 0-based numbers of blocks or stages, shallow to deep.
        mixing: where slices meet: in the first convolution, or in the attention of a plain ViT.

    Raises:
        InputError: there is no such encoder, or not of this size or with these taps.
    """
    if mixing != "patch":
        return VolumeTokens(architecture, in_channels, slices, image_px, taps, mixing)
    if architecture.startswith(VIDEO_SWIN):
        # torchvision's video models are loaded only where one is asked for.
        from medseg.encoders.video_swin import VideoSwinEncoder

        return VideoSwinEncoder(architecture, in_channels, slices, image_px, taps)
    return TimmEncoder(architecture, in_channels, slices, image_px, taps)
