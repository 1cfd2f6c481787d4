"""VPT (Jia et al. 2022, section 3): learned tokens that attend and are attended to beside those of the image.

Deep prompts enter every block, and what a block makes of them is dropped. Shallow prompts enter the first
block and go on from there with what the blocks make of them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
import torch
from timm.models import beit, cait, swin_transformer, tiny_vit, vision_transformer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from medseg.adapters.contract import Adapter, check_positive
from medseg.encoders.sites import Planes, Sequences, Site
from medseg.errors import InputError

# Methods of timm's attention, by family, that give the bias of every pair of tokens.
BIASES = ("_get_rel_pos_bias", "get_attention_biases")
# Attention that takes more tokens than those of the image. Others rotate queries and keys by their place, or
# have a bias that nothing widens.
OPEN = (
    vision_transformer.Attention,
    cait.TalkingHeadAttn,
    beit.Attention,
    swin_transformer.WindowAttention,
    tiny_vit.Attention,
)


class Prompts(Adapter):
    """Learned tokens ahead of the others, inside a block alone: behind it the tokens lie as they did.

    In attention over windows (Swin, TinyViT) a prompt is in every window of an image, also of a shifted one,
    and leaves it as the mean over windows. Its relative bias is zero. Patch merging ignores prompts, as the
    paper has it, and the next stage has another width: shallow prompts end with the first stage (the official
    code merges each of them with itself).

    Args:
        sites: blocks of the encoder.
        prompts: number of them in a block.
        deep: whether every block has its own, or the first one alone.

    Raises:
        InputError: no prompts, or there is no one place for them. Attention with rotated queries or a bias
            of its own (Swin V2, EVA, DINOv3) takes the image's tokens alone. A Video Swin cuts its windows
            inside attention; where slices meet in attention (joint, cycle) a block's sequence is not that of
            its slices; the convolution of a TinyViT block has no place for shallow prompts, which go through
            it.
    """

    def __init__(self, sites: Sequence[Site], prompts: int = 10, deep: bool = True):
        check_positive(prompts=prompts)
        refused = [site.name for site in sites if not _has_place(site, deep)]
        if refused:
            raise InputError(
                "prompts have no place in this encoder",
                expected="a plain ViT, a BEiT, a Swin, or with deep prompts a TinyViT; mixing patch",
                got=f"block {refused[0]}",
                do="use another method, such as bottleneck",
            )
        windowed = isinstance(sites[0].layout, Planes)
        if windowed and not deep:
            sites = [site for site in sites if site.stage == sites[0].stage]
        super().__init__(sites)
        self.count, self.deep, self.windowed = prompts, deep, windowed
        self.tokens = nn.ParameterList(
            nn.Parameter(nn.init.xavier_uniform_(torch.empty(prompts, site.width)))
            for site in (sites if deep else sites[:1])
        )
        # In attention over windows: the prompts of the block that runs, one set for an image.
        self._running: Any = None

    def hooks(self) -> list[RemovableHandle]:
        """See Adapter."""
        handles = []
        for number, site in enumerate(self.sites):
            for name in BIASES:
                if bias_of := getattr(site.attention, name, None):
                    # On this one object, and taken off again with the hooks.
                    setattr(site.attention, name, partial(self._widened_bias, bias_of))
            if self.windowed:
                handles += [
                    site.block.register_forward_pre_hook(partial(self._start_block, number)),
                    site.attention.register_forward_pre_hook(
                        partial(self._into_windows, number), with_kwargs=True
                    ),
                    site.attention.register_forward_hook(self._out_of_windows),
                    site.block.register_forward_hook(self._end_block),
                ]
            else:
                handles += [
                    site.block.register_forward_pre_hook(partial(self._into_sequence, number)),
                    site.block.register_forward_hook(self._out_of_sequence),
                ]
        return handles

    def detach(self) -> None:
        """See Adapter."""
        super().detach()
        for site in self.sites:
            for name in BIASES:
                vars(site.attention).pop(name, None)

    def _entering(self, number: int, tokens: Any) -> Tensor:
        """The prompts (B, prompts, C) that enter a block; shallow ones travel on the tokens they go with."""
        if self.deep or number == 0:
            return self.tokens[number].expand(len(tokens), -1, -1)
        return tokens.prompts

    def _into_sequence(self, number: int, block: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        return torch.cat([self._entering(number, inputs[0]), inputs[0]], dim=1)

    def _out_of_sequence(self, block: nn.Module, inputs: tuple[Tensor, ...], tokens: Tensor) -> Tensor:
        image: Any = tokens[:, self.count :]
        if not self.deep:
            image.prompts = tokens[:, : self.count]
        return image

    def _start_block(self, number: int, block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._running = self._entering(number, inputs[0])

    def _into_windows(
        self, number: int, attention: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Any]
    ) -> tuple[tuple[Tensor], dict[str, Any]]:
        (windows,) = inputs
        # TinyViT has the norm inside its attention.
        norm = getattr(self.sites[number].block, "norm1", nn.Identity())
        # The windows of an image follow one another.
        prompts = norm(self._running).repeat_interleave(len(windows) // len(self._running), dim=0)
        # The mask parts tokens that a shift brought together: prompts are not shifted.
        named = {name: mask if mask is None else self._widened(mask) for name, mask in named.items()}
        return (torch.cat([prompts, windows], dim=1),), named

    def _out_of_windows(self, attention: nn.Module, inputs: tuple[Tensor, ...], tokens: Tensor) -> Tensor:
        if not self.deep:
            of_images = tokens[:, : self.count].unflatten(0, (len(self._running), -1))
            self._running = self._running + of_images.mean(1)
        return tokens[:, self.count :]

    def _end_block(self, block: Any, inputs: tuple[Tensor, ...], tokens: Any) -> None:
        if not self.deep:
            tokens.prompts = self._running + block.mlp(block.norm2(self._running))
        self._running = None

    def _widened(self, pairs: Tensor) -> Tensor:
        """Pairs of tokens (..., n, n) with those of the prompts ahead, all zero."""
        return functional.pad(pairs, (self.count, 0, self.count, 0))

    def _widened_bias(self, bias_of: Callable[..., Tensor], *device: torch.device) -> Tensor:
        return self._widened(bias_of(*device))


def _has_place(site: Site, deep: bool) -> bool:
    if not isinstance(site.attention, OPEN):
        return False
    if isinstance(site.layout, Planes):
        return deep or hasattr(site.block, "norm2")
    return isinstance(site.layout, Sequences)
