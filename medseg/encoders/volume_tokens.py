"""A 2D ViT on the tokens of all slices of a window: depth enters attention, not the patch embedding.

Every slice is cut into patches by the 2D patch embedding; its tokens and its own class token get the 2D
positions. What a block attends over is the mode:

- "joint": all tokens of all slices, as in a ViT with 3D tokens (patch depth 1). A learned depth position,
  zero at the start, tells the slices apart.
- "cycle": one family of planes after another: the slices (height x width), then depth x width for every row,
  then depth x height for every column, then the slices again. No new parameters. Class tokens take part in
  the slices only.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import medseg.compat  # noqa: F401  isort: skip
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Generator, Tensor, nn
from torch.utils.checkpoint import checkpoint

from medseg.encoders.checkpoints import LoadReport
from medseg.encoders.contract import Encoder
from medseg.encoders.sites import Site, SliceSequences
from medseg.encoders.timm_encoder import TimmEncoder
from medseg.errors import InputError
from medseg.shapes import CHANNEL, DEPTH, FeatureMap, Windows, require_window

# Axes of the token volume (B, depth, height, width, C) that a block attends over, in the order of the blocks.
PLANES = ((2, 3), (1, 3), (1, 2))


class VolumeTokens(Encoder):
    """A timm ViT whose blocks see several slices; feature maps are those of the centre slice.

    Args:
        architecture: timm name of a plain ViT.
        in_channels: image channels of a slice.
        slices: depth of the window.
        image_px: edge of the square slice; a multiple of the patch size.
        taps: 0-based block numbers, shallow to deep.
        mode: what a block attends over.

    Raises:
        InputError: as TimmEncoder, or no plain ViT.
    """

    def __init__(
        self,
        architecture: str,
        in_channels: int,
        slices: int,
        image_px: int,
        taps: Sequence[int],
        mode: Literal["joint", "cycle"],
    ):
        super().__init__()
        self.plane = TimmEncoder(architecture, in_channels, 1, image_px, taps)
        if not isinstance(self.plane.trunk, VisionTransformer):
            raise InputError(
                f"the slices of {architecture} cannot meet in attention",
                expected="a plain timm ViT, such as vit_tiny_patch16_224",
                got=architecture,
                do="set mixing to patch",
            )
        self.slices, self.mode = slices, mode
        self.channels, self.strides = self.plane.channels, self.plane.strides
        # A block sees the tokens in the order of its planes. Behind each of them they lie by slices again.
        self.after = nn.ModuleList([nn.Identity() for _ in self.plane.sites()])
        if mode == "joint":
            self.depth_embed = nn.Parameter(torch.zeros(1, slices, 1, self.channels[0]))

    def forward(self, windows: Windows) -> list[FeatureMap]:
        """Feature maps (B, C, H / patch, W / patch) of the centre slice at the taps.

        Raises:
            InputError: windows of other channels or slices.
        """
        require_window(windows, self.plane.in_channels, self.slices, self.plane.architecture)
        trunk: Any = self.plane.trunk
        batch = windows.shape[0]
        tokens = trunk.patch_embed(windows.transpose(CHANNEL, DEPTH).flatten(0, 1))
        tokens = trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(tokens)))
        tokens = tokens.unflatten(0, (batch, self.slices))
        if self.mode == "joint":
            tokens = tokens + self.depth_embed
        maps = []
        for number, block in enumerate(trunk.blocks):
            tokens = self.after[number](self._attend(block, tokens, number))
            if number in self.plane.taps:
                maps.append(self._centre(tokens))
            if number == self.plane.taps[-1]:
                break
        return maps

    def load(self, weights: str, rule: str, generator: Generator | None = None) -> LoadReport:
        """Fill the 2D network with 2D weights, see TimmEncoder.load; one slice has one kernel."""
        return self.plane.load(weights, rule, generator)

    def sites(self) -> list[Site]:
        """As many as the 2D network has; their tokens are those that a block gives back, by slices."""
        trunk: Any = self.plane.trunk
        layout = SliceSequences(trunk.patch_embed.grid_size, trunk.num_prefix_tokens)
        return [
            replace(site, name=f"after.{number}", block=self.after[number], layout=layout)
            for number, site in enumerate(self.plane.sites())
        ]

    def recompute_activations(self) -> None:
        """As the 2D network, see TimmEncoder.recompute_activations."""
        self.plane.recompute_activations()

    def _attend(self, block: nn.Module, tokens: Tensor, number: int) -> Tensor:
        """One block on (B, slices, prefix + H * W, C)."""
        if self.mode == "joint":
            return self._through(block, tokens.flatten(1, 2)).view_as(tokens)
        axes = PLANES[number % len(PLANES)]
        if axes == PLANES[0]:
            return self._through(block, tokens.flatten(0, 1)).view_as(tokens)
        trunk: Any = self.plane.trunk
        prefix = trunk.num_prefix_tokens
        volume = tokens[:, :, prefix:].unflatten(2, trunk.patch_embed.grid_size)
        batch_like = next(axis for axis in (1, 2, 3) if axis not in axes)
        planes = volume.movedim(batch_like, 1)
        mixed = self._through(block, planes.flatten(2, 3).flatten(0, 1))
        volume = mixed.view(planes.shape).movedim(1, batch_like)
        return torch.cat([tokens[:, :, :prefix], volume.flatten(2, 3)], dim=2)

    def _through(self, block: nn.Module, tokens: Tensor) -> Tensor:
        trunk: Any = self.plane.trunk
        if trunk.grad_checkpointing and self.training:
            return checkpoint(block, tokens, use_reentrant=False)
        return block(tokens)

    def _centre(self, tokens: Tensor) -> Tensor:
        trunk: Any = self.plane.trunk
        centre = tokens[:, self.slices // 2, trunk.num_prefix_tokens :]
        return centre.transpose(1, 2).unflatten(2, trunk.patch_embed.grid_size).contiguous()
