"""Video Swin (Liu et al. 2022) as an encoder of slice windows: torchvision's network, four stages tapped.

Depth takes the place of time. Patches are (2, 4, 4) and attention windows up to (8, 7, 7); of every stage the
depth slice that holds the centre of the window is taken, as TransSeg's code does. The weights are already 3D:
nothing is inflated, the RGB kernel alone is summed to gray.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torchvision.models.video import swin3d_b, swin3d_s, swin3d_t
from torchvision.ops import StochasticDepth

from medseg.encoders.checkpoints import STAND_IN, LoadReport, read_weights, stand_in_state
from medseg.encoders.contract import Encoder
from medseg.encoders.key_names import KeyTable, renamed
from medseg.encoders.sites import Site, Volumes
from medseg.errors import InputError
from medseg.inflation.inflate import PATCH_KERNEL, inflate_state
from medseg.inflation.rules import sum_to_gray
from medseg.shapes import BATCH, CHANNEL, DEPTH, KERNEL_DEPTH, KERNEL_IN, FeatureMap, Windows

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "video_swin_tiny": swin3d_t,
    "video_swin_small": swin3d_s,
    "video_swin_base": swin3d_b,
}
PATCH = (2, 4, 4)
STAGES = 4
# torchvision keeps the stages in a list, the merging of patches after each but the last in between.
STEP = 2
# Tokens are B D H W C.
TOKEN_DEPTH = 1
# Both leave the response to equal slices as it is; nothing is inflated here.
RULES_WITHOUT_EFFECT = ("center", "average")

# Keys of the official release to those of torchvision, which pass unchanged. What follows the last stage and
# the classifier have no place.
KEYS: KeyTable = (
    (r"^((backbone\.)?norm|cls_head|head)\.", None),
    (r"^backbone\.", ""),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
    *((rf"^layers\.{stage}\.blocks\.", f"features.{STEP * stage}.") for stage in range(STAGES)),
    *((rf"^layers\.{stage}\.downsample\.", f"features.{STEP * stage + 1}.") for stage in range(STAGES - 1)),
)


class FoldedPatchEmbed(nn.Module):
    """The patch embedding of Video Swin as a 2D convolution over channels x the slices of a patch.

    The kernel is its stride, so this is the sum that the 3D convolution makes; bf16 gradients of a 3D
    convolution are wrong on a CPU (medseg.training.precision). A patch that lacks a slice gets one of zeros.
    """

    def __init__(
        self, patch_size: list[int], embed_dim: int, norm_layer: Callable[[int], nn.Module], in_channels: int
    ):
        super().__init__()
        self.slices, edge, _ = patch_size
        self.proj = nn.Conv2d(in_channels * self.slices, embed_dim, edge, stride=edge)
        self.norm = norm_layer(embed_dim)

    def forward(self, windows: Windows) -> Float[Tensor, "b td th tw out"]:
        """One token for a patch."""
        missing = -windows.shape[DEPTH] % self.slices
        whole = functional.pad(windows, [0, 0, 0, 0, 0, missing])
        # B C (D d) H W to B D C d H W to (B D) (C d) H W, as a kernel (out, in, d, h, w) is flattened.
        patches = whole.unflatten(DEPTH, (-1, self.slices)).movedim(DEPTH, CHANNEL)
        tokens = self.proj(patches.flatten(0, 1).flatten(1, 2))
        return self.norm(tokens.movedim(CHANNEL, -1).unflatten(BATCH, (len(windows), -1)))


class VideoSwinEncoder(Encoder):
    """Video Swin on (B, in_channels, slices, image_px, image_px), stages tapped before their patches merge.

    No path is dropped at random: such a mask would depend on how a batch is shared out over processes.

    Args:
        architecture: key of ARCHITECTURES.
        in_channels: image channels of a slice.
        slices: depth of the window; after an odd one a slice of zeros is added, as torchvision does.
        image_px: edge of the square slice; a multiple of the largest stride.
        taps: 0-based stages, shallow to deep; their strides are 4, 8, 16 and 32.

    Raises:
        InputError: unknown architecture, taps that are no stages, or an image size off the grid.
    """

    def __init__(self, architecture: str, in_channels: int, slices: int, image_px: int, taps: Sequence[int]):
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise InputError(
                "there is no such Video Swin",
                expected=" | ".join(ARCHITECTURES),
                got=architecture,
                do="choose one of them",
            )
        stages = sorted(set(taps) & set(range(STAGES)))
        if not stages or stages != list(taps) or image_px % (PATCH[-1] << stages[-1]):
            raise InputError(
                f"{architecture} does not fit the request",
                expected="taps among 0, 1, 2, 3, shallow to deep; image size a multiple of 4, 8, 16, 32",
                got=f"taps {tuple(taps)}, image size {image_px}",
                do="change taps or image_px",
            )
        self.architecture, self.in_channels, self.slices = architecture, in_channels, slices
        self.image_px, self.taps = image_px, tuple(stages)
        self.recompute = False
        trunk: Any = ARCHITECTURES[architecture](
            weights=None, num_classes=1, patch_embed=partial(FoldedPatchEmbed, in_channels=in_channels)
        )
        self.channels = tuple(trunk.num_features >> (STAGES - 1 - stage) for stage in stages)
        self.strides = tuple(PATCH[-1] << stage for stage in stages)
        # What no tap depends on would stay without gradient.
        trunk.features = trunk.features[: STEP * stages[-1] + 1]
        trunk.norm = trunk.avgpool = trunk.head = nn.Identity()
        self.trunk: Any = trunk
        for module in trunk.modules():
            if isinstance(module, StochasticDepth):
                module.p = 0.0
        self._fit_positions()

    def forward(self, windows: Windows) -> list[FeatureMap]:
        """Feature maps (B, channels[i], H / strides[i], W / strides[i]) of the centre's depth slice.

        Raises:
            InputError: windows of another size than the encoder was built for.
        """
        expected = (self.in_channels, self.slices, self.image_px, self.image_px)
        if windows.shape[CHANNEL:] != expected:
            raise InputError(
                "the windows do not fit the encoder",
                expected=f"C D H W = {expected}",
                got=str(tuple(windows.shape[CHANNEL:])),
                do="build the encoder for this size",
            )
        tokens = self.trunk.patch_embed(windows)
        features = []
        for number, part in enumerate(self.trunk.features):
            stage, merging = divmod(number, STEP)
            for layer in [part] if merging else part:
                tokens = checkpoint(layer, tokens, use_reentrant=False) if self.recompute else layer(tokens)
            if stage in self.taps and not merging:
                center = tokens.select(TOKEN_DEPTH, self.slices // 2 // PATCH[0])
                features.append(center.movedim(-1, CHANNEL))
        return features

    def load(self, weights: str, rule: str, generator: Generator | None = None) -> LoadReport:
        """Fill the encoder with weights trained on videos; nothing is left silent.

        Args:
            weights: key of WEIGHTS, or "stand_in"; keys of torchvision or of the official release.
            rule: "center" or "average", to the same end: nothing is inflated.
            generator: not used.

        Raises:
            InputError: another rule, or weights that do not cover the encoder whole.
        """
        if rule not in RULES_WITHOUT_EFFECT:
            raise InputError(
                "Video Swin has 3D weights already: there is nothing to inflate",
                expected=" | ".join(RULES_WITHOUT_EFFECT),
                got=rule,
                do="set inflation to center; weights null starts at random",
            )
        with torch.device("meta"):
            whole = ARCHITECTURES[self.architecture](weights=None).state_dict()
        target = self.trunk.state_dict()
        left_out, sha256 = set(whole) - set(target), None
        if weights == STAND_IN:
            state = stand_in_state({key: value for key, value in whole.items() if key in target})
        else:
            state, card = read_weights(weights)
            sha256 = card.sha256
            state, more = renamed(state, KEYS)
            left_out |= more
        if PATCH_KERNEL in state:
            state[PATCH_KERNEL] = folded_gray(state[PATCH_KERNEL], self.in_channels)
        lifted, report = inflate_state(
            state,
            target,
            in_channels=self.in_channels,
            slices=self.slices,
            rule=rule,
            resize=_never_resized,
            source=weights,
            sha256=sha256,
            first_kernels=(),
            left_out=left_out,
        )
        report.require(coverage=1.0)
        self.trunk.load_state_dict(lifted)
        return report

    def sites(self) -> list[Site]:
        """The transformer blocks; their tokens are volumes."""
        stages = [(STEP * number, part) for number, part in enumerate(self.trunk.features[::STEP])]
        return [
            Site(
                f"trunk.features.{position}.{n}",
                block,
                block.mlp[0].in_features,
                position // STEP,
                n == len(part) - 1,
                Volumes(),
                block.attn,
                block.mlp,
            )  # fmt: skip
            for position, part in stages
            for n, block in enumerate(part)
        ]

    def recompute_activations(self) -> None:
        """Keep the activations of one block at a time, see Encoder.recompute_activations."""
        self.recompute = True

    def _fit_positions(self) -> None:
        """Give each block the position index of the window that it has on its map.

        Where a map is smaller than the window, torchvision takes the first rows of the whole window's index.
        They hold the right offsets only if depth alone is smaller; cut out by axes, they always do.
        """
        depth, edge = -(-self.slices // PATCH[0]), self.image_px // PATCH[-1]
        for number, stage in enumerate(self.trunk.features[::STEP]):
            size = (depth, edge >> number, edge >> number)
            for attention in (block.attn for block in stage):
                window = tuple(attention.window_size)
                cut = tuple(slice(min(pair)) for pair in zip(window, size, strict=True))
                index = attention.relative_position_index.reshape(window + window)[cut + cut]
                fitted = index.flatten(0, 2).flatten(1)
                # Made anew for every size, so it is no part of the state.
                attention.register_buffer("relative_position_index", fitted, persistent=False)


def folded_gray(kernel: Float[Tensor, "out rgb d h w"], in_channels: int) -> Float[Tensor, "out inp_d h w"]:
    """Sum a 3D kernel over RGB, share it equally over the input channels, and fold it for FoldedPatchEmbed.

    On equal channels the response is that of the RGB kernel on the gray windows.
    """
    slices = [sum_to_gray(slice_kernel, in_channels) for slice_kernel in kernel.unbind(KERNEL_DEPTH)]
    return torch.stack(slices, dim=KERNEL_DEPTH).flatten(KERNEL_IN, KERNEL_DEPTH)


def _never_resized(key: str, value: Tensor, wanted: Tensor) -> Tensor | None:
    # Tables of positions are as large as the whole window, whatever the size of the map.
    return None
