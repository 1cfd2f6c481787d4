"""The decoder of Swin-Unet (Cao et al. 2022): the encoder's stages mirrored, and its weights copied to it."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import medseg.compat  # noqa: F401  isort: skip
import torch
from timm.layers import trunc_normal_
from timm.models.swin_transformer import SwinTransformerStage
from torch import Tensor, nn

from medseg.decoders.layers import DEFAULT_STRIDE
from medseg.encoders.checkpoints import Action, LoadReport
from medseg.shapes import CHANNEL, FeatureMap, Logits

BLOCKS = 2
HEAD_WIDTH = 32
WINDOW = 4
# The last expansion; what is missing to the image is left to whoever resizes logits.
LAST_FACTOR = 4
STAGE_BLOCK = re.compile(r"(?:^|\.)(layers\.(\d+)\.(blocks\..+))$")


class PatchExpand(nn.Module):
    """Tokens (B, h, w, inputs) to (B, factor * h, factor * w, outputs): a linear layer, parted, normed."""

    def __init__(self, inputs: int, outputs: int, factor: int):
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(inputs, factor**2 * outputs, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """The finer tokens."""
        parted = self.expand(tokens).unflatten(-1, (self.factor, self.factor, -1))
        # B h w f f C to B (h f) (w f) C.
        return self.norm(parted.transpose(2, 3).flatten(3, 4).flatten(1, 2))


class UpStage(nn.Module):
    """Two Swin blocks (timm's) on tokens (B, h, w, width), then the way up."""

    def __init__(self, width: int, upsample: nn.Module):
        super().__init__()
        # Masks are made for the map that comes: its size is not known here.
        self.blocks = SwinTransformerStage(
            width,
            width,
            (WINDOW, WINDOW),
            BLOCKS,
            downsample=False,
            num_heads=max(width // HEAD_WIDTH, 1),
            window_size=WINDOW,
            always_partition=True,
            dynamic_mask=True,
        ).blocks
        self.upsample = upsample

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens of the next finer map."""
        return self.upsample(self.blocks(tokens))


class SwinUnet(nn.Module):
    """Feature maps in, logits at four times the finest map out.

    The deepest map is expanded to the next finer one. There and at each finer one: the skip beside it, a
    linear layer back to the width of the skip, two Swin blocks with windows of 4 x 4 tokens, and on. No path
    is dropped at random. Maps narrower than a window are filled with zeros up to it.

    Args:
        in_channels: channels of the maps, shallow to deep; also the widths of the decoder.
        channels: not used.
        classes: number of classes, background included.
        strides: of the maps in image pixels; None: all have patches of 16.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, classes: int, strides: Sequence[int] | None = None
    ):
        super().__init__()
        widths = list(reversed(in_channels))
        edges = list(reversed(strides or [DEFAULT_STRIDE] * len(widths)))
        ups: list[nn.Module] = [
            PatchExpand(deep, fine, deep_edge // fine_edge)
            for (deep, fine), (deep_edge, fine_edge) in zip(pairwise(widths), pairwise(edges), strict=True)
        ]
        ups.append(nn.Identity())
        # Named as in Swin-Unet.
        self.layers_up = nn.ModuleList(
            [ups[0], *(UpStage(width, up) for width, up in zip(widths[1:], ups[1:], strict=True))]
        )
        self.concat_back_dim = nn.ModuleList(
            [nn.Identity(), *(nn.Linear(2 * width, width) for width in widths[1:])]
        )
        self.norm_up = nn.LayerNorm(widths[-1])
        self.up = PatchExpand(widths[-1], widths[-1], min(LAST_FACTOR, edges[-1]))
        self.output = nn.Conv2d(widths[-1], classes, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: list[FeatureMap]) -> Logits:
        """Logits (B, classes, h, w)."""
        deepest, *skips = (feature.movedim(CHANNEL, -1) for feature in reversed(features))
        first_up, *stages = self.layers_up
        tokens = first_up(deepest)
        for skip, narrow, stage in zip(skips, list(self.concat_back_dim)[1:], stages, strict=True):
            tokens = stage(narrow(torch.cat([tokens, skip], dim=-1)))
        return self.output(self.up(self.norm_up(tokens)).movedim(-1, CHANNEL))

    def copy_from(
        self, encoder_state: Mapping[str, Tensor], loaded: Mapping[str, Action] | None = None
    ) -> LoadReport:
        """Take over the encoder's blocks; arguments and report as in `copied_to_decoder`."""
        state, report = copied_to_decoder(encoder_state, self.state_dict(), loaded)
        self.load_state_dict(state)
        return report


def copied_to_decoder(
    encoder_state: Mapping[str, Tensor],
    decoder_state: Mapping[str, Tensor],
    loaded: Mapping[str, Action] | None = None,
) -> tuple[dict[str, Tensor], LoadReport]:
    """The decoder's state with the encoder's blocks in it, as Swin-Unet starts.

    The last of n stages mirrors none; stage n - 1 - i gives its blocks to layers_up.i where shapes agree.
    Swin-Unet copies published tensors; with windows of 4 their bias tables do not fit and stay random, of
    which the paper's code says nothing. Here the encoder's own are copied, which its `load` has fitted.

    Args:
        encoder_state: state of a Swin, with any prefix before "layers.".
        decoder_state: state of a SwinUnet.
        loaded: actions of the report on the encoder, which go with what is copied: None for all mapped.

    Returns:
        The state to load, and for every key of the decoder what became of it: "mapped" (copied), "resized"
        (copied from what was resized for the encoder) or "drawn" (left at random). Every other key of the
        encoder is "skipped". Coverage is of the decoder.
    """
    last = max(int(key.split(".")[1]) for key in decoder_state if key.startswith("layers_up."))
    state = dict(decoder_state)
    actions: dict[str, Action] = dict.fromkeys(decoder_state, "drawn")
    for key, value in encoder_state.items():
        block = STAGE_BLOCK.search(key)
        name = f"layers_up.{last - int(block[2])}.{block[3]}" if block else ""
        if block and name in state and state[name].shape == value.shape:
            state[name], actions[name] = value, (loaded or {}).get(block[1], "mapped")
        else:
            actions[key] = "skipped"
    total = sum(value.numel() for value in decoder_state.values())
    copied = sum(state[key].numel() for key in decoder_state if actions[key] != "drawn")
    return state, LoadReport("encoder", None, actions, copied / total, 1 - copied / total)
