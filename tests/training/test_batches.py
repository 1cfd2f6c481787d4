"""The data path: the batches of the feed, in order, made ahead or not, cut as the share says."""

import pytest
import torch

from medseg.data.cases import WindowFeed
from medseg.training.batches import Batches
from medseg.training.devices import Share
from medseg.training.engine import Engine

CPU = torch.device("cpu")


@pytest.fixture
def batches(tiny_config, loaded_phantoms):
    def make(rank=0, processes=1, accumulate=1, **engine):
        config = tiny_config(train={"steps": 5, "batch": 4, "accumulate": accumulate})
        share = Share(4, processes * accumulate, rank, processes)
        return Batches(config, loaded_phantoms, False, share, CPU, Engine(**engine))

    return make


@pytest.fixture
def feed(tiny_config, loaded_phantoms):
    config = tiny_config()
    return WindowFeed(loaded_phantoms, config.model, config.augment, 4, config.train.seed, False)


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("ahead", [0, 3])
@pytest.mark.parametrize("first", [0, 3, 5])
def test_from_any_step_on(batches, feed, first, ahead):
    coming = list(batches(prefetch=ahead).since(first))
    assert len(coming) == 5 - first
    assert all(equal(pair, feed.at(step)) for step, pair in enumerate(coming, start=first))


@pytest.mark.parametrize(("processes", "accumulate"), [(2, 1), (1, 2), (2, 2), (4, 1)])
def test_parts_of_all_processes_are_the_batch(batches, feed, processes, accumulate):
    of_rank = [list(batches(rank, processes, accumulate).since(4)) for rank in range(processes)]
    parts = [of_rank[rank][part] for part in range(accumulate) for rank in range(processes)]
    assert equal([torch.cat(tensors) for tensors in zip(*parts, strict=True)], feed.at(4))


def test_names(batches, feed):
    assert batches(rank=1, processes=2).names_at(3) == feed.names_at(3)


def test_what_is_held_is_stated(batches):
    assert batches(prefetch=3).statement.startswith("2 training volumes, ")
    assert batches(prefetch=3).statement.endswith("3 made ahead")
    assert batches().statement.endswith("0 made ahead")
