"""Named networks: what `medseg model list` knows and `medseg model show` measures."""

from medseg.config import PROFILES, ModelConfig
from medseg.errors import InputError


def _transseg(encoder: str, slices: int) -> ModelConfig:
    """The paper's input (512 px, 14 classes) and decoder width, without weights."""
    return ModelConfig(encoder=encoder, weights=None, slices=slices, image_px=512, classes=14)


MODELS: dict[str, ModelConfig] = {
    "transseg-vit-tiny-1": _transseg("vit_tiny_patch16_224", 1),
    "transseg-vit-tiny-5": _transseg("vit_tiny_patch16_224", 5),
    "transseg-vit-base-1": _transseg("vit_base_patch16_224", 1),
    "transseg-vit-base-5": _transseg("vit_base_patch16_224", 5),
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
