"""Adapter (Houlsby et al. 2019, section 2): a bottleneck after each block, beside a skip connection.

Houlsby et al. put two of them into a block, one behind attention and one behind the perceptron. Med-Tuning
(Wang et al. 2023, Tables 1 and 2) compares with one a block: its counts are those of a bottleneck of a
quarter of the width and of one more vector of that width. Its meaning is not printed: we take it as a scale
of the update, a number for each channel. Fresh, the update is zero; Houlsby et al. draw all of it narrowly.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from medseg.adapters.contract import Adapter, check_positive
from medseg.encoders.sites import Site

# Standard deviation of fresh weights (Houlsby et al., section 3.6).
NARROW = 1e-2


class ScaledBottleneck(nn.Module):
    """The update of tokens (..., C): down to fewer channels, GELU, up again, scaled; zero at the start.

    Args:
        width: C.
        middle: channels between.
    """

    def __init__(self, width: int, middle: int):
        super().__init__()
        self.down, self.up = nn.Linear(width, middle), nn.Linear(middle, width)
        self.scale = nn.Parameter(torch.ones(width))
        nn.init.trunc_normal_(self.down.weight, std=NARROW, a=-2 * NARROW, b=2 * NARROW)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, tokens: Tensor) -> Tensor:
        """What is added to the tokens."""
        return self.scale * self.up(functional.gelu(self.down(tokens)))


class Bottleneck(Adapter):
    """A bottleneck on every token that a block gives, class tokens included.

    Args:
        sites: blocks of the encoder.
        reduction: the bottleneck has width / reduction channels, one at least.

    Raises:
        InputError: a reduction below 1.
    """

    identity_at_start = True

    def __init__(self, sites: Sequence[Site], reduction: int = 4):
        check_positive(reduction=reduction)
        super().__init__(sites)
        self.updates = nn.ModuleList(
            ScaledBottleneck(site.width, max(1, site.width // reduction)) for site in sites
        )

    def hooks(self) -> list[RemovableHandle]:
        """See Adapter."""
        return [
            site.block.register_forward_hook(partial(self._after_block, number))
            for number, site in enumerate(self.sites)
        ]

    def _after_block(
        self, number: int, block: nn.Module, inputs: tuple[Tensor, ...], tokens: Tensor
    ) -> Tensor:
        return tokens + self.updates[number](tokens)
