"""A checkpoint comes back as it was, and what is damaged or foreign is refused."""

import errno

import pytest
import torch

from medseg.errors import InputError
from medseg.training import checkpoint
from medseg.training.checkpoint import CHECKPOINT, TrainingState


def state(step=2, digest="a" * 64):
    parameter = torch.nn.Parameter(torch.randn(3, 4))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    parameter.grad = torch.ones(3, 4)
    optimizer.step()
    return TrainingState(
        step=step,
        model={"weight": parameter.detach().clone()},
        optimizer=optimizer.state_dict(),
        scaler={},
        losses=[0.1 + step, 1 / 3],
        train_s=1.5,
        config_digest=digest,
    )


def test_round_trip(tmp_path):
    saved = state()
    checkpoint.save(saved, tmp_path)
    loaded = checkpoint.load(tmp_path, saved.config_digest)
    assert (loaded.step, loaded.losses, loaded.train_s, loaded.scaler) == (2, [2.1, 1 / 3], 1.5, {})
    assert torch.equal(loaded.model["weight"], saved.model["weight"])
    assert loaded.optimizer["param_groups"] == saved.optimizer["param_groups"]
    moments, expected = loaded.optimizer["state"][0], saved.optimizer["state"][0]
    assert all(torch.equal(moments[key], expected[key]) for key in expected)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_the_last_one_counts(tmp_path):
    for step in (2, 4):
        checkpoint.save(state(step), tmp_path)
    assert checkpoint.load(tmp_path, "a" * 64).step == 4


def test_nothing_to_resume(tmp_path):
    with pytest.raises(InputError, match="nothing to resume"):
        checkpoint.load(tmp_path, "a" * 64)


def test_another_configuration(tmp_path):
    checkpoint.save(state(), tmp_path)
    with pytest.raises(InputError, match="another configuration") as caught:
        checkpoint.load(tmp_path, "b" * 64)
    assert "bbbb" in caught.value.expected and "aaaa" in caught.value.got


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a checkpoint at all"),
        lambda path: torch.save({"step": 1}, path),
        lambda path: torch.save(torch.zeros(3), path),
    ],
    ids=["truncated", "empty", "text", "other fields", "a tensor"],
)
def test_damaged(tmp_path, damage):
    checkpoint.save(state(), tmp_path)
    damage(tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match="cannot be read") as caught:
        checkpoint.load(tmp_path, "a" * 64)
    assert caught.value.got and caught.value.do


def test_a_full_disk_keeps_the_old_one(tmp_path, monkeypatch):
    def full(tree, path):
        path.write_bytes(b"the first few bytes")
        raise OSError(errno.ENOSPC, "No space left on device")

    checkpoint.save(state(2), tmp_path)
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(state(4), tmp_path)
    assert checkpoint.load(tmp_path, "a" * 64).step == 2
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
