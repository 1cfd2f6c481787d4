"""Any timm architecture lifted by its first layer: the depth of a window becomes channels of that layer.

A convolution whose kernel spans the whole depth is a 2D convolution over channels x slices (TransSeg,
sections 3.1 and 3.2), so the window B C D H W is folded to B (C D) H W and everything behind the first layer
stays as it is. timm names the first layer of each architecture in `pretrained_cfg["first_conv"]`.
"""

import copy
from dataclasses import dataclass
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
import torch
from jaxtyping import Float
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import Generator, Tensor, nn

from medseg.errors import InputError
from medseg.inflation.rules import COLOURS, lift_kernel
from medseg.shapes import CHANNEL, DEPTH, Windows, require_window

STANDARDISED = (StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame)
# First layers that are no convolution but an affine map of patches, with the edge of the patch.
AFFINE_STEMS = {"stem_dct": 8}
# Linear patch embeddings flatten a patch with the colours last, these with the colours first.
COLOURS_FIRST = {"Gemma4PatchEmbed"}


@dataclass(frozen=True)
class LiftedLayer:
    """One first layer. `shape` is (out, in, D, h, w), or (out, in, D, pixels) of a layer on flat patches."""

    key: str
    kind: str
    shape_before: tuple[int, ...]
    shape: tuple[int, ...]
    note: str


@dataclass(frozen=True)
class LiftReport:
    """What a lift did. Parameters are counted in the lifted network: taken as they were, and replaced."""

    rule: str
    depth: int
    in_channels: int
    layers: tuple[LiftedLayer, ...]
    parameters_kept: int
    parameters_changed: int


class Lifted(nn.Module):
    """A 2D network that takes windows: (B, in_channels, depth, H, W) in, the 2D network's output out."""

    def __init__(self, trunk: nn.Module, in_channels: int, depth: int):
        super().__init__()
        self.trunk, self.in_channels, self.depth = trunk, in_channels, depth

    def forward(self, windows: Windows) -> Any:
        """Output of the trunk on the folded window.

        Raises:
            InputError: the window has another number of channels or slices.
        """
        require_window(windows, self.in_channels, self.depth, "the lifted network")
        return self.trunk(windows.flatten(CHANNEL, DEPTH))


