"""Batch norm on two processes is torch's batch norm on the whole batch: values, gradients, statistics."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from training_runs import HERE, environment
from two_norms import ROWS, network, trained

from medseg.training.sync_norm import SyncedBatchNorm, synchronised


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gloo")
    commands = [[sys.executable, HERE / "two_norms.py", str(rank), folder] for rank in (0, 1)]
    started = [subprocess.Popen(c, env=environment(), stderr=subprocess.PIPE, text=True) for c in commands]
    for process in started:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("axes", [4, 5], ids=["2D", "3D"])
def test_two_processes_are_one(two_processes, axes):
    first, second = (found[axes] for found in two_processes)
    whole = trained(network(axes), axes, slice(0, ROWS))
    assert first.keys() == second.keys() == whole.keys()
    for name, expected in whole.items():
        if name.startswith("buffer"):
            assert torch.equal(first[name], second[name])
            ours = first[name]
        elif name.startswith("d "):
            # Each process has the share of its rows.
            ours = first[name] + second[name]
        else:
            ours = torch.cat([first[name], second[name]])
        # Gradients of parameters are sums in which terms cancel (of a bias before a norm, all of them).
        atol = 1e-9 if name.startswith("d ") else 1e-12
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=atol, msg=f"{name} differs")


def test_replaced_norms_share_parameters_and_buffers():
    layers = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.Sequential(nn.BatchNorm2d(3, eps=0.5, momentum=0.25)), nn.ReLU()
    )
    norm = layers[1][0].eval()
    before = dict(layers.state_dict())
    assert synchronised(layers) is layers
    twin = layers[1][0]
    assert (
        isinstance(twin, SyncedBatchNorm) and (twin.eps, twin.momentum) == (0.5, 0.25) and not twin.training
    )
    assert twin.weight is norm.weight and twin.running_var is norm.running_var
    after = layers.state_dict()
    assert before.keys() == after.keys() and all(before[key] is not None for key in after)
    # In evaluation nobody is asked.
    values = torch.randn(2, 3, 4, 4)
    assert torch.equal(twin(values), norm(values))
    synchronised(layers)
    assert layers[1][0] is twin


def test_a_frozen_norm_stays():
    norms = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2))
    norms[0].requires_grad_(False)
    assert [type(norm) for norm in synchronised(norms)] == [nn.BatchNorm2d, SyncedBatchNorm]
