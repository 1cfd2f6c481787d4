"""Any timm network that gives its intermediate maps, as an encoder of slice windows with feature taps.

The depth of a window is swallowed by the first convolution: its kernel spans all slices, and a network of 2D
maps remains (TransSeg, section 3.1). A 3D convolution whose kernel spans the whole depth is a 2D convolution
over channels x slices, so the window is folded and timm's own network runs on it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
import timm
import torch
from timm.layers import Conv2dSame, DropPath, resample_abs_pos_embed
from timm.models.tiny_vit import TinyVit
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medseg.encoders import mobile_sam
from medseg.encoders.checkpoints import STAND_IN, LoadReport, read_weights, stand_in_state
from medseg.encoders.contract import Encoder
from medseg.encoders.key_names import renamed, shared_table_in_every_block, table_of
from medseg.encoders.relative_bias import BIAS_TABLE, resized_table
from medseg.encoders.sites import Layout, Planes, Sequences, Site
from medseg.errors import InputError
from medseg.inflation.inflate import POSITIONS, inflate_state
from medseg.shapes import CHANNEL, DEPTH, FeatureMap, Windows, require_window


class TimmEncoder(Encoder):
    """A timm network that takes (B, in_channels, slices, image_px, image_px) and taps raw outputs.

    Taps of a plain ViT (BEiT, DeiT, DINO) are its blocks, all at the stride of a patch; those of a
    hierarchical network (Swin, TinyViT) its stages. No norm follows a tap, and what lies behind the last one
    is cut off. No path is dropped at random: such a mask would depend on how a batch is shared out.

    Args:
        architecture: timm name, for example "vit_tiny_patch16_224", or that of medseg.encoders.mobile_sam.
        in_channels: image channels of a slice.
        slices: depth of the window.
        image_px: edge of the square slice; a multiple of the largest stride.
        taps: 0-based numbers of blocks or stages, shallow to deep.

    Raises:
        InputError: unknown architecture, image size off the grid, or taps that are not there.
    """

    def __init__(self, architecture: str, in_channels: int, slices: int, image_px: int, taps: Sequence[int]):
        super().__init__()
        self.architecture, self.in_channels, self.slices = architecture, in_channels, slices
        self.image_px, self.taps = image_px, tuple(taps)
        trunk = _built(architecture, in_chans=in_channels * slices, img_size=image_px, num_classes=0)
        outputs = trunk.feature_info
        if max(self.taps) >= len(outputs) or sorted(set(self.taps)) != list(self.taps):
            raise InputError(
                f"{architecture} does not fit the request",
                expected=f"taps below {len(outputs)}, shallow to deep",
                got=f"taps {self.taps}",
                do="change taps; a network of four stages takes (0, 1, 2, 3)",
            )
        self.channels = tuple(outputs[tap]["num_chs"] for tap in self.taps)
        self.strides = tuple(outputs[tap]["reduction"] for tap in self.taps)
        if image_px % max(self.strides):
            raise InputError(
                f"{architecture} does not fit the request",
                expected=f"image size a multiple of {max(self.strides)}",
                got=f"image size {image_px}",
                do="change image_px",
            )
        # What no tap depends on would stay without gradient.
        trunk.prune_intermediate_layers(list(self.taps), prune_norm=True, prune_head=True)
        for module in trunk.modules():
            if isinstance(module, DropPath):
                module.drop_prob = 0.0
        self.trunk: Any = trunk
        # Slices that follow one another along the batch: whoever sends them so says how many.
        self.slices_in_batch = 1

    def forward(self, windows: Windows) -> list[FeatureMap]:
        """Feature maps (B, channels[i], H / strides[i], W / strides[i]) at the taps.

        Raises:
            InputError: windows of other channels or slices.
        """
        require_window(windows, self.in_channels, self.slices, self.architecture)
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
            InputError: the weights do not cover the encoder whole, or its first layer cannot be inflated.
        """
        target = self.trunk.state_dict()
        with torch.device("meta"):
            plain = _built(self.architecture)
        whole = plain.state_dict()
        left_out, sha256 = set(whole) - set(target), None
        if weights == STAND_IN:
            state = stand_in_state({key: value for key, value in whole.items() if key in target})
        else:
            state, card = read_weights(weights)
            sha256 = card.sha256
            state, more = renamed(state, table_of(state, card.keys))
            state = shared_table_in_every_block(state, target)
            left_out |= more
        lifted, report = inflate_state(
            state,
            target,
            in_channels=self.in_channels,
            slices=self.slices,
            rule=rule,
            resize=self._resize,
            source=weights,
            sha256=sha256,
            first_kernels=_first_kernels(plain),
            left_out=left_out,
            generator=generator,
        )
        report.require(coverage=1.0)
        self.trunk.load_state_dict(lifted)
        # TinyViT keeps what it gathered from its bias tables until the mode is set.
        self.trunk.train(self.trunk.training)
        return report

    def sites(self) -> list[Site]:
        """The transformer blocks; of TinyViT those of the stages that have attention.

        Raises:
            InputError: the network has no transformer blocks whose tokens lie as in a plain ViT or a Swin.
        """

        def slices() -> int:
            return self.slices_in_batch

        layout: Layout
        named: list[tuple[str, Any, int]] = []
        prefix = getattr(self.trunk, "num_prefix_tokens", None)
        grid = getattr(getattr(self.trunk, "patch_embed", None), "grid_size", None)
        if prefix is not None and grid is not None and hasattr(self.trunk, "blocks"):
            layout = Sequences(grid, prefix, slices)
            named = [
                (f"trunk.blocks.{number}", block, sum(tap < number for tap in self.taps))
                for number, block in enumerate(self.trunk.blocks)
            ]
        elif isinstance(self.trunk, TinyVit) or getattr(self.trunk, "output_fmt", None) == "NHWC":
            layout, name = Planes(slices), "layers" if hasattr(self.trunk, "layers") else "stages"
            named = [
                (f"trunk.{name}.{stage}.blocks.{n}", block, stage)
                for stage, part in enumerate(getattr(self.trunk, name, ()))
                for n, block in enumerate(getattr(part, "blocks", ()))
                if hasattr(block, "attn")
            ]
        if not named or not all(_has_parts(block) for _, block, _ in named):
            return super().sites()
        following = [stage for *_, stage in named[1:]] + [-1]
        return [
            Site(name, block, _width(block), stage, stage != after, layout, block.attn, block.mlp)
            for (name, block, stage), after in zip(named, following, strict=True)
        ]

    def recompute_activations(self) -> None:
        """Keep the activations of one block at a time, see Encoder.recompute_activations.

        Raises:
            InputError: a batch norm would count every batch twice.
        """
        if any(isinstance(module, _BatchNorm) for module in self.modules()):
            super().recompute_activations()
        self.trunk.set_grad_checkpointing(True)

    def _resize(self, key: str, value: Tensor, wanted: Tensor) -> Tensor | None:
        if key.endswith(BIAS_TABLE):
            return resized_table(value, len(wanted)) if value.shape[1:] == wanted.shape[1:] else None
        if key != POSITIONS:
            return None
        return resample_abs_pos_embed(
            value,
            new_size=list(self.trunk.patch_embed.grid_size),
            num_prefix_tokens=0
            if getattr(self.trunk, "no_embed_class", False)
            else self.trunk.num_prefix_tokens,
        ).to(wanted.dtype)


