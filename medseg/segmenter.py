"""Encoder + inflation + decoder from one ModelConfig, with its parameter and FLOP table."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import medseg.compat  # noqa: F401  isort: skip
from medseg.config import ModelConfig
from medseg.data.transforms import HIGH, LOW
from medseg.decoders import DECODERS
from medseg.decoders.swin_unet import SwinUnet
from medseg.decoders.unet3d import MULTIPLE as UNET3D_MULTIPLE
from medseg.decoders.unet3d import UNet3D
from medseg.encoders.checkpoints import LoadReport
from medseg.encoders.contract import Encoder
from medseg.encoders.registry import make
from medseg.encoders.slice_batch import VolumeLogits
from medseg.errors import InputError
from medseg.runtime import generator_for
from medseg.shapes import CHANNEL, Windows
from medseg.tuning import ADAPTER, options_of, tune

# Fields of the configuration that a file of what was tuned keeps beside its tensors.
MADE_AS = {"encoder", "decoder", "taps", "mixing", "stride"}
# What the network predicts of a window: its centre slice (B K H W), or every slice (B K D H W).
Target = Literal["center", "all"]


class Segmenter(nn.Module):
    """A network that takes windows (B, C, D, H, W) and predicts logits at the window's own size.

    Attributes:
        target: "center" gives logits (B, classes, H, W) of the centre slice, "all" (B, classes, D, H, W).
        parts: name of a part to module, in the order of the forward pass.
        intensity: range that the parts see; windows come in the range of medseg.data.transforms.
        made_as: what of the configuration changes the function but no shape and no weight (medseg.tuning).
    """

    def __init__(
        self, parts: dict[str, nn.Module], target: Target, intensity: tuple[float, float] = (LOW, HIGH)
    ):
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.target: Target = target
        self.intensity = intensity
        self.made_as: dict[str, Any] = {"target": target, "intensity": list(intensity)}

    def forward(self, windows: Windows) -> Tensor:
        """Logits of the windows."""
        value: Tensor | list[Tensor] = windows
        if self.intensity != (LOW, HIGH):
            low, high = self.intensity
            value = low + (high - low) / (HIGH - LOW) * (windows - LOW)
        for part in self.parts.values():
            # How many slices a window has is known from how many windows came.
            value = part(value, len(windows)) if isinstance(part, VolumeLogits) else part(value)
        assert isinstance(value, Tensor)
        plane = windows.shape[-2:]
        if value.shape[-2:] == plane:
            return value
        # Slices are resized one by one: as channels of one plane.
        resized = functional.interpolate(
            value.flatten(CHANNEL, -3), size=plane, mode="bilinear", align_corners=False
        )
        return resized.reshape(*value.shape[:-2], *plane)

    @property
    def encoder(self) -> Encoder | None:
        """The part that takes foreign weights, where there is one."""
        part = dict(self.parts.items()).get("encoder")
        return part if isinstance(part, Encoder) else None

    def recompute_activations(self) -> None:
        """Keep the activations of one encoder block at a time and compute the others again going back.

        Raises:
            InputError: the network has no encoder, or one whose activations cannot be recomputed.
        """
        if self.encoder is None:
            raise InputError(
                "this network has no blocks whose activations could be recomputed",
                expected="a network with a transformer encoder",
                got=" + ".join(self.parts),
                do="leave out --recompute; --accumulate also needs less memory",
            )
        self.encoder.recompute_activations()

    def attend_by_products(self) -> None:
        """Compute attention as two matrix products and a softmax in place of torch's fused kernel."""
        if self.encoder is not None:
            self.encoder.attend_by_products()


class SliceLogits(nn.Module):
    """The channels of a plane of logits, read as classes x slices: (B, K * D, H, W) to (B, K, D, H, W)."""

    def __init__(self, slices: int):
        super().__init__()
        self.slices = slices

    def forward(self, logits: Tensor) -> Tensor:
        """Logits of every slice."""
        return logits.unflatten(CHANNEL, (-1, self.slices))


def _vit_upernet(config: ModelConfig) -> Segmenter:
    encoder = make(
        config.encoder, config.in_channels, config.slices, config.image_px, config.taps, config.mixing
    )
    width = config.decoder_channels or encoder.channels[-1]
    every = config.target == "all"
    apart = config.mixing == "slices"
    planes = config.classes * (config.slices if every and not apart else 1)
    parts: dict[str, nn.Module] = {"encoder": encoder}
    parts["decoder"] = DECODERS[config.decoder](encoder.channels, width, planes, encoder.strides)
    if every:
        parts["slices"] = VolumeLogits() if apart else SliceLogits(config.slices)
    return Segmenter(parts, config.target, config.intensity)


