"""AdaptFormer (Chen et al. 2022, section 3.2): a narrow perceptron in parallel to that of each block."""

from collections.abc import Sequence
from functools import partial

import medseg.compat  # noqa: F401  isort: skip
from timm.models.tiny_vit import NormMlp
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from medseg.adapters.contract import Adapter, check_positive
from medseg.encoders.sites import Site


class ParallelPerceptron(nn.Module):
    """Normed tokens (..., C) to what is added: down to fewer channels, ReLU, up; zero at the start.

    Args:
        width: C.
        middle: channels between.
    """

    def __init__(self, width: int, middle: int):
        super().__init__()
        self.down, self.up = nn.Linear(width, middle), nn.Linear(middle, width)
        nn.init.kaiming_uniform_(self.down.weight, nonlinearity="relu")
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, tokens: Tensor) -> Tensor:
        """The branch."""
        return self.up(functional.relu(self.down(tokens)))


class AdaptFormer(Adapter):
    """A branch from what a block's perceptron is given, after the norm, to what it gives.

    Where a block scales what its perceptron gives (the gamma of BEiT), it scales the branch with it.

    Args:
        sites: blocks of the encoder.
        middle: channels inside the branch; 64 in the paper, whatever the width.
        scale: of the branch (the paper's s).

    Raises:
        InputError: no channel.
    """

    identity_at_start = True

    def __init__(self, sites: Sequence[Site], middle: int = 64, scale: float = 0.1):
        check_positive(middle=middle)
        super().__init__(sites)
        self.scale = scale
        self.branches = nn.ModuleList(ParallelPerceptron(site.width, middle) for site in sites)

    def hooks(self) -> list[RemovableHandle]:
        """See Adapter."""
        return [
            site.mlp.register_forward_hook(partial(self._beside_mlp, number))
            for number, site in enumerate(self.sites)
        ]

    def _beside_mlp(self, number: int, mlp: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # TinyViT has the norm inside its perceptron.
        tokens = mlp.norm(inputs[0]) if isinstance(mlp, NormMlp) else inputs[0]
        return output + self.scale * self.branches[number](tokens)
