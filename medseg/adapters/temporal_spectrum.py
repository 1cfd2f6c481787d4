"""A weight for each frequency along the slices: the FFT branch of Med-Adapter (Med-Tuning, equation 7)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medseg.encoders.sites import TokenVolume
from medseg.errors import InputError


class TemporalSpectrum(nn.Module):
    """|ifftn(W_F * fftn(x) + b_F)| over depth, height and width, as the official code computes it.

    W_F and b_F are real, one number for each frequency along depth, the same for all channels and all
    frequencies within a slice. So the transforms within a slice cancel, and only those along depth are
    computed: what a constant b_F leaves of them is its inverse transform at the first token of each slice.
    Equation 7 of the paper has a weight for each frequency of the volume, and no absolute value.

    Args:
        slices: stored length of W_F and b_F, 128 in the paper; other depths get them resampled.

    Raises:
        InputError: no slices.
    """

    def __init__(self, slices: int):
        super().__init__()
        if slices < 1:
            raise InputError(
                "a spectrum needs a frequency",
                expected="slices of 1 or more",
                got=str(slices),
                do="set slices to the depth of the window",
            )
        self.weight = nn.Parameter(torch.ones(slices))
        self.bias = nn.Parameter(torch.ones(slices))

    def forward(self, tokens: TokenVolume) -> TokenVolume:
        """Filtered tokens, none below zero; computed in float32 or wider, for there is no FFT of bf16."""
        depth = tokens.shape[1]
        wide = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
        weight, bias = resampled(self.weight, depth), resampled(self.bias, depth)
        filtered = torch.fft.ifft(torch.fft.fft(wide, dim=1) * weight.view(-1, 1, 1, 1), dim=1)
        filtered[:, :, 0, 0] += torch.fft.ifft(bias).unsqueeze(-1)
        return filtered.abs().to(tokens.dtype)


def resampled(values: Float[Tensor, "stored"], slices: int) -> Float[Tensor, "slices"]:
    """Values for the frequencies of fft over `stored` slices, at those over `slices`; in the order of fft.

    A frequency counts in cycles a slice, -1/2 to 1/2, so a structure that spans a given number of slices has
    the same weight in a shorter and in a longer volume, and zero stays zero. Interpolation is linear in the
    centred order of frequencies, and goes round where that ends, as the spectrum of a sampled signal does
    (1/2 is -1/2). In the order of fft, 0 to 1/2 and then -1/2 to 0, the same values are neighbours once the
    first follows the last. At the stored length the values are returned as they are. Weights that are the
    same for f and -f stay so.

    >>> resampled(torch.tensor([0., 1., 2., 1.]), 8).tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0, 1.5, 1.0, 0.5]
    """
    stored = len(values)
    if slices == stored:
        return values
    # In whole numbers: frequency n / slices lies n * stored / slices steps behind zero.
    steps = torch.arange(slices, device=values.device) * stored
    below = steps // slices
    fraction = (steps % slices).to(values.dtype) / slices
    return torch.lerp(values[below], values[(below + 1) % stored], fraction)
