"""Channel dropout whose mask is drawn for the whole batch of a step, whoever computes which rows of it."""

import torch
from torch import Tensor, nn


class ChannelDropout(nn.Module):
    """Dropout2d (Tompson et al. 2015) on (B, C, H, W): zero a channel with probability p, scale the rest.

    A process that computes a part of the batch draws the mask of all of it and takes its own rows, so that
    one process and several drop the same channels. A window may come as several images that follow each other
    (medseg.encoders.slice_batch): all windows as equally many.

    Attributes:
        share: (first window, windows, windows of the whole batch) of what comes in; None: all of it comes in.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.share: tuple[int, int, int] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """The features with some channels dropped while training."""
        if not self.training:
            return features
        rows = len(features)
        first, windows, total = self.share or (0, rows, rows)
        images = rows // windows
        shape = (total * images, features.shape[1], 1, 1)
        kept = torch.empty(shape, dtype=features.dtype, device=features.device)
        first *= images
        return features * kept.bernoulli_(1 - self.p).div_(1 - self.p)[first : first + rows]
