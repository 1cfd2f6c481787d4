"""A checkpoint comes back as it was, the newest and the best are kept, and what is damaged is left out."""

import errno
import random
import warnings
from dataclasses import replace

import pytest
import torch

from medseg.errors import InputError
from medseg.training import checkpoint
from medseg.training.state import TrainingState

DIGEST = "a" * 64


def state(step=2, digest=DIGEST, validations=()):
    parameter = torch.nn.Parameter(torch.randn(3, 4, generator=torch.Generator().manual_seed(step)))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    parameter.grad = torch.ones(3, 4)
    optimizer.step()
    return TrainingState(
        step=step,
        skipped=1,
        model={"weight": parameter.detach().clone()},
        optimizer=optimizer.state_dict(),
        scaler={"scale": 512.0},
        losses=[0.1 + n for n in range(step)],
        validations=list(validations),
        train_s=1.5,
        config_digest=digest,
    )


def steps(folder):
    return list(checkpoint.paths(folder))


def names(folder):
    return sorted(path.name for path in (folder / checkpoint.FOLDER).iterdir())


def test_round_trip(tmp_path):
    saved = state(validations=[(2, 0.5)])
    path = checkpoint.save(saved, tmp_path)
    loaded = checkpoint.load(tmp_path, DIGEST)
    for name in ("step", "skipped", "scaler", "losses", "validations", "train_s", "config_digest"):
        assert getattr(loaded, name) == getattr(saved, name)
    assert torch.equal(loaded.model["weight"], saved.model["weight"])
    assert loaded.optimizer["param_groups"] == saved.optimizer["param_groups"]
    moments, expected = loaded.optimizer["state"][0], saved.optimizer["state"][0]
    assert all(torch.equal(moments[key], expected[key]) for key in expected)
    assert names(tmp_path) == [path.name]


def test_the_name_holds_step_and_checksum(tmp_path):
    from medseg.files import sha256_of

    path = checkpoint.save(state(70), tmp_path)
    assert path.name == f"step-00000070-{sha256_of(path)[:16]}.pt"


def test_the_newest_counts(tmp_path):
    for step in (2, 4):
        checkpoint.save(state(step), tmp_path)
    assert checkpoint.load(tmp_path, DIGEST).step == 4


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_k_and_the_best_are_kept(tmp_path, keep):
    dice = {2: 0.3, 4: 0.9, 6: 0.1, 8: 0.9, 10: 0.2}
    for step in dice:
        so_far = [pair for pair in dice.items() if pair[0] <= step]
        checkpoint.save(state(step, validations=so_far), tmp_path, keep)
    newest = [10, 8, 6, 4, 2][:keep]
    assert steps(tmp_path) == newest + [4] * (4 not in newest)


def test_the_best_of_each_kept_state_is_kept(tmp_path):
    so_far = [(2, 0.5), (4, 0.1), (6, 0.9)]
    for step, _ in so_far:
        pairs = [pair for pair in so_far if pair[0] <= step]
        last = checkpoint.save(state(step, validations=pairs), tmp_path, keep=2)
    assert steps(tmp_path) == [6, 4, 2]
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="damaged"):
        before = checkpoint.load(tmp_path, DIGEST)
    assert torch.equal(checkpoint.best_weights(before, tmp_path)["weight"], state(2).model["weight"])


def test_the_best_is_the_first_of_equals():
    assert state(validations=[(2, 0.5), (4, 0.7), (6, 0.7)]).best == 4
    assert state().best is None


def test_the_weights_of_the_best(tmp_path):
    for step in (2, 4):
        checkpoint.save(state(step, validations=[(2, 0.5)]), tmp_path, keep=1)
    last = checkpoint.load(tmp_path, DIGEST)
    assert torch.equal(checkpoint.best_weights(last, tmp_path)["weight"], state(2).model["weight"])
    best = checkpoint.paths(tmp_path)[2]
    best.write_bytes(best.read_bytes()[:-1])
    with pytest.raises(InputError, match="best step, 2"):
        checkpoint.best_weights(last, tmp_path)
    best.unlink()
    with pytest.raises(InputError, match="best step, 2"):
        checkpoint.best_weights(last, tmp_path)


def test_whether_one_is_whole(tmp_path):
    assert not checkpoint.has_whole(tmp_path)
    paths = [checkpoint.save(state(step), tmp_path) for step in (2, 4)]
    for path, left in zip(paths, (True, False), strict=True):
        assert checkpoint.has_whole(tmp_path)
        path.write_bytes(path.read_bytes()[:-1])
        assert checkpoint.has_whole(tmp_path) is left


