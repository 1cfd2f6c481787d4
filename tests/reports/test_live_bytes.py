"""What is alive is counted once, as long as it lives, and no longer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medseg.reports.live_bytes import LiveBytes


@given(st.lists(st.tuples(st.integers(1, 1000), st.booleans()), max_size=8))
def test_now_and_peak_follow_what_is_kept(blocks):
    kept, peak = [], 0
    with LiveBytes([]) as live:
        for size, keep in blocks:
            block = torch.ones(size)
            peak = max(peak, live.now)
            if keep:
                kept.append(block)
            del block
            assert live.now == sum(one.nbytes for one in kept)
    assert live.peak == peak


def test_views_and_work_in_place_add_nothing():
    with LiveBytes([]) as live:
        block = torch.ones(100)
        view = block.reshape(10, 10)[2:4]
        view.mul_(2)
        del block
        assert live.now == 400
        del view
    assert (live.now, live.peak) == (0, 400)


def test_what_was_there_counts_until_it_is_freed():
    block = torch.ones(100)
    with LiveBytes([block, block[:10]]) as live:
        assert live.now == 400
        del block
        assert live.now == 0


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_way_back_is_seen(device):
    weight = torch.ones(50, 50, device=device, requires_grad=True)
    given = torch.ones(10, 50, device=device)
    with LiveBytes([weight, given]) as live:
        (given @ weight).relu().sum().backward()
        assert live.now == weight.nbytes + given.nbytes + weight.grad.nbytes
    assert live.peak >= live.now + 10 * 50 * 4


def test_a_meta_tensor_is_counted_at_its_size():
    with LiveBytes([]) as live:
        block = torch.empty(10**9, device="meta")
        assert live.now == block.nbytes
