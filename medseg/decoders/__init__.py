"""Feature maps in, logits out: DECODERS[name](in_channels, channels, classes, strides)."""

from collections.abc import Sequence
from typing import Protocol

from torch import nn

from medseg.decoders.conv_trans import ConvTrans
from medseg.decoders.med_setr_pup import MedSetrPup
from medseg.decoders.med_unet import MedUNet
from medseg.decoders.med_upernet import MedUPerNet
from medseg.decoders.setr_mla import SetrMla
from medseg.decoders.setr_naive import SetrNaive
from medseg.decoders.setr_pup import SetrPup
from medseg.decoders.swin_unet import SwinUnet
from medseg.decoders.unet import UNet
from medseg.decoders.upernet import UPerNet


class BuildDecoder(Protocol):
    """How a decoder is built: for maps of these channels and strides, shallow to deep."""

    def __call__(
        self, in_channels: Sequence[int], channels: int, classes: int, strides: Sequence[int] | None = None
    ) -> nn.Module:
        """A module that takes the list of maps (B, channels, h, w) and gives logits (B, classes, h, w)."""
        ...


# Without strides all maps have one, 16, as those of a plain ViT with patches of 16 px.
DECODERS: dict[str, BuildDecoder] = {
    "upernet": UPerNet,
    "setr_pup": SetrPup,
    "conv_trans": ConvTrans,
    "unet": UNet,
    # Those of Med-Tuning.
    "med_upernet": MedUPerNet,
    "med_unet": MedUNet,
    "swin_unet": SwinUnet,
    "setr_naive": SetrNaive,
    "setr_mla": SetrMla,
    "med_setr_pup": MedSetrPup,
}
