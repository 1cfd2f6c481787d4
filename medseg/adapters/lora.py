"""LoRA (Hu et al. 2022, section 4.1): an update of low rank to the weights of a projection.

Hu et al. give the query and the value projection an update each. Here all blocks compute query, key and value
in one projection: it gets one update, whose rank all three share.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.adapters.contract import check_positive
from medseg.adapters.projection import ProjectionAdapter
from medseg.encoders.sites import Site


class LowRank(nn.Module):
    """The product of two narrow matrices, B A: tokens (..., inputs) to (..., outputs); zero at the start.

    Args:
        inputs, outputs: widths of the projection that it is beside.
        rank: rows of A and columns of B.
    """

    def __init__(self, inputs: int, outputs: int, rank: int):
        super().__init__()
        self.down, self.up = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False)
        nn.init.normal_(self.down.weight, std=inputs**-0.5)
        nn.init.zeros_(self.up.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """What is added to the projection of the tokens."""
        return self.up(self.down(tokens))


class LoRA(ProjectionAdapter):
    """An update of the projection to query, key and value of every block.

    Args:
        sites: blocks of the encoder.
        rank: of the update.
        alpha: the update is scaled by alpha / rank.

    Raises:
        InputError: no rank, or as ProjectionAdapter.
    """

    identity_at_start = True

    def __init__(self, sites: Sequence[Site], rank: int = 8, alpha: float = 8.0):
        check_positive(rank=rank)
        super().__init__(sites)
        self.scale = alpha / rank
        self.updates = nn.ModuleList(
            LowRank(site.attention.qkv.in_features, site.attention.qkv.out_features, rank) for site in sites
        )

    def added(self, number: int, tokens: Tensor) -> Tensor:
        """See ProjectionAdapter."""
        return self.scale * self.updates[number](tokens)

    def merge(self) -> None:
        """Add the updates to the weights, set them to zero, and detach."""
        with torch.no_grad():
            for site, update in zip(self.sites, self.updates, strict=True):
                assert isinstance(update, LowRank)
                site.attention.qkv.weight += self.scale * update.up.weight @ update.down.weight
                update.up.weight.zero_()
        self.detach()
