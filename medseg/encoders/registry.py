"""Encoders by the name that a configuration gives them."""

from collections.abc import Sequence
from typing import Literal

from medseg.encoders.contract import Encoder
from medseg.encoders.med_vit import MedVit
from medseg.encoders.slice_batch import SliceBatch
from medseg.encoders.swin_unet import NAME as SWIN_UNET
from medseg.encoders.swin_unet import SwinUnetEncoder
from medseg.encoders.timm_encoder import TimmEncoder
from medseg.encoders.volume_tokens import VolumeTokens

VIDEO_SWIN = "video_swin_"
# Before the timm name of a plain ViT: the form of Med-Tuning.
MED = "med_"


def make(
    architecture: str,
    in_channels: int,
    slices: int,
    image_px: int,
    taps: Sequence[int],
    mixing: Literal["patch", "joint", "cycle", "slices"] = "patch",
) -> Encoder:
    """The encoder of a name: "video_swin_tiny | small | base", "tiny_vit_5m_mobile_sam", a timm name.

    "swin_unet_tiny" and "med_<timm name of a plain ViT>" are those of Med-Tuning.

    Args:
        architecture: the name.
        in_channels: image channels of a slice.
        slices: depth of the window.
        image_px: edge of the square slice.
        taps: 0-based numbers of blocks or stages, shallow to deep.
        mixing: where slices meet: in the first convolution, in the attention of a plain ViT, or nowhere.

    Raises:
        InputError: there is no such encoder, or not of this size or with these taps.
    """
    if mixing == "slices":
        return SliceBatch(make(architecture, in_channels, 1, image_px, taps))
    if mixing != "patch":
        return VolumeTokens(architecture, in_channels, slices, image_px, taps, mixing)
    if architecture.startswith(VIDEO_SWIN):
        # torchvision's video models are loaded only where one is asked for.
        from medseg.encoders.video_swin import VideoSwinEncoder

        return VideoSwinEncoder(architecture, in_channels, slices, image_px, taps)
    if architecture == SWIN_UNET:
        return SwinUnetEncoder(in_channels, slices, image_px, taps)
    if architecture.startswith(MED):
        return MedVit(architecture.removeprefix(MED), in_channels, slices, image_px, taps)
    return TimmEncoder(architecture, in_channels, slices, image_px, taps)
