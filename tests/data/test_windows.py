"""Windows clamp at both ends, and every window is seen once an epoch, in an order of the seed alone."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medseg.data.windows import WindowIndex, cut, epoch_order, window_indices

SLICES, LENGTH = st.integers(1, 9), st.integers(1, 40)


def test_both_ends_clamp():
    assert window_indices(0, 5, 30) == [0, 0, 0, 1, 2]
    assert window_indices(29, 5, 30) == [27, 28, 29, 29, 29]
    assert window_indices(1, 5, 3) == [0, 0, 1, 2, 2]
    assert window_indices(0, 4, 1) == [0, 0, 0, 0]


@given(SLICES, LENGTH, st.integers(1, 3), st.data())
def test_a_window_is_a_run_around_its_centre(slices, n, stride, data):
    center = data.draw(st.integers(0, n - 1))
    indices = window_indices(center, slices, n, stride)
    assert len(indices) == slices and indices[slices // 2] == center
    for position, index in enumerate(indices):
        offset = stride * (position - slices // 2)
        assert 0 <= index < n
        # The slice of that offset, or the end slice where the volume stops.
        assert (
            index == center + offset or (index == 0 > center + offset) or (index == n - 1 < center + offset)
        )


def test_cut_keeps_channels_and_plane():
    volume = torch.arange(2 * 6 * 3 * 4).reshape(2, 6, 3, 4)
    torch.testing.assert_close(cut(volume, 3, 3), volume[:, 2:5])
    torch.testing.assert_close(cut(volume, 0, 3), volume[:, [0, 0, 1]])
    torch.testing.assert_close(cut(volume, 5, 1), volume[:, 5:6])


@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(1, 6), st.integers(0, 999))
def test_every_window_is_seen_once_an_epoch(slices_per_case, batch, seed):
    index = WindowIndex(slices_per_case, batch, seed)
    n = sum(slices_per_case)
    every = {(case, d) for case, length in enumerate(slices_per_case) for d in range(length)}
    assert len(index) == n
    # Batches run on over the end of an epoch: `batch` epochs take n steps exactly.
    seen = [pair for step in range(n) for pair in index.at(step)]
    for epoch in range(batch):
        part = seen[epoch * n : (epoch + 1) * n]
        assert len(part) == n and set(part) == every


@given(st.integers(1, 300), st.integers(0, 2**32), st.integers(0, 5))
def test_an_epoch_is_a_permutation_by_seed_and_number(n, seed, epoch):
    order = epoch_order(n, seed, epoch)
    assert sorted(order.tolist()) == list(range(n))
    assert (epoch_order(n, seed, epoch) == order).all()


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in (1234, 5678) for epoch in (0, 1)}
    assert len(orders) == 4


@pytest.mark.parametrize("batch", [3, 4, 7])
def test_a_step_does_not_depend_on_the_steps_before(batch):
    in_order, jumping = WindowIndex([5, 6], batch, seed=3), WindowIndex([5, 6], batch, seed=3)
    expected = [in_order.at(step) for step in range(12)]
    assert [jumping.at(step) for step in (7, 2, 11, 2)] == [expected[step] for step in (7, 2, 11, 2)]


def test_the_batch_size_cuts_the_same_stream():
    small, large = WindowIndex([9, 4], 2, seed=5), WindowIndex([9, 4], 6, seed=5)
    assert [p for step in range(9) for p in small.at(step)] == [
        p for step in range(3) for p in large.at(step)
    ]


def test_threads_do_not_disturb_each_other():
    index = WindowIndex([7, 5], 5, seed=3)
    expected = [WindowIndex([7, 5], 5, seed=3).at(step) for step in range(200)]
    with ThreadPoolExecutor(4) as pool:
        # Neighbouring steps lie in different epochs, so that threads replace each other's order.
        assert list(pool.map(index.at, range(200))) == expected
