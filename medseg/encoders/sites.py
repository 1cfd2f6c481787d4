"""Where something can be attached to an encoder: its transformer blocks, and how their tokens lie."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Tokens as a volume: channels last, as linear layers want them.
TokenVolume = Float[Tensor, "b d h w c"]
# Tokens that lie in no place of the image, such as a class token; None where there are none.
Prefix = Tensor | None


class Layout(ABC):
    """How the tokens of a block lie; `join` is the inverse of `split`."""

    @abstractmethod
    def split(self, tokens: Tensor) -> tuple[Prefix, TokenVolume]:
        """Tokens without a place in the image, and the others as a volume (B, D, h, w, C)."""

    @abstractmethod
    def join(self, prefix: Prefix, volume: TokenVolume) -> Tensor:
        """The tokens again."""


@dataclass(frozen=True)
class Sequences(Layout):
    """Tokens (B * D, prefix + h * w, C) of a plain ViT.

    Attributes:
        grid: h, w.
        prefix: number of tokens ahead of those of the image.
        slices: gives D, the slices that follow one another along the batch.
    """

    grid: tuple[int, int]
    prefix: int
    slices: Callable[[], int]

    def split(self, tokens: Tensor) -> tuple[Prefix, TokenVolume]:
        """See Layout."""
        planes = tokens[:, self.prefix :].unflatten(1, self.grid)
        return tokens[:, : self.prefix] if self.prefix else None, planes.unflatten(0, (-1, self.slices()))

    def join(self, prefix: Prefix, volume: TokenVolume) -> Tensor:
        """See Layout."""
        tokens = volume.flatten(0, 1).flatten(1, 2)
        return tokens if prefix is None else torch.cat([prefix, tokens], dim=1)


@dataclass(frozen=True)
class Planes(Layout):
    """Tokens (B * D, h, w, C) of a Swin; `slices` gives D."""

    slices: Callable[[], int]

    def split(self, tokens: Tensor) -> tuple[Prefix, TokenVolume]:
        """See Layout."""
        return None, tokens.unflatten(0, (-1, self.slices()))

    def join(self, prefix: Prefix, volume: TokenVolume) -> Tensor:
        """See Layout."""
        return volume.flatten(0, 1)


@dataclass(frozen=True)
class SliceSequences(Layout):
    """Tokens (B, D, prefix + h * w, C): the slices of a window, each with its own prefix."""

    grid: tuple[int, int]
    prefix: int

    def split(self, tokens: Tensor) -> tuple[Prefix, TokenVolume]:
        """See Layout."""
        return tokens[:, :, : self.prefix] if self.prefix else None, tokens[:, :, self.prefix :].unflatten(
            2, self.grid
        )

    def join(self, prefix: Prefix, volume: TokenVolume) -> Tensor:
        """See Layout."""
        tokens = volume.flatten(2, 3)
        return tokens if prefix is None else torch.cat([prefix, tokens], dim=2)


class Volumes(Layout):
    """Tokens that are (B, D, h, w, C) already."""

    def split(self, tokens: Tensor) -> tuple[Prefix, TokenVolume]:
        """See Layout."""
        return None, tokens

    def join(self, prefix: Prefix, volume: TokenVolume) -> Tensor:
        """See Layout."""
        return volume


@dataclass(frozen=True)
class Site:
    """One transformer block of an encoder.

    Attributes:
        name: of the block in the encoder, such as "trunk.blocks.3".
        block: tokens in, tokens of the same shape out; called once in a forward pass.
        width: channels of a token.
        stage: 0-based. In a plain ViT a stage ends at a tap, in a pyramid where the stride changes.
        closes_stage: whether it is the last block of its stage.
        layout: how the tokens lie that the block gives.
        attention: the module of the block that computes attention.
        mlp: the module of the block that is a perceptron on each token.
    """

    name: str
    block: nn.Module
    width: int
    stage: int
    closes_stage: bool
    layout: Layout = field(repr=False)
    attention: Any = field(repr=False)
    mlp: Any = field(repr=False)
