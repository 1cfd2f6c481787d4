"""Pro-tuning (Nie et al. 2022): a prompt block on the maps of each stage.

Stage-wise blocks beside a frozen network are what Med-Tuning (section 2) and summaries of the paper, which
was not at hand, tell. What is in a block is taken from the counts of Med-Tuning's tables 1 and 2, which are
2 C^2 + 28 C parameters a stage: those of a 1x1, a depth-wise 5x5 and a 1x1 convolution with biases. Their
order, the sum x + P(x), and that no activation stands between them are our reading. Tokens without a place in
the image, such as a class token, pass unchanged.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from medseg.adapters.contract import Adapter
from medseg.adapters.depthwise import PlaneConv
from medseg.encoders.sites import Site
from medseg.errors import InputError


class ProTuning(Adapter):
    """One block of convolutions behind the last transformer block of each stage.

    Args:
        sites: blocks of the encoder.
        kernel: of the convolution in each slice, odd.
        zero_init: start the last convolution at zero, so that the encoder is unchanged at the start.

    Raises:
        InputError: an even kernel, or one below 1.
    """

    def __init__(self, sites: Sequence[Site], kernel: int = 5, zero_init: bool = False):
        super().__init__(sites)
        if kernel < 1 or kernel % 2 == 0:
            raise InputError(
                "this kernel has no centre",
                expected="an odd kernel, 1 or more",
                got=str(kernel),
                do="Med-Tuning's counts are those of 5",
            )
        self.identity_at_start = zero_init
        self.closing = [site for site in self.sites if site.closes_stage]
        self.blocks = nn.ModuleList(
            # On tokens with channels last a linear layer is a 1x1 convolution.
            nn.Sequential(
                nn.Linear(site.width, site.width),
                PlaneConv(site.width, kernel),
                nn.Linear(site.width, site.width),
            )
            for site in self.closing
        )
        if zero_init:
            for block in self.blocks:
                for parameter in block[-1].parameters():  # type: ignore[index]
                    nn.init.zeros_(parameter)

    def hooks(self) -> list[RemovableHandle]:
        """What the last block of each stage gives, changed."""
        return [
            site.block.register_forward_hook(partial(self._after, number))
            for number, site in enumerate(self.closing)
        ]

    def _after(self, number: int, block: nn.Module, inputs: tuple[Any, ...], tokens: Tensor) -> Tensor:
        layout = self.closing[number].layout
        prefix, volume = layout.split(tokens)
        return layout.join(prefix, volume + self.blocks[number](volume))
