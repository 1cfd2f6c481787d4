"""What the last Med-Adapter of a stage takes from the stage before (Med-Tuning, section 3.2, equation 9).

A brings H of the stage before to the size of H, and the two are joined: by a 1x1x1 convolution of both
("concat"), as their sum ("add"), or as the larger ("max"). The text has neither the convolution behind the
concatenation nor the first stage's layers, which are given zeros: the official code has. The kernel that is
given zeros gets no gradient but zero; its bias does.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from medseg.encoders.sites import TokenVolume

JOINED = ("concat", "add", "max")


class StageFusion(nn.Module):
    """H joined with the aligned H of the stage before.

    Args:
        before: channels of the stage before.
        channels: channels of this stage.
        pyramid: whether stages differ in size: a 3x3 convolution in each slice aligns them, else a 1x1x1.
        joined: "concat", "add" or "max".
    """

    def __init__(self, before: int, channels: int, pyramid: bool, joined: str):
        super().__init__()
        self.before, self.joined = before, joined
        # On tokens with channels last a linear layer is a 1x1x1 convolution.
        self.align = nn.Conv2d(before, channels, 3, padding=1) if pyramid else nn.Linear(before, channels)
        self.reduce = nn.Linear(2 * channels, channels) if joined == "concat" else None

    def forward(self, own: TokenVolume, last: Float[Tensor, "b d _h _w _c"] | None) -> TokenVolume:
        """H of the shape of `own`; `last` is as large or, in a pyramid, larger, and None stands for zeros."""
        if last is None:
            last = own.new_zeros(*own.shape[:-1], self.before)
        aligned = self._aligned(last, own.shape[2])
        if self.reduce is not None:
            return self.reduce(torch.cat([own, aligned], dim=-1))
        return own + aligned if self.joined == "add" else torch.maximum(own, aligned)

    def _aligned(self, last: Float[Tensor, "b d _h _w _c"], rows: int) -> Float[Tensor, "b d _h2 _w2 _c2"]:
        if isinstance(self.align, nn.Linear):
            return self.align(last)
        planes = last.flatten(0, 1).movedim(-1, 1)
        # 2 where the official code has it; 1 between the stages of a network that keep their size.
        stride = -(-last.shape[2] // rows)
        planes = functional.conv2d(planes, self.align.weight, self.align.bias, stride, padding=1)
        return planes.movedim(1, -1).unflatten(0, last.shape[:2])
