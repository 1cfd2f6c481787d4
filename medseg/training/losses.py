"""The loss of all arms: soft Dice plus focal, Dice over softmax (TransSeg, Table 6)."""

import medseg.compat  # noqa: F401  isort: skip
from monai.losses import DiceFocalLoss
from torch import Tensor, nn


class DiceFocal(nn.Module):
    """MONAI's DiceFocalLoss, background included, gamma 2, on logits (B, K, ...) and labels (B, 1, ...).

    One Dice a window and class, as in the official code. The loss is computed in float32 whatever the
    network ran in: sums over a slice overflow half precision.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loss = DiceFocalLoss(include_background=True, to_onehot_y=True, softmax=True, gamma=2.0)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The scalar loss."""
        return self.loss(logits.float(), labels)
