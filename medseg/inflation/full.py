"""A convolutional 2D network with depth in every layer, after I3D (Carreira and Zisserman 2017, section 2).

Every k x k convolution becomes one of (kernel_depth, k, k); pointwise ones stay pointwise. The network runs
on the slices of a window as one batch, and only the convolutions put the slices side by side again. So each
other layer is its 3D counterpart: a batch norm over the slices of a batch is a batch norm over its voxels,
a pool of (k, k) is a pool of (1, k, k). Depth keeps its size; gates and global pools see one slice at a time.
"""

import copy
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn

from medseg.errors import InputError
from medseg.inflation.first_conv import first_layers
from medseg.inflation.rules import RULES, lift_kernel
from medseg.shapes import BATCH, CHANNEL, DEPTH, FeatureMap, Windows

# Rules that keep the 2D answer on a depth-constant volume and leave the channels as they are.
FULL_RULES = ("center", "average", "linear")


def _padding(layer: nn.Conv2d) -> tuple[int, ...]:
    """Zeros at each end of height and width.

    Raises:
        InputError: an even kernel that keeps the size: its two ends have other numbers.
    """
    if layer.padding == "valid":
        return (0, 0)
    if not isinstance(layer.padding, str):
        return layer.padding
    totals = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    if any(total % 2 for total in totals):
        raise InputError(
            "this convolution cannot be inflated",
            expected='an odd kernel where the padding is "same"',
            got=f"kernel {layer.kernel_size}, dilation {layer.dilation}",
            do="choose another network",
        )
    return tuple(total // 2 for total in totals)


class DepthConv(nn.Conv3d):
    """A convolution over depth too, on slices that lie in the batch: (B D) C H W in and out.

    Depth is padded by its first and last slice, so that a depth-constant volume stays one; height and width
    are padded as in 2D.

    Args:
        layer: the 2D convolution.
        kernel: its weight in 3D, (out, in, kernel_depth, h, w), kernel_depth odd.
        depth: slices of a window.
    """

    def __init__(self, layer: nn.Conv2d, kernel: Tensor, depth: int):
        out_channels, per_group, *edges = kernel.shape
        in_channels = per_group * layer.groups
        same = isinstance(layer, Conv2dSame)
        padding: Any = (0, 0) if same else _padding(layer)
        super().__init__(
            in_channels,
            out_channels,
            tuple(edges),  # type: ignore[arg-type]
            stride=(1, *layer.stride),  # type: ignore[arg-type]
            padding=(0, *padding),
            dilation=(1, *layer.dilation),  # type: ignore[arg-type]
            groups=layer.groups,
            bias=layer.bias is not None,
            device=kernel.device,
            dtype=kernel.dtype,
        )
        self.weight, self.bias = nn.Parameter(kernel), layer.bias
        self.depth, self.same = depth, same

    def forward(self, slices: FeatureMap) -> FeatureMap:
        """Convolve the slices of each window together."""
        if self.same:
            kernel, stride, dilation = (list(x[1:]) for x in (self.kernel_size, self.stride, self.dilation))
            slices = pad_same(slices, kernel, stride, dilation)
        windows = slices.unflatten(BATCH, (-1, self.depth)).movedim(DEPTH - 1, DEPTH)
        beyond = self.kernel_size[0] // 2
        padded = nn.functional.pad(windows, (0, 0, 0, 0, beyond, beyond), mode="replicate")
        return super().forward(padded).movedim(DEPTH, CHANNEL).flatten(BATCH, CHANNEL)


class FullyInflated(nn.Module):
    """A 2D network whose convolutions see depth, on windows (B, in_channels, depth, H, W).

    Feature vectors come back as (B, C), the mean over depth; feature maps as (B, C, depth, h, w).
    """

    def __init__(self, trunk: nn.Module, depth: int):
        super().__init__()
        self.trunk, self.depth = trunk, depth

    def forward(self, windows: Windows) -> Tensor:
        """Run the slices as one batch.

        Raises:
            InputError: the window has another number of slices.
        """
        if windows.shape[DEPTH] != self.depth:
            raise InputError(
                "the window does not fit the inflated network",
                expected=f"{self.depth} slices",
                got=f"{windows.shape[DEPTH]}",
                do="cut such windows, or inflate for another depth",
            )
        output = self.trunk(windows.movedim(DEPTH, CHANNEL).flatten(BATCH, CHANNEL))
        output = output.unflatten(BATCH, (-1, self.depth))
        return output.mean(1) if output.ndim == 3 else output.movedim(DEPTH - 1, DEPTH)


def inflate_fully(
    model_2d: nn.Module, depth: int, rule: str = "average", kernel_depth: int = 3, in_channels: int = 1
) -> FullyInflated:
    """Inflate all k x k convolutions of a plain convolutional timm network; the model itself is left alone.

    The first convolution takes `in_channels` gray channels, as in `lift`. With "center" each slice gives
    what the 2D network gives; with every rule a depth-constant window does, borders included.

    Args:
        model_2d: built by timm for three input channels: ResNet, VGG, RegNet, ConvNeXt, EfficientNet, ...
        depth: slices of a window.
        rule: one of FULL_RULES.
        kernel_depth: odd size of the kernels along depth.
        in_channels: image channels of a slice.

    Raises:
        InputError: another rule, an even kernel, or a network with layers that this cannot inflate.
    """
    if rule not in FULL_RULES or kernel_depth < 1 or kernel_depth % 2 == 0 or depth < 1:
        raise InputError(
            "there is no such full inflation",
            expected=f"rule {' | '.join(FULL_RULES)}, an odd kernel_depth, at least 1 slice",
            got=f"rule {rule!r}, kernel_depth {kernel_depth}, {depth} slices",
            do="change rule or kernel_depth",
        )
    trunk = copy.deepcopy(model_2d)
    first = first_layers(trunk)
    require_plain(trunk, first)
    for key, layer in list(trunk.named_modules()):
        if not isinstance(layer, nn.Conv2d) or (key not in first and max(layer.kernel_size) == 1):
            continue
        weight = layer.weight.detach()
        if key in first:
            kernel = lift_kernel(weight, rule=rule, in_channels=in_channels, depth=kernel_depth)
        else:
            kernel = RULES[rule](weight, kernel_depth, None)
        trunk.set_submodule(key, DepthConv(layer, kernel.contiguous(), depth).train(layer.training))
    return FullyInflated(trunk, depth)


# Classes and names of timm that mix positions in another way than by a convolution, and gates that have
# attention in their names and weigh channels or pixels of one slice.
MIXERS = ("attention", "attn", "lambda", "spatialgating", "xca", "litemla", "shsa", "shma")
TOKEN_LAYERS = ("mlp_tokens", "linear_tokens")
GATES = ("splitattn", "selectivekernelattn", "channelattn", "spatialattn")


def _mixes_positions(key: str, layer: nn.Module) -> bool:
    kind = type(layer).__name__.lower()
    mixes = any(name in kind for name in MIXERS) and not any(name in kind for name in GATES)
    return mixes or isinstance(layer, nn.RNNBase) or key.endswith(TOKEN_LAYERS)


def require_plain(model: nn.Module, first: list[str]) -> None:
    """Raise where a layer would not be its own 3D counterpart.

    Raises:
        InputError: attention or other mixing of positions outside convolutions, position embeddings, a
            kind of convolution other than Conv2d and Conv2dSame, or a first layer of another kind.
    """
    reasons = [
        f"{key}: {type(layer).__name__}"
        for key, layer in model.named_modules()
        if _mixes_positions(key, layer)
        or (isinstance(layer, nn.modules.conv._ConvNd) and type(layer) not in (nn.Conv2d, Conv2dSame))
        or (isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros")
        or (key in first and not (isinstance(layer, nn.Conv2d) and layer.in_channels == 3))
    ]
    positions = ("pos_embed", "relative_position")
    reasons += [key for key, _ in model.named_parameters() if any(name in key for name in positions)]
    if reasons:
        raise InputError(
            "the network cannot be inflated in full",
            expected="plain convolutions (Conv2d, Conv2dSame), norms, pools and gates on one slice",
            got=", ".join(reasons[:3]) + (", ..." if len(reasons) > 3 else ""),
            do="lift its first layer alone: medseg.inflation.first_conv.lift",
        )


def slices_mixed(model: FullyInflated) -> int:
    """How many slices the last layer sees, at most: 1 + (kernel_depth - 1) for each inflated layer.

    >>> slices_mixed(FullyInflated(nn.Identity(), depth=5))
    1
    """
    layers = [layer for layer in model.modules() if isinstance(layer, DepthConv)]
    return 1 + sum(layer.kernel_size[0] - 1 for layer in layers)
