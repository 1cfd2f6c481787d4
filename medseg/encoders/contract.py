"""The contract of every encoder: feature maps, their channels and strides, foreign weights with a report."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Generator, nn

from medseg.encoders.checkpoints import LoadReport
from medseg.encoders.sites import Site
from medseg.errors import InputError
from medseg.shapes import FeatureMap, Windows


class Encoder(nn.Module, ABC):
    """Windows (B, C, D, H, W) in, feature maps (B, channels[i], H / strides[i], W / strides[i]) out."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @abstractmethod
    def forward(self, windows: Windows) -> list[FeatureMap]:
        """Feature maps at the taps, from shallow to deep."""

    @abstractmethod
    def load(self, weights: str, rule: str, generator: Generator | None = None) -> LoadReport:
        """Fill the encoder with foreign weights; nothing is left silent.

        Args:
            weights: key of WEIGHTS, or "stand_in".
            rule: inflation rule, key of RULES.
            generator: for the rule "random".

        Raises:
            InputError: the weights do not cover the encoder whole.
        """

    def sites(self) -> list[Site]:
        """The transformer blocks, in the order of the forward pass.

        Raises:
            InputError: the encoder has none.
        """
        raise InputError(
            "nothing can be attached to this encoder",
            expected="blocks of attention and a perceptron: a plain ViT, a Swin, a Video Swin",
            got=type(getattr(self, "trunk", self)).__name__,
            do="tune it whole (full) or not at all (head)",
        )

    def recompute_activations(self) -> None:
        """Keep the activations of one block at a time and compute the others again going back.

        Raises:
            InputError: the encoder cannot; one that can says how in its own method of this name.
        """
        raise InputError(
            "this encoder has no blocks whose activations could be recomputed",
            expected="an encoder of transformer blocks without batch norms",
            got=type(self).__name__,
            do="leave out --recompute; --accumulate also needs less memory",
        )

    def attend_by_products(self) -> None:
        """Compute attention as two matrix products and a softmax in place of torch's fused kernel."""
        parts: list[Any] = list(self.modules())
        for part in parts:
            # timm's name for the choice, in every family that offers it.
            if hasattr(part, "fused_attn"):
                part.fused_attn = False