def test_nothing_to_resume(tmp_path):
    assert not checkpoint.has_any(tmp_path)
    with pytest.raises(InputError, match="nothing to resume") as caught:
        checkpoint.load(tmp_path, DIGEST)
    assert "without --resume" in caught.value.do


def test_another_configuration(tmp_path):
    checkpoint.save(state(), tmp_path)
    with pytest.raises(InputError, match="another configuration") as caught:
        checkpoint.load(tmp_path, "b" * 64)
    assert "bbbb" in caught.value.expected and "aaaa" in caught.value.got


def truncated(data, draw):
    return data[: draw.randrange(len(data))]


def flipped(data, draw):
    data, place = bytearray(data), draw.randrange(len(data))
    data[place] ^= 1 << draw.randrange(8)
    return bytes(data)


def longer(data, draw):
    return data + draw.randbytes(draw.randint(1, 9))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("damage", [truncated, flipped, longer])
def test_any_damage_is_found_and_the_one_before_is_taken(tmp_path, damage, seed):
    for step in (2, 4):
        newest = checkpoint.save(state(step), tmp_path)
    newest.write_bytes(damage(newest.read_bytes(), random.Random(seed)))
    with pytest.warns(UserWarning, match=f"{newest.name} is damaged"):
        loaded = checkpoint.load(tmp_path, DIGEST)
    assert loaded.step == 2 and torch.equal(loaded.model["weight"], state(2).model["weight"])


def test_what_only_looks_like_a_checkpoint_is_left_out(tmp_path):
    good = checkpoint.save(state(2), tmp_path)
    for step, tree in ((4, {"step": 4}), (6, torch.zeros(3))):
        path = good.with_name("other.pt")
        torch.save(tree, path)
        path.rename(good.with_name(f"step-{step:08d}-{checkpoint.sha256_of(path)[:16]}.pt"))
    with pytest.warns(UserWarning, match="is damaged") as said:
        assert checkpoint.load(tmp_path, DIGEST).step == 2
    assert len(said) == 2


def test_all_damaged(tmp_path):
    for step in (2, 4):
        path = checkpoint.save(state(step), tmp_path)
        path.write_bytes(b"not a checkpoint at all")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(InputError, match="nothing") as caught:
        checkpoint.load(tmp_path, DIGEST)
    assert caught.value.got == "2 damaged files" and "--overwrite" in caught.value.do


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_one_does_not_stand_in_the_way_of_those_that_come(tmp_path, keep, seed):
    for step in (2, 4, 6):
        # The best stays, so that there is something to fall back to where one is kept.
        newest = checkpoint.save(state(step, validations=[(2, 0.5)]), tmp_path, keep)
    whole = newest.read_bytes()
    newest.write_bytes(truncated(whole, random.Random(seed)))
    with pytest.warns(UserWarning, match="damaged"):
        before = checkpoint.load(tmp_path, DIGEST)
    for step in range(before.step + 1, 7):
        # The same step again, other bytes: the time differs.
        again = replace(state(step, validations=[(2, 0.5)]), train_s=99.0 + seed)
        checkpoint.save(again, tmp_path, keep)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert checkpoint.load(tmp_path, DIGEST).step == step
    assert len(names(tmp_path)) == keep + 1


def test_what_a_killed_process_was_writing_goes_with_the_next(tmp_path):
    checkpoint.save(state(2), tmp_path)
    for name in (".0a1b2c3d.writing.pt", "writing.pt"):
        (tmp_path / checkpoint.FOLDER / name).write_bytes(b"half")
    checkpoint.save(state(4), tmp_path)
    assert steps(tmp_path) == [4, 2] and len(names(tmp_path)) == 2


def test_clear_removes_all(tmp_path):
    checkpoint.save(state(2), tmp_path)
    checkpoint.clear(tmp_path)
    checkpoint.clear(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_old_one(tmp_path, monkeypatch):
    class Full:
        def __init__(self, handle):
            self.handle, self.room = handle, 700

        def write(self, data):
            self.room -= len(data)
            if self.room < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.handle.write(data)

        def __getattr__(self, name):
            return getattr(self.handle, name)

    old = checkpoint.save(state(2), tmp_path)
    make = checkpoint._Hashing.__init__
    monkeypatch.setattr(checkpoint._Hashing, "__init__", lambda self, handle: make(self, Full(handle)))
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoint.save(state(4), tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert checkpoint.load(tmp_path, DIGEST).step == 2 and names(tmp_path) == [old.name]
