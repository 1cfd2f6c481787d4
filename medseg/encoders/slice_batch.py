"""The slices of a window as a batch of images for a 2D network, and its logits as a volume again.

Med-Tuning (Wang et al. 2023, section 3) so sends B volumes of D slices through a 2D network: no slice sees
another, unless something between its blocks (an adapter) lets it. D is a property of the windows, not of the
weights: it may change from one forward pass to the next.
"""

from dataclasses import replace

from jaxtyping import Float
from torch import Generator, Tensor, nn

from medseg.encoders.checkpoints import LoadReport
from medseg.encoders.contract import Encoder
from medseg.encoders.sites import Site
from medseg.encoders.timm_encoder import TimmEncoder
from medseg.errors import InputError
from medseg.shapes import BATCH, CHANNEL, DEPTH, Windows


class SliceBatch(Encoder):
    """Windows (B, C, D, H, W) in, maps (B * D, channels[i], H / strides[i], W / strides[i]) out.

    The slices of a window follow each other in the batch.

    Args:
        plane: an encoder of windows of one slice.

    Raises:
        InputError: a plane without blocks of a 2D network, such as Video Swin: adapters would not meet the
            slices of a window in it.
    """

    def __init__(self, plane: Encoder):
        super().__init__()
        if not any(isinstance(part, TimmEncoder) for part in plane.modules()):
            raise InputError(
                "slices as a batch need a 2D network",
                expected="an encoder of images",
                got=type(plane).__name__,
                do="leave mixing at patch: this encoder sees depth by itself",
            )
        self.plane = plane
        self.channels, self.strides = plane.channels, plane.strides

    def forward(self, windows: Windows) -> list[Float[Tensor, "_slices _c _h _w"]]:
        """Feature maps of every slice at the taps."""
        for part in self.plane.modules():
            if isinstance(part, TimmEncoder):
                part.slices_in_batch = windows.shape[DEPTH]
        images = windows.transpose(CHANNEL, DEPTH).flatten(BATCH, CHANNEL)
        return self.plane(images.unsqueeze(DEPTH))

    def load(self, weights: str, rule: str, generator: Generator | None = None) -> LoadReport:
        """Fill the 2D network with 2D weights, see its own `load`; one slice has one kernel."""
        return self.plane.load(weights, rule, generator)

    def sites(self) -> list[Site]:
        """The blocks of the 2D network; their tokens lie as volumes of all slices of a window."""
        return [replace(site, name=f"plane.{site.name}") for site in self.plane.sites()]

    def recompute_activations(self) -> None:
        """As the 2D network; go back before windows of another depth come.

        What is computed again goes by the depth of the last pass; where an adapter meets another one, torch
        finds other shapes than were saved, and raises.
        """
        self.plane.recompute_activations()


class VolumeLogits(nn.Module):
    """Logits of slices as those of volumes: (B * D, K, h, w) to (B, K, D, h, w)."""

    def forward(self, logits: Float[Tensor, "bd k h w"], windows: int) -> Float[Tensor, "_b k _d h w"]:
        """Logits of every voxel of a number B of windows."""
        return logits.unflatten(BATCH, (windows, -1)).transpose(CHANNEL, DEPTH)
