"""Med-Adapter (Med-Tuning, Wang et al. 2023, section 3.2): multi-scale and spectral branches after a block.

x' = gelu(W_down x);  H = mix(conv3(x') + conv5(x') + fft(x'));  x + gelu(W_up (x' + H))

The last adapter of a stage joins H with that of the stage before, brought to its size. Where text and code of
the paper differ, this is the code: the spectrum has one weight for each frequency along depth
(medseg.adapters.temporal_spectrum), and the first stage is joined with zeros (medseg.adapters.stage_fusion).
Tokens without a place in the image, such as a class token, pass unchanged; the paper's networks have none.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial, reduce
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from medseg.adapters.contract import Adapter, check_positive
from medseg.adapters.depthwise import CubeConv, DepthConv, PlaneConv
from medseg.adapters.stage_fusion import JOINED, StageFusion
from medseg.adapters.temporal_spectrum import TemporalSpectrum
from medseg.encoders.sites import Site, TokenVolume
from medseg.errors import InputError

# Edge of the cube that takes the place of the FFT (table 4).
CUBES = {"dwconv9": 9, "dwconv11": 11}
GLOBAL_BRANCHES = ("fft", *CUBES, "none")
FUSIONS = (*JOINED, "none")


class MedAdapter(Adapter):
    """One adapter behind each block, and the flow of H from stage to stage.

    Args:
        sites: blocks of the encoder.
        reduction: alpha, C over the width c of the bottleneck, rounded down (table 6: 2, 4, 6, 8).
        conv3: the branch of 3 x 3 in the slices and 3 along them.
        conv5: the same with 5.
        global_branch: "fft", a depth-wise cube "dwconv9" or "dwconv11", or "none".
        channel_mixing: the 1x1x1 convolution on the sum of the branches.
        fusion: how the stages are joined, "concat", "add", "max" or "none".
        slices: stored length of the spectrum; other depths get it resampled. What medseg.segmenter builds
            stores as many as its windows have, so that each is trained.
        zero_init: start W_up at zero, so that the encoder is unchanged; the official code does not.

    Raises:
        InputError: an option that there is not, no branch, or a bottleneck without channels.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        reduction: int = 6,
        conv3: bool = True,
        conv5: bool = True,
        global_branch: str = "fft",
        channel_mixing: bool = True,
        fusion: str = "concat",
        slices: int = 128,
        zero_init: bool = False,
    ):
        super().__init__(sites)
        kernels = [kernel for kernel, wanted in ((3, conv3), (5, conv5)) if wanted]
        widths = [site.width for site in self.sites]
        check_positive(reduction=reduction, slices=slices)
        if (
            global_branch not in GLOBAL_BRANCHES
            or fusion not in FUSIONS
            or not (kernels or global_branch != "none")
            or not 1 <= reduction <= min(widths) // 2
        ):
            raise InputError(
                "there is no such Med-Adapter",
                expected=f"global_branch {' | '.join(GLOBAL_BRANCHES)}; fusion {' | '.join(FUSIONS)}; "
                f"one branch or more; reduction 1 to {min(widths) // 2}",
                got=f"{global_branch}; {fusion}; convolutions {kernels}; reduction {reduction}",
                do="the paper has fft, concat, both convolutions and reduction 6",
            )
        self.identity_at_start = zero_init
        pyramid = len(set(widths)) > 1
        # In a pyramid the first stage is taken to follow one of half its width.
        before = widths[0] // reduction // 2 if pyramid else widths[0] // reduction
        self.blocks = nn.ModuleList()
        for site in self.sites:
            channels = site.width // reduction
            branches: list[nn.Module] = [SeparableBranch(channels, kernel) for kernel in kernels]
            if global_branch == "fft":
                branches.append(TemporalSpectrum(slices))
            elif global_branch in CUBES:
                branches.append(CubeConv(channels, CUBES[global_branch]))
            fuse = None
            if site.closes_stage and fusion in JOINED:
                fuse, before = StageFusion(before, channels, pyramid, fusion), channels
            block = MedAdapterBlock(site.width, channels, branches, channel_mixing, fuse)
            if zero_init:
                nn.init.zeros_(block.up.weight)
                nn.init.zeros_(block.up.bias)
            self.blocks.append(block)
        # H of the stage before, within one forward pass.
        self._last: Tensor | None = None
        # What goes into a block, as long as it lives, to the H that its adapter met.
        self._met = WeakTensorKeyDictionary()

    def hooks(self) -> list[RemovableHandle]:
        """What each block gives, changed."""
        start = self.sites[0].block.register_forward_pre_hook(self._forget)
        return [start] + [
            site.block.register_forward_hook(partial(self._after, number))
            for number, site in enumerate(self.sites)
        ]

    def _forget(self, *call: Any) -> None:
        # An earlier pass may have ended in the middle.
        self._last = None

    def _after(self, number: int, block: nn.Module, inputs: tuple[Any, ...], tokens: Tensor) -> Tensor:
        site, adapter, given = self.sites[number], self.blocks[number], inputs[0]
        prefix, volume = site.layout.split(tokens)
        if given in self._met:
            # Activations are computed again, going back: later stages have had their turn, and no batch norm
            # may count the batch twice.
            with _statistics_kept(adapter):
                volume, _ = adapter(volume, self._met[given])
            return site.layout.join(prefix, volume)
        if torch.is_grad_enabled():
            self._met[given] = self._last
        volume, own = adapter(volume, self._last)
        if site.closes_stage:
            self._last = own if number + 1 < len(self.sites) else None
        return site.layout.join(prefix, volume)


