"""Any plain timm ViT as an encoder of slice windows, with feature taps.

The depth of a window is swallowed by the patch embedding: its kernel is (slices, patch, patch), and one
layer of tokens remains (TransSeg, section 3.1). A 3D convolution whose kernel spans the whole depth is a
2D convolution over channels x slices, so the window is folded and timm's own network runs on it.
"""

from collections.abc import Sequence
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
import timm
from timm.layers import resample_abs_pos_embed
from torch import Generator, Tensor, nn

from medseg.encoders.checkpoints import STAND_IN, LoadReport, read_weights, stand_in_state
from medseg.encoders.contract import Encoder
from medseg.errors import InputError
from medseg.inflation.inflate import inflate_state
from medseg.shapes import CHANNEL, DEPTH, FeatureMap, Windows


class ViTEncoder(Encoder):
    """A timm ViT that takes (B, in_channels, slices, image_px, image_px) and taps raw block outputs.

    Args:
        architecture: timm name, for example "vit_tiny_patch16_224".
        in_channels: image channels of a slice.
        slices: depth of the window.
        image_px: edge of the square slice; a multiple of the patch size.
        taps: 0-based block numbers, shallow to deep.

    Raises:
        InputError: unknown architecture, image size off the patch grid, or a tap beyond the last block.
    """

    def __init__(self, architecture: str, in_channels: int, slices: int, image_px: int, taps: Sequence[int]):
        super().__init__()
        self.architecture, self.in_channels, self.slices = architecture, in_channels, slices
        self.image_px, self.taps = image_px, tuple(taps)
        try:
            trunk: Any = timm.create_model(
                architecture, in_chans=in_channels * slices, img_size=image_px, num_classes=0
            )
        except (RuntimeError, AssertionError, TypeError) as error:
            raise InputError(
                f"timm cannot build {architecture!r} at {image_px} px",
                expected="a plain timm ViT and an image size that its patches divide",
                got=str(error),
                do="see timm.list_models('vit_*')",
            ) from error
        patch = trunk.patch_embed.patch_size[0]
        if image_px % patch or max(self.taps) >= len(trunk.blocks):
            raise InputError(
                f"{architecture} does not fit the request",
                expected=f"image size a multiple of {patch}, taps below {len(trunk.blocks)}",
                got=f"image size {image_px}, taps {self.taps}",
                do="change image_px or taps",
            )
        # Features are raw block outputs: the last norm would stay without gradient.
        trunk.norm = trunk.fc_norm = nn.Identity()
        self.trunk: Any = trunk
        self.channels = (trunk.embed_dim,) * len(self.taps)
        self.strides = (patch,) * len(self.taps)

    def forward(self, windows: Windows) -> list[FeatureMap]:
        """Feature maps (B, C, H / patch, W / patch) at the taps."""
        folded = windows.flatten(CHANNEL, DEPTH)
        return self.trunk.forward_intermediates(
            folded, indices=list(self.taps), norm=False, output_fmt="NCHW", intermediates_only=True
        )

    def load(self, weights: str, rule: str, generator: Generator | None = None) -> LoadReport:
        """Fill the encoder with inflated 2D weights; nothing is left silent.

        Args:
            weights: key of WEIGHTS, or "stand_in".
            rule: inflation rule, key of RULES.
            generator: for the rule "random".

        Raises:
            InputError: the weights do not cover the encoder whole.
        """
        sha256: str | None = None
        if weights == STAND_IN:
            plain = timm.create_model(self.architecture, num_classes=0)
            plain.norm = plain.fc_norm = nn.Identity()
            state = stand_in_state(plain.state_dict())
        else:
            state, card = read_weights(weights)
            sha256 = card.sha256
        lifted, report = inflate_state(
            state,
            self.trunk.state_dict(),
            in_channels=self.in_channels,
            slices=self.slices,
            rule=rule,
            resize_positions=self._resize_positions,
            source=weights,
            sha256=sha256,
            generator=generator,
        )
        report.require(coverage=1.0)
        self.trunk.load_state_dict(lifted)
        return report

    def _resize_positions(self, positions: Tensor, wanted: Tensor) -> Tensor:
        return resample_abs_pos_embed(
            positions,
            new_size=list(self.trunk.patch_embed.grid_size),
            num_prefix_tokens=self.trunk.num_prefix_tokens,
        ).to(wanted.dtype)
