"""The ViT of Med-Tuning (Wang et al. 2023): patch tokens alone, positions of its own, one last norm."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Generator, nn

from medseg.encoders.checkpoints import LoadReport
from medseg.encoders.contract import Encoder
from medseg.encoders.sites import Site
from medseg.encoders.timm_encoder import TimmEncoder
from medseg.errors import InputError
from medseg.inflation.inflate import POSITIONS
from medseg.shapes import CHANNEL, FeatureMap, Windows

# torch's default, which the paper's code takes; timm's ViTs have 1e-6.
NORM_EPS = 1e-5


class MedVit(Encoder):
    """A plain timm ViT without class token; the last tap passes the final layer norm, the others do not.

    Positions belong to the grid of this image size (8 x 8 at 128 px: 49,152 parameters at width 768). As in
    the paper's code they start at random and never come from foreign weights.

    Args:
        architecture: timm name of a plain ViT.
        in_channels: image channels of a slice.
        slices: depth of the window, folded into the patch embedding; 1 under SliceBatch.
        image_px: edge of the square slice; a multiple of the patch size.
        taps: 0-based block numbers, shallow to deep; the paper's are 2, 5, 8, 11.

    Raises:
        InputError: as TimmEncoder, or no plain ViT.
    """

    def __init__(self, architecture: str, in_channels: int, slices: int, image_px: int, taps: Sequence[int]):
        super().__init__()
        self.plane = TimmEncoder(architecture, in_channels, slices, image_px, taps)
        trunk: Any = self.plane.trunk
        if type(trunk) is not VisionTransformer:
            raise InputError(
                f"{architecture} has no form without class token",
                expected="a plain timm ViT, such as vit_base_patch16_224",
                got=type(trunk).__name__,
                do="choose another encoder",
            )
        self.channels, self.strides = self.plane.channels, self.plane.strides
        trunk.cls_token = trunk.reg_token = None
        trunk.num_prefix_tokens = 0
        trunk.pos_embed = nn.Parameter(0.02 * torch.randn(1, trunk.patch_embed.num_patches, trunk.embed_dim))
        trunk.norm = nn.LayerNorm(trunk.embed_dim)
        for module in trunk.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = NORM_EPS

    def forward(self, windows: Windows) -> list[FeatureMap]:
        """Feature maps (B, C, H / patch, W / patch) at the taps."""
        trunk: Any = self.plane.trunk
        *others, last = self.plane(windows)
        return [*others, trunk.norm(last.movedim(CHANNEL, -1)).movedim(-1, CHANNEL)]

    def load(self, weights: str, rule: str, generator: Generator | None = None) -> LoadReport:
        """Fill all but the positions, which the report calls drawn, with 2D weights, see TimmEncoder.load."""
        trunk: Any = self.plane.trunk
        own, trunk.pos_embed = trunk.pos_embed, None
        rest = sum(parameter.numel() for parameter in trunk.parameters())
        try:
            report = self.plane.load(weights, rule, generator)
        finally:
            trunk.pos_embed = own
        total = rest + own.numel()
        return replace(
            report,
            actions=report.actions | {POSITIONS: "drawn"},
            coverage=report.coverage * rest / total,
            drawn=(report.drawn * rest + own.numel()) / total,
        )

    def sites(self) -> list[Site]:
        """The blocks, see TimmEncoder.sites."""
        return [replace(site, name=f"plane.{site.name}") for site in self.plane.sites()]

    def recompute_activations(self) -> None:
        """Keep the activations of one block at a time, see Encoder.recompute_activations."""
        self.plane.recompute_activations()
