"""Shares tile the batch, whoever computes them; one process speaks for all."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from training_runs import OneOf

from medseg.config import TrainConfig
from medseg.decoders.dropout import ChannelDropout
from medseg.encoders.registry import make
from medseg.encoders.slice_batch import SliceBatch
from medseg.errors import InputError
from medseg.training.devices import Share, gathered, on_first, share_of
from medseg.training.engine import Engine

PROCESSES, PARTS, SIZE = st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)


def share(batch, accumulate=1, rank=0, processes=1, network=None):
    train = TrainConfig(batch=batch, accumulate=accumulate)
    return Share.of(OneOf(rank, processes), train, network or nn.Identity())


@given(PROCESSES, PARTS, SIZE)
def test_shares_tile_the_batch(processes, accumulate, size):
    batch = processes * accumulate * size
    shares = [share(batch, accumulate, rank, processes) for rank in range(processes)]
    rows = [list(range(batch))[s.rows(part)] for part in range(accumulate) for s in shares]
    # In order: a part of the step holds neighbouring rows, which its processes share out in order.
    assert [row for part in rows for row in part] == list(range(batch))
    assert {len(part) for part in rows} == {size}


@given(st.integers(1, 24), PROCESSES)
def test_a_batch_that_cannot_be_cut_is_refused(batch, processes):
    if batch % processes == 0:
        assert share(batch, processes=processes).parts == processes
        return
    with pytest.raises(InputError, match="cannot be shared out") as caught:
        share(batch, processes=processes)
    assert f"{processes} processes" in caught.value.expected and "--devices" in caught.value.do


def test_a_batch_norm_gets_two_windows():
    norm = nn.Sequential(nn.BatchNorm2d(2))
    for batch, accumulate, processes in ((1, 1, 1), (4, 4, 1)):
        with pytest.raises(InputError, match="no statistics of one window"):
            share(batch, accumulate, 0, processes, norm)
    with pytest.raises(InputError) as caught:
        share(1, 1, 0, 1, norm)
    assert caught.value.do == "raise the batch"
    # Two processes see the statistics of both.
    assert share(2, 1, 0, 2, norm).rows(0) == slice(0, 1)
    assert share(4, 2, 0, 1, norm).rows(1) == slice(2, 4)
    assert share(1).rows(0) == slice(0, 1)
    # A window of slices as a batch is several images.
    assert share(1, 1, 0, 1, nn.Sequential(norm, SliceBatch(make("test_vit", 1, 1, 32, (1,))))).rows(
        0
    ) == slice(0, 1)


def test_dropout_is_told_which_rows_come():
    network = nn.Sequential(nn.Identity(), nn.Sequential(ChannelDropout(0.5)))
    share(8).tell(network, 0)
    assert network[1][0].share is None, "the whole batch needs no word"
    share(8, accumulate=2, rank=1, processes=2).tell(network, 1)
    assert network[1][0].share == (6, 2, 8)


@given(st.integers(0, 9), PROCESSES)
def test_every_item_is_worked_on_once(items, processes):
    parts = [share_of(OneOf(rank, processes), Engine(), list(range(items))) for rank in range(processes)]
    assert sorted(item for part in parts for item in part) == list(range(items))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_under_fsdp_every_process_works_on_all():
    assert share_of(OneOf(1, 2), Engine(devices=2, strategy="fsdp"), [1, 2, 3]) == [1, 2, 3]


def test_one_process_asks_nobody():
    assert on_first(OneOf(), lambda: 7) == 7
    assert gathered(OneOf(), [1, 2]) == [1, 2]
    with pytest.raises(InputError):
        on_first(OneOf(), lambda: share(3, processes=2))


@pytest.mark.parametrize("rank", [0, 1])
def test_bad_input_is_said_by_the_first_process_alone(rank):
    def refuse():
        raise InputError("no", expected="a", got="b", do="c")

    one = OneOf(rank, 2)
    one.broadcast = lambda answer: answer if rank == 0 else (False, None)
    with pytest.raises(InputError if rank == 0 else SystemExit) as ended:
        on_first(one, refuse)
    assert rank == 0 or ended.value.code == 0


def test_weights_are_laid_out_channels_last(tiny_config):
    from medseg.segmenter import build
    from medseg.training.devices import _channels_last

    segmenter, _ = build(tiny_config().model, seed=1)
    before = {key: value.clone() for key, value in segmenter.state_dict().items()}
    _channels_last(segmenter)
    assert all(torch.equal(value, before[key]) for key, value in segmenter.state_dict().items())
    kernels = [p for p in segmenter.parameters() if p.ndim == 4]
    assert kernels and all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)
