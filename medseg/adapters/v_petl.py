"""PATT, the parallel attention of V-PETL (Yu et al. 2022): keys and values get what a small network adds.

Prefix tuning puts learned keys and values ahead of those of the tokens; V-PETL makes them depend on the
input. So Med-Tuning (section 2) has it, which prints no count for it; the abstract of V-PETL says no more
than that PATT is a new form of prefix tuning. The command of the released code names a mode `patt_kv`, 128
channels in the middle and a scale of 0.8. The form is our reading of these: beside the projection of keys and
values a bottleneck reads the same tokens,

    (K', V') = W_up tanh(W_down x),    attention(Q, K + s K', V + s V').

It is PATT alone, without the AdaptFormer that stands beside it in the scheme Swin-BAPAT. W_up starts at zero,
so the encoder is unchanged at the start; that is our choice.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from medseg.adapters.contract import check_positive
from medseg.adapters.projection import ProjectionAdapter
from medseg.encoders.sites import Site


class VPETL(ProjectionAdapter):
    """A bottleneck beside the keys and values of each block.

    Args:
        sites: blocks of the encoder.
        bottleneck: width of the small network.
        scale: s, of what is added.

    Raises:
        InputError: no bottleneck, or as ProjectionAdapter.
    """

    identity_at_start = True

    def __init__(self, sites: Sequence[Site], bottleneck: int = 128, scale: float = 0.8):
        check_positive(bottleneck=bottleneck)
        super().__init__(sites)
        self.scale = scale
        self.blocks = nn.ModuleList(_bottleneck(site.attention, bottleneck) for site in self.sites)

    def added(self, number: int, tokens: Tensor) -> Tensor:
        """See ProjectionAdapter; nothing for the queries."""
        heads, queries = _parts(self.sites[number].attention)
        beside = self.blocks[number](tokens).unflatten(-1, (heads, -1))
        return self.scale * functional.pad(beside, (queries, 0)).flatten(-2)


def _parts(attention: Any) -> tuple[int, int]:
    """Groups of queries, keys and values that follow one another in a projection, and queries in each."""
    if hasattr(attention, "key_dim"):
        # TinyViT: head by head.
        return attention.num_heads, attention.key_dim
    return 1, attention.qkv.out_features // 3


def _bottleneck(attention: Any, narrow: int) -> nn.Sequential:
    """From tokens to what is added to keys and values; zero at the start."""
    heads, queries = _parts(attention)
    up = nn.Linear(narrow, attention.qkv.out_features - heads * queries)
    nn.init.zeros_(up.weight)
    nn.init.zeros_(up.bias)
    return nn.Sequential(nn.Linear(attention.qkv.in_features, narrow), nn.Tanh(), up)