def _unet3d(config: ModelConfig) -> Segmenter:
    if config.slices % UNET3D_MULTIPLE or config.image_px % UNET3D_MULTIPLE:
        raise InputError(
            "the window does not fit the 3D U-Net",
            expected=f"slices and image_px that {UNET3D_MULTIPLE} divides",
            got=f"{config.slices} slices of {config.image_px} px",
            do="set slices and image_px",
        )
    parts: dict[str, nn.Module] = {"unet": UNet3D(config.in_channels, config.classes)}
    return Segmenter(parts, "all", config.intensity)


NETWORKS: dict[str, Callable[[ModelConfig], Segmenter]] = {"vit_upernet": _vit_upernet, "unet3d": _unet3d}


def unfilled(config: ModelConfig) -> Segmenter:
    """The network of a configuration before foreign weights, frozen and with its adapter as that says.

    The adapter is drawn last: with and without one all else starts the same.

    Raises:
        InputError: the parts do not fit each other, or the encoder takes no such adapter.
    """
    segmenter, tuning = NETWORKS[config.network](config), config.tuning
    segmenter.made_as |= config.model_dump(include=MADE_AS, mode="json")
    options = dict(tuning.options)
    # As many as there are to train, where slices follow one another in the batch.
    if config.mixing == "slices" and "slices" in options_of(tuning.method):
        options.setdefault("slices", config.slices)
    tune(segmenter, tuning.method, options, tuning.also)
    return segmenter


def build(config: ModelConfig, seed: int) -> tuple[Segmenter, LoadReport | None]:
    """The network of a configuration, its fresh parts seeded, its encoder filled where weights are named.

    Fresh parts are drawn before foreign weights are loaded: with and without transfer the decoder starts
    the same.

    Raises:
        InputError: weights for a network that has no encoder to fill, or weights that do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for(seed, "init").initial_seed())
        segmenter = unfilled(config)
    if config.weights is None:
        return segmenter, None
    if segmenter.encoder is None:
        raise InputError(
            f"network {config.network!r} takes no weights",
            expected="weights: null",
            got=config.weights,
            do="leave the weights out, or choose a network with an encoder",
        )
    report = segmenter.encoder.load(config.weights, config.inflation, generator_for(seed, "inflation"))
    decoder = segmenter.parts["decoder"]
    if isinstance(decoder, SwinUnet):
        report = replace(report, decoder=decoder.copy_from(segmenter.encoder.state_dict(), report.actions))
    return segmenter, report


@dataclass(frozen=True)
class Size:
    """Parameters, and FLOPs (one multiply-add = 2) at the stated input shape, whole and per part.

    Attributes:
        flops: those of matrix products, convolutions and attention.
        flops_with_layer_norms_per_part: the same, and 5 for every element that a layer norm gives out. For
            BEiT that is the number TransSeg prints. Its tool (torchprofile) comes to the same sum otherwise:
            by two for each element of two norms, the scaled queries and two layer scales of a block.
    """

    parameters: int
    trainable: int
    flops: int
    input_shape: tuple[int, ...]
    parameters_per_part: dict[str, int]
    flops_per_part: dict[str, int]
    flops_with_layer_norms_per_part: dict[str, int]


def count_parameters(module: nn.Module, trainable_only: bool = False) -> int:
    """Number of scalars in the parameters of a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


LAYER_NORM = torch.ops.aten.native_layer_norm


def _layer_norm_flops(shape: tuple[int, ...], *args: Any, **kwargs: Any) -> int:
    """Mean, centring, variance, scale and shift: 5 for an element."""
    return 5 * prod(shape)


def measure_size(config: ModelConfig) -> Size:
    """Size of a network without weights or memory for them, for one window: built on torch's meta device."""
    with torch.device("meta"):
        segmenter = unfilled(config).eval()
        trainable = count_parameters(segmenter, trainable_only=True)
        # The counter stumbles over views of a parameter that trains, such as prompts put into windows.
        segmenter.requires_grad_(False)
        shape = (1, config.in_channels, config.slices, config.image_px, config.image_px)
        counter = FlopCounterMode(display=False, custom_mapping={LAYER_NORM: _layer_norm_flops})
        with counter, torch.no_grad():
            segmenter(torch.empty(shape))
    by_module = counter.get_flop_counts()
    by_part = {name: by_module.get(f"Segmenter.parts.{name}", {}) for name in segmenter.parts}
    norms = {name: ops.get(LAYER_NORM, 0) for name, ops in by_part.items()}
    whole: dict[str, nn.Module] = dict(segmenter.parts.items())
    if adapter := dict(segmenter.named_children()).get(ADAPTER):
        # It works inside the encoder: its FLOPs are counted there.
        whole[ADAPTER] = adapter
    return Size(
        parameters=count_parameters(segmenter),
        trainable=trainable,
        flops=counter.get_total_flops() - by_module["Global"].get(LAYER_NORM, 0),
        input_shape=shape,
        parameters_per_part={name: count_parameters(part) for name, part in whole.items()},
        flops_per_part={name: sum(ops.values()) - norms[name] for name, ops in by_part.items()},
        flops_with_layer_norms_per_part={name: sum(ops.values()) for name, ops in by_part.items()},
    )