class MedAdapterBlock(nn.Module):
    """One Med-Adapter; on tokens with channels last a linear layer is a 1x1x1 convolution.

    Args:
        width: channels of the tokens.
        channels: those that the branches see, width / alpha.
        branches: modules from tokens (B, D, H, W, channels) to the same shape; their sum is taken.
        channel_mixing: whether a linear layer follows that sum.
        fuse: what joins H with that of the stage before; None but for the last block of a stage.
    """

    def __init__(
        self,
        width: int,
        channels: int,
        branches: list[nn.Module],
        channel_mixing: bool,
        fuse: StageFusion | None,
    ):
        super().__init__()
        self.down, self.up = nn.Linear(width, channels), nn.Linear(channels, width)
        self.branches = nn.ModuleList(branches)
        self.mix = nn.Linear(channels, channels) if channel_mixing else nn.Identity()
        self.fuse = fuse

    def forward(
        self, tokens: TokenVolume, last: Float[Tensor, "b d _h _w _c"] | None
    ) -> tuple[TokenVolume, Float[Tensor, "b d h w _own"]]:
        """Tokens of the same shape, and H; `last` is H of the stage before, None where there is none."""
        narrow = functional.gelu(self.down(tokens))
        own = self.mix(reduce(torch.add, [branch(narrow) for branch in self.branches]))
        if self.fuse is not None:
            own = self.fuse(own, last)
        return tokens + functional.gelu(self.up(narrow + own)), own


class SeparableBranch(nn.Module):
    """Kernel x kernel in the slices, then kernel along them, then batch norm over all positions and ReLU.

    Args:
        channels: of the tokens.
        kernel: edge of both, odd.
    """

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.plane, self.depth = PlaneConv(channels, kernel), DepthConv(channels, kernel)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, tokens: TokenVolume) -> TokenVolume:
        """Features of the same shape, none below zero."""
        convolved = self.depth(self.plane(tokens))
        return functional.relu(self.norm(convolved.movedim(-1, 1)).movedim(1, -1))


@contextmanager
def _statistics_kept(adapter: nn.Module) -> Iterator[None]:
    """Batch norms of the adapter leave their running statistics as they are."""
    norms: list[Any] = [module for module in adapter.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
