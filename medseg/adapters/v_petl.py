"""PATT, the parallel attention of V-PETL (Yu et al. 2022): keys and values get what a small network adds.

Prefix tuning puts learned keys and values ahead of those of the tokens; V-PETL makes them depend on the
input. The form here: beside the projection of keys and values, a bottleneck reads the same tokens,

    (K', V') = W_up tanh(W_down x),    attention(Q, K + s K', V + s V').

It is our reading of mode `patt_kv` in the released settings (bottleneck 128, s = 0.8), and PATT alone,
without the AdaptFormer that stands beside it in the scheme Swin-BAPAT. W_up starts at zero, so the encoder
is unchanged at the start; that is our choice.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from medseg.adapters.contract import Adapter
from medseg.encoders.sites import Site, Volumes
from medseg.errors import InputError


class VPETL(Adapter):
    """A bottleneck beside the keys and values of each block.

    Args:
        sites: blocks of the encoder.
        bottleneck: width of the small network.
        scale: s, of what is added.

    Raises:
        InputError: no bottleneck, or attention that does not call its projection as a module.
    """

    identity_at_start = True

    def __init__(self, sites: Sequence[Site], bottleneck: int = 128, scale: float = 0.8):
        super().__init__(sites)
        if bottleneck < 1:
            raise InputError(
                "a bottleneck needs a channel",
                expected="bottleneck of 1 or more",
                got=str(bottleneck),
                do="the released settings have 128",
            )
        if any(isinstance(site.layout, Volumes) for site in self.sites):
            raise InputError(
                "nothing can stand beside the keys and values of this attention",
                expected="attention that calls its projection, as timm's does",
                got="Video Swin of torchvision, which reads the projection's weights",
                do="take another adapter, or a Swin on folded slices",
            )
        self.scale = scale
        # Attention of BEiT that was made to call its projection.
        self._separated: list[Any] = []
        self.blocks = nn.ModuleList(_bottleneck(site.attention, bottleneck) for site in self.sites)

    def hooks(self) -> list[RemovableHandle]:
        """What the projection of queries, keys and values gives, changed."""
        for site in self.sites:
            # With its biases joined BEiT reads the weight of the projection and does not call it.
            if getattr(site.attention, "qkv_bias_separate", None) is False:
                site.attention.qkv_bias_separate = True
                self._separated.append(site.attention)
        return [
            site.attention.qkv.register_forward_hook(partial(self._after, number))
            for number, site in enumerate(self.sites)
        ]

    def detach(self) -> None:
        """Give the encoder back as it was."""
        super().detach()
        for attention in self._separated:
            attention.qkv_bias_separate = False
        self._separated = []

    def _after(self, number: int, qkv: nn.Module, inputs: tuple[Any, ...], projected: Tensor) -> Tensor:
        attention = self.sites[number].attention
        heads, queries = _parts(attention)
        added = self.blocks[number](inputs[0]).unflatten(-1, (heads, -1))
        # Nothing for the queries.
        return projected + self.scale * functional.pad(added, (queries, 0)).flatten(-2)


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
