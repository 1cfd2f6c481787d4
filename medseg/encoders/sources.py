"""Where pre-trained weights come from: one card a file, and the rows of TransSeg's Table 2(b)."""

import os
from pathlib import Path
from typing import Literal

from medseg.config import Frozen

SUMS = "SHA256SUMS"


class WeightsCard(Frozen):
    """One file of pre-trained weights.

    Attributes:
        file: its name in the folder that MEDSEG_WEIGHTS names.
        sha256: None where nobody has stated it; then the user does, in a file SHA256SUMS beside it.
        encoder: the architecture it was made for, a name of medseg.encoders.registry.
        timm_name: repository `timm/<timm_name>` on the hub, None where timm does not hold it.
        trained_on: data, in words.
        objective: "SL" supervised, "SSL" self-supervised, both, or distilled from another network.
        licence: of the file.
        keys: table of medseg.encoders.key_names that the names of a 2D network need.
    """

    file: str
    sha256: str | None
    encoder: str
    timm_name: str | None
    trained_on: str
    objective: Literal["SL", "SSL", "SSL+SL", "distilled"]
    licence: str
    keys: Literal["timm", "mobile_sam", "swin", "beit_ssl", "moco_v3"] = "timm"


def _timm(
    name: str, sha256: str | None, trained_on: str, objective: str, licence: str, **more: str
) -> WeightsCard:
    fields = {"trained_on": trained_on, "objective": objective, "licence": licence, **more}
    file, encoder = f"{name}.safetensors", name.split(".")[0]
    return WeightsCard.model_validate(
        {"file": file, "sha256": sha256, "encoder": encoder, "timm_name": name, **fields}
    )


WEIGHTS: dict[str, WeightsCard] = {
    "vit_tiny_augreg": _timm(
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "3f1f07da5e1337265ac1eb0234d13841467caf730b3c4240bd3f98c49bc16a92",
        "ImageNet-21k, then ImageNet-1k, supervised",
        "SL",
        "Apache-2.0",
    ),
    "deit_tiny": _timm(
        "deit_tiny_patch16_224.fb_in1k",
        "b647d566cadf2698bc5a395e59eb285f71a8ddcf2f5afb6f02505e641cd4d3bd",
        "ImageNet-1k, supervised",
        "SL",
        "Apache-2.0",
    ),
    "tiny_vit_sa1b": WeightsCard(
        file="tiny_vit_5m.mobile_sam_sa1b.safetensors",
        sha256="4507633d3f499909b342128c4d7e894ee603a3a621ef46c8dcffec9a1681cfe6",
        encoder="tiny_vit_5m_mobile_sam",
        timm_name=None,
        trained_on="SA-1B, distilled from the image encoder of SAM",
        objective="distilled",
        licence="Apache-2.0",
        keys="mobile_sam",
    ),
    "beit_base": _timm(
        "beit_base_patch16_224.in22k_ft_in22k",
        None,
        "ImageNet-22k, masked patches, then supervised",
        "SSL+SL",
        "Apache-2.0",
    ),
    "beit_base_ssl": WeightsCard(
        file="beit_base_patch16_224_pt22k.pth",
        sha256=None,
        encoder="beit_base_patch16_224",
        timm_name=None,
        trained_on="ImageNet-22k, masked patches",
        objective="SSL",
        licence="MIT",
        keys="beit_ssl",
    ),
    "dino_base": _timm(
        "vit_base_patch16_224.dino", None, "ImageNet-1k, self-distillation", "SSL", "Apache-2.0"
    ),
    "swin_base": _timm(
        "swin_base_patch4_window7_224.ms_in22k", None, "ImageNet-22k, supervised", "SL", "MIT", keys="swin"
    ),
    "video_swin_base": WeightsCard(
        file="swin_base_patch244_window877_kinetics600_22k.pth",
        sha256=None,
        encoder="video_swin_base",
        timm_name=None,
        trained_on="ImageNet-22k, then Kinetics-600, supervised",
        objective="SL",
        licence="Apache-2.0",
    ),
    # Those of Med-Tuning.
    "swin_tiny": _timm(
        "swin_tiny_patch4_window7_224.ms_in1k", None, "ImageNet-1k, supervised", "SL", "MIT", keys="swin"
    ),
    "vit_base_augreg21k": _timm(
        "vit_base_patch16_224.augreg_in21k", None, "ImageNet-21k, supervised", "SL", "Apache-2.0"
    ),
    "vit_base_mae": _timm(
        "vit_base_patch16_224.mae", None, "ImageNet-1k, masked patches", "SSL", "CC-BY-NC-4.0"
    ),
    "vit_base_clip": _timm(
        "vit_base_patch16_clip_quickgelu_224.openai",
        None,
        "400 million images with text",
        "SSL",
        "Apache-2.0",
    ),
    "vit_base_moco": WeightsCard(
        file="vit-b-300ep.pth.tar",
        sha256=None,
        encoder="vit_base_patch16_224",
        timm_name=None,
        trained_on="ImageNet-1k, two views of an image",
        objective="SSL",
        licence="CC-BY-NC-4.0",
        keys="moco_v3",
    ),
}


class Source(Frozen):
    """A row of TransSeg's Table 2(b).

    Attributes:
        trained_on: data, as the paper names them.
        objective: as the paper names it; None for random numbers.
        weights: key of WEIGHTS; None for random numbers, and where the authors published no file.
        encoder: the architecture of the row.
    """

    trained_on: str | None
    objective: str | None
    weights: str | None
    encoder: str


TABLE_2B: dict[str, Source] = {
    "BEiT-Random": Source(trained_on=None, objective=None, weights=None, encoder="beit_base_patch16_224"),
    "CT-DINO": Source(trained_on="RSNA-CT", objective="SSL", weights=None, encoder="vit_base_patch16_224"),
    "BEiT-SSL": Source(
        trained_on="ImageNet-22k", objective="SSL", weights="beit_base_ssl", encoder="beit_base_patch16_224"
    ),
    "DINO": Source(
        trained_on="ImageNet-1k", objective="SSL", weights="dino_base", encoder="vit_base_patch16_224"
    ),
    "SwinT": Source(
        trained_on="ImageNet-22k", objective="SL", weights="swin_base", encoder="swin_base_patch4_window7_224"
    ),
    "VideoSwinT": Source(
        trained_on="Kinetics-600", objective="SL", weights="video_swin_base", encoder="video_swin_base"
    ),
    "BEiT": Source(
        trained_on="ImageNet-22k", objective="SSL+SL", weights="beit_base", encoder="beit_base_patch16_224"
    ),
}


def stated_sha256(name: str | None) -> str | None:
    """Sha256 of named weights: that of the card, else the user's in $MEDSEG_WEIGHTS/SHA256SUMS, else None."""
    card = WEIGHTS.get(name or "")
    folder = os.environ.get("MEDSEG_WEIGHTS")
    if card is None or card.sha256 or folder is None:
        return card.sha256 if card else None
    sums = Path(folder) / SUMS
    lines = sums.read_text().splitlines() if sums.is_file() else []
    # As sha256sum writes it: digest, a space, a space or *, file.
    return next((line[:64].lower() for line in lines if line[66:] == card.file), None)
