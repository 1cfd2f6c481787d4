"""LoRA (Hu et al. 2022, section 4.1): an update of low rank to the weights of a projection.

Hu et al. give the query and the value projection an update each. Here all blocks compute query, key and value
in one projection: it gets one update, whose rank all three share.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from medseg.adapters.contract import Adapter
from medseg.encoders.sites import Site, Volumes
from medseg.errors import InputError

# timm's flag of BEiT: its projection is called as a module, and its bias is added behind.
SEPARATE = "qkv_bias_separate"


class LowRank(nn.Module):
    """The product of two narrow matrices, B A: tokens (..., inputs) to (..., outputs); zero at the start."""

    def __init__(self, inputs: int, outputs: int, rank: int):
        super().__init__()
        self.down, self.up = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False)
        nn.init.normal_(self.down.weight, std=inputs**-0.5)
        nn.init.zeros_(self.up.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """What is added to the projection of the tokens."""
        return self.up(self.down(tokens))


class LoRA(Adapter):
    """An update of the projection to query, key and value of every block.

    Args:
        sites: blocks of the encoder.
        rank: of the update.
        alpha: the update is scaled by alpha / rank.

    Raises:
        InputError: Video Swin, which never calls its projection.
    """

    identity_at_start = True

    def __init__(self, sites: Sequence[Site], rank: int = 8, alpha: float = 8.0):
        # torchvision multiplies by the weight inside one function: a hook on the projection is never met, and
        # to put another weight in its place would change the keys of the encoder.
        if any(isinstance(site.layout, Volumes) for site in sites):
            raise InputError(
                "LoRA cannot be attached to Video Swin",
                expected="attention that calls its projection as a module: a timm ViT, BEiT, Swin or TinyViT",
                got="attention that reads the weight of its projection",
                do="use another method, such as bottleneck",
            )
        super().__init__(sites)
        self.scale = alpha / rank
        self._separate_before: dict[str, bool] = {}
        self.updates = nn.ModuleList(
            LowRank(site.attention.qkv.in_features, site.attention.qkv.out_features, rank) for site in sites
        )

    def hooks(self) -> list[RemovableHandle]:
        """See Adapter."""
        for site in self.sites:
            if hasattr(site.attention, SEPARATE):
                self._separate_before[site.name] = site.attention.qkv_bias_separate
                site.attention.qkv_bias_separate = True
        return [
            site.attention.qkv.register_forward_hook(partial(self._beside_projection, number))
            for number, site in enumerate(self.sites)
        ]

    def detach(self) -> None:
        """See Adapter."""
        super().detach()
        for site in self.sites:
            if site.name in self._separate_before:
                site.attention.qkv_bias_separate = self._separate_before.pop(site.name)

    def merge(self) -> None:
        """Add the updates to the weights, set them to zero, and detach."""
        with torch.no_grad():
            for site, update in zip(self.sites, self.updates, strict=True):
                assert isinstance(update, LowRank)
                site.attention.qkv.weight += self.scale * update.up.weight @ update.down.weight
                update.up.weight.zero_()
        self.detach()

    def _beside_projection(
        self, number: int, projection: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> Tensor:
        return output + self.scale * self.updates[number](inputs[0])