def lift(
    model_2d: nn.Module, depth: int, rule: str, in_channels: int = 1, generator: Generator | None = None
) -> tuple[Lifted, LiftReport]:
    """Lift a timm model for colour images to windows of `depth` slices; the model itself is left alone.

    Args:
        model_2d: built by timm for three input channels.
        depth: slices of a window.
        rule: key of RULES.
        in_channels: image channels of a slice.
        generator: for the rule "random".

    Raises:
        InputError: no first layer that could take depth, or a rule that does not fit.
    """
    trunk = copy.deepcopy(model_2d)
    rows, changed = [], 0
    for key in first_layers(trunk):
        layer, note = trunk.get_submodule(key), ""
        plain = layer
        if key in AFFINE_STEMS:
            plain, note = _patch_convolution(layer, AFFINE_STEMS[key]), "affine stem as one layer"
        weight, groups = _colour_weight(key, plain)
        # (out, outer, colours, inner): where the colours stand among the inputs of one output.
        outer = _outer(trunk, key, plain, weight)
        kernel = weight.reshape(weight.shape[0], outer, COLOURS, -1).transpose(1, 2)
        kernel_3d = lift_kernel(kernel, rule=rule, in_channels=in_channels, depth=depth, generator=generator)
        folded = kernel_3d.flatten(1, 2).transpose(1, 2).reshape(weight.shape[0], -1, *weight.shape[2:])
        trunk.set_submodule(key, _layer_with(plain, folded))
        if isinstance(plain, STANDARDISED):
            note = "standardisation carried out once"
        note = "groups written out" if groups > 1 else note
        inner = weight.shape[2:] if outer == 1 and weight.ndim == 4 else (weight[0].numel() // COLOURS,)
        shape = (weight.shape[0], in_channels, depth, *inner)
        rows.append(LiftedLayer(key, type(layer).__name__, tuple(weight.shape), shape, note))
        changed += folded.numel()
    total = sum(parameter.numel() for parameter in trunk.parameters())
    report = LiftReport(rule, depth, in_channels, tuple(rows), total - changed, changed)
    return Lifted(trunk, in_channels, depth), report


def first_layers(model: nn.Module) -> list[str]:
    """Names of the layers that see the image.

    Raises:
        InputError: the model names none, or names one that it does not have.
    """
    named = (getattr(model, "pretrained_cfg", None) or {}).get("first_conv") or ()
    keys = [named] if isinstance(named, str) else list(named)
    have = dict(model.named_modules())
    keys = keys or [key for key in AFFINE_STEMS if key in have]
    if not keys or set(keys) - set(have):
        raise InputError(
            "the first layer is not known",
            expected='a timm model whose pretrained_cfg["first_conv"] names modules that it has',
            got=", ".join(keys) or "no name",
            do="build the model with timm.create_model and leave its layers in place",
        )
    return keys


def _colour_weight(key: str, layer: Any) -> tuple[Tensor, int]:
    """The weight that the layer applies, over all its inputs, and its groups.

    Standardisation runs over all inputs of an output. Zeros on the other slices would no longer be zeros, and
    copies would not add up to the 2D response, so it is carried out before the kernel is lifted.
    """
    known = type(layer) in (nn.Conv2d, Conv2dSame, nn.Linear, *STANDARDISED)
    inputs = getattr(layer, "in_channels", getattr(layer, "in_features", 0))
    if not known or inputs % COLOURS:
        raise InputError(
            f"the first layer {key} cannot be lifted",
            expected="a Conv2d (plain, SAME or weight-standardised) or a Linear over three colours",
            got=f"{type(layer).__name__} over {inputs} inputs",
            do="build the model for three input channels",
        )
    weight, groups = layer.weight.detach(), getattr(layer, "groups", 1)
    if type(layer) in STANDARDISED:
        gain = (layer.gain.detach() * layer.scale).flatten() if hasattr(layer, "gain") else None
        rows = weight.reshape(1, weight.shape[0], -1)
        weight = nn.functional.batch_norm(rows, None, None, gain, None, True, 0.0, layer.eps).view_as(weight)
    return _dense(weight, groups), groups


def _dense(weight: Tensor, groups: int) -> Tensor:
    """A grouped kernel as one over all inputs, zeros where a group does not look."""
    if groups == 1:
        return weight
    out, per_group = weight.shape[0] // groups, weight.shape[1]
    dense = weight.new_zeros(weight.shape[0], per_group * groups, *weight.shape[2:])
    for g in range(groups):
        rows = slice(g * out, (g + 1) * out)
        dense[rows, g * per_group : (g + 1) * per_group] = weight[rows]
    return dense


def _outer(trunk: nn.Module, key: str, layer: nn.Module, weight: Tensor) -> int:
    """Inputs of one output that stand in front of the colour axis: 1 where colours come first.

    Space-to-depth stems and linear patch embeddings have pixels in front of colours.
    """
    parent = trunk.get_submodule(key.rpartition(".")[0])
    if isinstance(layer, nn.Linear) and type(parent).__name__ in COLOURS_FIRST:
        return 1
    return weight.shape[1] // COLOURS


def _layer_with(layer: Any, weight: Tensor) -> nn.Module:
    """A plain layer of the same geometry as `layer`, with this weight and the bias of `layer`."""
    options: dict[str, Any] = {
        "bias": layer.bias is not None,
        "device": weight.device,
        "dtype": weight.dtype,
    }
    new: nn.Module
    if isinstance(layer, nn.Linear):
        new = nn.Linear(weight.shape[1], weight.shape[0], **options)
    else:
        same = isinstance(layer, Conv2dSame) or getattr(layer, "same_pad", False)
        kind = Conv2dSame if same else nn.Conv2d
        geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        new = kind(weight.shape[1], weight.shape[0], *geometry, **options)
    new.weight = nn.Parameter(weight.contiguous(), requires_grad=layer.weight.requires_grad)
    new.bias = layer.bias
    return new.train(layer.training)


def _patch_convolution(stem: nn.Module, patch: int) -> nn.Conv2d:
    """An affine map of square patches as a convolution, read off its answers to single pixels."""
    template = next(stem.parameters())
    pixels = COLOURS * patch**2
    impulses: Float[Tensor, "n rgb p p"] = torch.eye(pixels).view(pixels, COLOURS, patch, patch).double()
    stem_64 = copy.deepcopy(stem).double()
    with torch.no_grad():
        bias = stem_64(torch.zeros_like(impulses[:1]).to(template.device))
        answers = stem_64(impulses.to(template.device)) - bias
    convolution = nn.Conv2d(COLOURS, bias.shape[1], patch, patch).to(template)
    convolution.weight = nn.Parameter(answers.flatten(1).T.reshape(convolution.weight.shape).to(template))
    convolution.bias = nn.Parameter(bias.flatten().to(template))
    return convolution
