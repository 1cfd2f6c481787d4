"""DiceFocal from its formula, in float32 whatever comes in."""

import pytest
import torch
from torch.nn.functional import one_hot

from medseg.training.losses import DiceFocal

K = 3


def example(*plane, batch=2):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, K, *plane, generator=generator)
    return logits, torch.randint(0, K, (batch, 1, *plane), generator=generator)


def from_formula(logits, labels):
    """Soft Dice of softmax probabilities, one a window and class, plus focal loss of sigmoids of classes."""
    classes = one_hot(labels[:, 0], K).movedim(-1, 1).double()
    logits = logits.double()
    p = logits.softmax(1)
    axes = tuple(range(2, logits.ndim))
    overlap, sizes = (p * classes).sum(axes), (p + classes).sum(axes)
    dice = 1 - (2 * overlap + 1e-5) / (sizes + 1e-5)
    right = torch.where(classes == 1, logits.sigmoid(), (-logits).sigmoid())
    focal = -((1 - right) ** 2) * right.log()
    return dice.mean() + focal.mean()


@pytest.mark.parametrize("plane", [(5, 4), (3, 5, 4)], ids=["centre slice", "all slices"])
def test_formula(plane):
    logits, labels = example(*plane)
    assert DiceFocal()(logits, labels).item() == pytest.approx(from_formula(logits, labels).item(), rel=1e-5)


def test_right_is_near_zero_and_wrong_is_worse():
    _, labels = example(6, 6)
    right = 20 * (2 * one_hot(labels[:, 0], K).movedim(-1, 1).float() - 1)
    assert DiceFocal()(right, labels) < 1e-3 < 1 < DiceFocal()(-right, labels)


def test_half_precision_logits_are_summed_in_float32():
    logits, labels = example(64, 64)
    low = logits.bfloat16()
    loss = DiceFocal()(low, labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, DiceFocal()(low.float(), labels))
