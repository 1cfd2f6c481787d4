"""ST-Adapter (Pan et al. 2022, section 3.2): a bottleneck whose channels are convolved along the slices.

x + W_up DWConv(W_down x), without an activation, as in the released code. It stands before the attention of
each block. Tokens without a place in the image, such as a class token, pass unchanged.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from medseg.adapters.contract import Adapter
from medseg.adapters.depthwise import DepthConv
from medseg.encoders.sites import Site, SliceSequences
from medseg.errors import InputError


class STAdapter(Adapter):
    """One bottleneck before each block; the identity at the start, for the kernel starts at zero.

    Args:
        sites: blocks of the encoder.
        reduction: C over the width of the bottleneck, 2 in Med-Tuning's comparison.
        kernel: slices that are convolved, odd.

    Raises:
        InputError: a bottleneck without channels, an even kernel, or blocks whose input is not known.
    """

    identity_at_start = True

    def __init__(self, sites: Sequence[Site], reduction: int = 2, kernel: int = 3):
        super().__init__(sites)
        if not 1 <= reduction <= min(site.width for site in self.sites) or kernel < 1 or kernel % 2 == 0:
            raise InputError(
                "this is no bottleneck with a convolution",
                expected="reduction between 1 and the width of a block, kernel odd",
                got=f"reduction {reduction}, kernel {kernel}",
                do="the paper has reduction 2, kernel 3",
            )
        if any(isinstance(site.layout, SliceSequences) for site in self.sites):
            raise InputError(
                "ST-Adapter stands before a block, and here only what a block gives back lies by slices",
                expected="an encoder whose mixing is patch or slices",
                got="mixing cycle or joint",
                do="take another adapter; attention already joins the slices",
            )
        self.blocks = nn.ModuleList(_bottleneck(site.width, reduction, kernel) for site in self.sites)

    def hooks(self) -> list[RemovableHandle]:
        """What goes into each block, changed."""
        return [
            site.block.register_forward_pre_hook(partial(self._before, number))
            for number, site in enumerate(self.sites)
        ]

    def _before(self, number: int, block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        tokens: Tensor = inputs[0]
        layout = self.sites[number].layout
        prefix, volume = layout.split(tokens)
        return layout.join(prefix, volume + self.blocks[number](volume)), *inputs[1:]


def _bottleneck(width: int, reduction: int, kernel: int) -> nn.Sequential:
    """Down, along the slices, up; a kernel and biases of zero, as released."""
    narrow = width // reduction
    down, along, up = nn.Linear(width, narrow), DepthConv(narrow, kernel), nn.Linear(narrow, width)
    for zero in (down.bias, along.weight, along.bias, up.bias):
        nn.init.zeros_(zero)  # type: ignore[arg-type]
    return nn.Sequential(down, along, up)
