"""Needs are stated in numbers before the start, and again where they were too large."""

import pytest
import torch

from medseg.config import TrainConfig
from medseg.data.cache import CachedCase
from medseg.errors import InputError, Interrupted, OutOfMemory
from medseg.training import memory
from medseg.training.memory import explained, hint, statement


def case(mapped):
    image = torch.zeros(1, 100, 100, 100)
    return CachedCase("a", image, torch.zeros(1, 100, 100, 100, dtype=torch.int16), mapped)


def test_statement_counts_what_is_held_where():
    text = statement([case(False), case(True), case(True)], 3 * 10**6, ahead=2)
    assert text == (
        "3 training volumes, 6 MB in memory, 12 MB in mapped files; batches of 3 MB, 2 made ahead"
    )


def test_hint_has_numbers():
    text = hint(TrainConfig(batch=16, accumulate=2), processes=2, peak=15_200_000_000, total=16_000_000_000)
    assert "4 windows" in text and "15.2 GB used of 16.0 GB" in text
    assert "--accumulate 4 (passes of 2" in text and "--recompute" in text


def test_one_window_cannot_be_halved():
    assert "--accumulate" not in hint(TrainConfig(batch=2, accumulate=2), 1, 1, 1)


@pytest.mark.parametrize(
    ("error", "explains"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError("Unable to allocate"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (Interrupted("saved"), False),
        (InputError("a", expected="b", got="c", do="d"), False),
        (FloatingPointError("loss is nan"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_memory_errors_alone_are_explained(error, explains):
    with pytest.raises(OutOfMemory if explains else type(error)) as caught, explained(TrainConfig(), 1):
        raise error
    assert explains == isinstance(caught.value, OutOfMemory)


def test_the_device_has_memory():
    assert memory.total_bytes() > 10**8
