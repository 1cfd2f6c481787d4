"""Named networks: what `medseg model list` knows and `medseg model show` measures."""

from typing import Any

from medseg.config import PROFILES, ModelConfig, TuningConfig
from medseg.errors import InputError


def _transseg(encoder: str, slices: int, **others: Any) -> ModelConfig:
    """The paper's input (512 px, 14 classes) and decoder width, without weights."""
    return ModelConfig(encoder=encoder, weights=None, slices=slices, image_px=512, classes=14, **others)


# Hierarchical encoders give their four stages; the paper's decoder is 512 wide on them.
_STAGES: dict[str, Any] = {"taps": (0, 1, 2, 3), "decoder_channels": 512}

# B volumes of 128^3 voxels and four modalities go through a 2D network as B * 128 slices. Med-Tuning's code
# freezes patch embedding and blocks: `also` is what it leaves to train of the encoder.
_MEDTUNING: dict[str, Any] = {"weights": None, "slices": 128, "image_px": 128, "in_channels": 4, "classes": 4}
_MEDTUNING |= {"mixing": "slices", "target": "all"}

MODELS: dict[str, ModelConfig] = {
    "transseg-vit-tiny-1": _transseg("vit_tiny_patch16_224", 1),
    "transseg-vit-tiny-5": _transseg("vit_tiny_patch16_224", 5),
    "transseg-vit-base-1": _transseg("vit_base_patch16_224", 1),
    "transseg-vit-base-5": _transseg("vit_base_patch16_224", 5),
    # The paper's own network, and the other sources of its Table 2(b) (medseg.encoders.sources.TABLE_2B).
    "transseg-beit-base-1": _transseg("beit_base_patch16_224", 1),
    "transseg-beit-base-5": _transseg("beit_base_patch16_224", 5),
    "transseg-dino-base-5": _transseg("vit_base_patch16_224.dino", 5),
    "transseg-swin-base-5": _transseg("swin_base_patch4_window7_224", 5, **_STAGES),
    "transseg-swin-tiny-5": _transseg("swin_tiny_patch4_window7_224", 5, **_STAGES),
    "transseg-video-swin-base-5": _transseg("video_swin_base", 5, **_STAGES),
    "transseg-tiny-vit-5": _transseg("tiny_vit_5m_mobile_sam", 5, **_STAGES),
    "medtuning-vit-base-upernet": ModelConfig(
        encoder="med_vit_base_patch16_224",
        decoder="med_upernet",
        taps=(2, 5, 8, 11),
        decoder_channels=256,
        tuning=TuningConfig(also=("pos_embed", "trunk.norm.")),
        **_MEDTUNING,
    ),
    "medtuning-swin-unet": ModelConfig(
        encoder="swin_unet_tiny",
        decoder="swin_unet",
        taps=(0, 1, 2, 3),
        tuning=TuningConfig(also=("trunk.norm.",)),
        **_MEDTUNING,
    ),
    # What the two-core budget trains on Task04_Hippocampus (studies/transseg_main.yaml).
    "hippocampus-vit-tiny-1": ModelConfig(slices=1, **PROFILES["colab"]["model"]),
    "hippocampus-vit-tiny-5": ModelConfig(slices=5, **PROFILES["colab"]["model"]),
    "hippocampus-unet3d": ModelConfig(network="unet3d", weights=None, slices=16, image_px=64),
}


def config_of(name: str) -> ModelConfig:
    """The configuration of a named network.

    Raises:
        InputError: unknown name.
    """
    if name not in MODELS:
        raise InputError("unknown model", expected=" | ".join(MODELS), got=name, do="see medseg model list")
    return MODELS[name]
