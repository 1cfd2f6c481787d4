"""The encoder half of Swin-Unet (Cao et al. 2022) as Med-Tuning has it: Swin-T cut to two blocks a stage.

Windows are 4 x 4 tokens, which at 128 px (a 32 x 32 grid) are the whole map of the last stage. Published
Swin-T weights have windows of 7 x 7: `load` carries their bias tables over (medseg.encoders.relative_bias).
The paper's code drops every key whose shape differs without a word: these tables and the patch embedding of
four channels stay random there, and frozen wherever the encoder is.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
from timm.models.swin_transformer import SwinTransformerStage
from torch import Generator, nn
from torch.utils.checkpoint import checkpoint

from medseg.encoders.checkpoints import LoadReport
from medseg.encoders.contract import Encoder
from medseg.encoders.sites import Site
from medseg.encoders.timm_encoder import TimmEncoder
from medseg.errors import InputError
from medseg.shapes import CHANNEL, DEPTH, FeatureMap, Windows, require_window

NAME = "swin_unet_tiny"
PUBLISHED = "swin_tiny_patch4_window7_224"
STAGES = (0, 1, 2, 3)
BLOCKS = 2
WINDOW = 4


class SwinUnetEncoder(Encoder):
    """Windows (B, in_channels, slices, image_px, image_px) in, what the decoder of Swin-Unet takes out.

    The first three maps are the skips: tokens as they enter a stage, before its blocks. The last is the
    output of the last stage behind the final layer norm. No path is dropped at random (0.1 in the paper's
    code), as in TimmEncoder.

    Args:
        in_channels: image channels of a slice.
        slices: depth of the window, folded into the patch embedding; 1 under SliceBatch.
        image_px: edge of the square slice; a multiple of 32.
        taps: stages 0, 1, 2, 3.

    Raises:
        InputError: other taps, or an image size off the grid.
    """

    def __init__(self, in_channels: int, slices: int, image_px: int, taps: Sequence[int] = STAGES):
        super().__init__()
        if tuple(taps) != STAGES:
            raise InputError(
                f"{NAME} gives its four stages",
                expected=f"taps {STAGES}",
                got=str(tuple(taps)),
                do="change taps",
            )
        self.plane = TimmEncoder(PUBLISHED, in_channels, slices, image_px, STAGES)
        self.channels, self.strides = self.plane.channels, self.plane.strides
        trunk: Any = self.plane.trunk
        trunk.layers = nn.Sequential(*(_cut(stage) for stage in trunk.layers))
        trunk.init_weights()
        trunk.norm = nn.LayerNorm(trunk.num_features)

    def forward(self, windows: Windows) -> list[FeatureMap]:
        """Feature maps (B, channels[i], H / strides[i], W / strides[i]) of strides 4, 8, 16 and 32.

        Raises:
            InputError: windows of other channels or slices.
        """
        require_window(windows, self.plane.in_channels, self.plane.slices, PUBLISHED)
        trunk: Any = self.plane.trunk
        tokens = trunk.patch_embed(windows.flatten(CHANNEL, DEPTH))
        skips = []
        for stage in trunk.layers:
            tokens = stage.downsample(tokens)
            skips.append(tokens.movedim(-1, CHANNEL))
            recompute = stage.grad_checkpointing and self.training
            for block in stage.blocks:
                tokens = checkpoint(block, tokens, use_reentrant=False) if recompute else block(tokens)
        return [*skips[:-1], trunk.norm(tokens).movedim(-1, CHANNEL)]

    def load(self, weights: str, rule: str, generator: Generator | None = None) -> LoadReport:
        """Fill the encoder with weights of Swin-T, see TimmEncoder.load; the blocks cut off are skipped."""
        return self.plane.load(weights, rule, generator)

    def sites(self) -> list[Site]:
        """The eight blocks, two a stage, see TimmEncoder.sites."""
        return [replace(site, name=f"plane.{site.name}") for site in self.plane.sites()]

    def recompute_activations(self) -> None:
        """Keep the activations of one block at a time, see Encoder.recompute_activations."""
        self.plane.recompute_activations()


def _cut(stage: Any) -> SwinTransformerStage:
    """A fresh stage like this one, with the blocks and windows of Swin-Unet."""
    first = stage.blocks[0]
    return SwinTransformerStage(
        stage.dim,
        first.dim,
        stage.input_resolution,
        BLOCKS,
        downsample=stage.dim != first.dim,
        num_heads=first.attn.num_heads,
        window_size=WINDOW,
    )
