"""What adapters share that stand beside the projection of a block to query, key and value."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from medseg.adapters.contract import Adapter
from medseg.encoders.sites import Site, Volumes
from medseg.errors import InputError

# timm's flag of BEiT: set, its projection is called as a module, and its bias is added behind.
SEPARATE = "qkv_bias_separate"


class ProjectionAdapter(Adapter):
    """Adds to what the projection of every block gives.

    Args:
        sites: blocks of the encoder.

    Raises:
        InputError: Video Swin, which never calls its projection, and attention with several of them.
    """

    def __init__(self, sites: Sequence[Site]):
        # torchvision multiplies by the weight inside one function: a hook on the projection is never met, and
        # to put another weight in its place would change the keys of the encoder.
        if any(isinstance(site.layout, Volumes) or not hasattr(site.attention, "qkv") for site in sites):
            raise InputError(
                "nothing can stand beside the projection of this encoder",
                expected="attention that calls one projection: a timm ViT, BEiT, Swin or TinyViT",
                got=type(sites[0].attention).__name__,
                do="use another method, such as bottleneck",
            )
        super().__init__(sites)
        # Attention of BEiT that was made to call its projection.
        self._separated: list[Any] = []

    def hooks(self) -> list[RemovableHandle]:
        """See Adapter."""
        for site in self.sites:
            if getattr(site.attention, SEPARATE, None) is False:
                setattr(site.attention, SEPARATE, True)
                self._separated.append(site.attention)
        return [
            site.attention.qkv.register_forward_hook(partial(self._beside_projection, number))
            for number, site in enumerate(self.sites)
        ]

    def detach(self) -> None:
        """See Adapter."""
        super().detach()
        for attention in self._separated:
            setattr(attention, SEPARATE, False)
        self._separated = []

    @abstractmethod
    def added(self, number: int, tokens: Tensor) -> Tensor:
        """What block `number` gets on top of the projection of these tokens."""

    def _beside_projection(
        self, number: int, projection: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> Tensor:
        return output + self.added(number, inputs[0])