def _has_parts(block: Any) -> bool:
    """Whether a block is attention and a perceptron of two layers, under timm's names."""
    return hasattr(block, "attn") and hasattr(getattr(block, "mlp", None), "fc1")


def _width(block: Any) -> int:
    """Channels of a token, as the perceptron of a block takes them."""
    return int(block.mlp.fc1.in_features)


def _first_kernels(plain: Any) -> list[str]:
    """Keys of the kernels that meet the image, as timm names their layers.

    Raises:
        InputError: a first layer is no plain convolution; one that standardises its kernel would see the
            zeros of other slices.
    """
    named = plain.pretrained_cfg.get("first_conv") or ()
    layers = (named,) if isinstance(named, str) else tuple(named)
    kinds = {type(plain.get_submodule(layer)) for layer in layers}
    if not kinds or not kinds <= {nn.Conv2d, Conv2dSame}:
        raise InputError(
            "the first layer of this network cannot be inflated key by key",
            expected="a plain convolution that timm names",
            got=", ".join(kind.__name__ for kind in kinds) or "none named",
            do="medseg.inflation.first_conv lifts whole networks; or train from scratch, weights null",
        )
    return [f"{layer}.weight" for layer in layers]


def _built(architecture: str, **options: Any) -> Any:
    """A network of timm, with random weights.

    Raises:
        InputError: timm has no such network, not with these options, or it does not give its maps.
    """
    make = (
        mobile_sam.tiny_vit_5m
        if architecture == mobile_sam.NAME
        else partial(timm.create_model, architecture)
    )
    try:
        try:
            trunk: Any = make(**options)
        except TypeError as error:
            # Networks of convolutions take any size and no such argument.
            if "img_size" not in str(error):
                raise
            trunk = make(**{name: value for name, value in options.items() if name != "img_size"})
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise InputError(
            f"timm cannot build {architecture!r} with {options}",
            expected="a timm network, and an image size that its patches divide",
            got=str(error),
            do="see timm.list_models(), for example vit_*, beit_*, swin_*, tiny_vit_*",
        ) from error
    if not hasattr(trunk, "prune_intermediate_layers"):
        raise InputError(
            f"{architecture} does not give its intermediate maps",
            expected="a timm network with forward_intermediates",
            got=type(trunk).__name__,
            do="choose a vit_*, beit_*, swin_* or tiny_vit_* network",
        )
    return trunk
