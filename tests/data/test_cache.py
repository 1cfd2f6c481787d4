"""Held in memory or mapped from files: the same numbers, within the bound, and nothing left behind."""

import errno

import numpy as np
import pytest
import torch

from medseg.data import cache
from medseg.data.cases import TrainingCase
from medseg.errors import InputError


@pytest.fixture
def fill(loaded_phantoms, tmp_path):
    cases = {case.id: case for case in loaded_phantoms}
    return lambda limit: cache.fill(list(cases), cases.__getitem__, limit, tmp_path)


def same(first, second):
    return all(
        a.id == b.id and torch.equal(a.image, b.image) and torch.equal(a.labels, b.labels)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("mapped", [0, 1, 2])
def test_the_bound_decides_where_and_changes_nothing(fill, loaded_phantoms, tmp_path, mapped):
    sizes = [cache.size_bytes([case]) for case in loaded_phantoms]
    limit = sum(sizes[: 2 - mapped])
    found = fill(limit)
    assert [case.mapped for case in found] == [False] * (2 - mapped) + [True] * mapped
    assert cache.size_bytes(case for case in found if not case.mapped) <= limit
    assert same(found, loaded_phantoms) and all(isinstance(case, TrainingCase) for case in found)
    folder = tmp_path / cache.FOLDER
    assert len(list(folder.glob("*"))) == 2 * mapped
    cache.empty(tmp_path)
    assert not folder.exists()
    # What is mapped stays readable for those who hold it.
    assert same(found, loaded_phantoms)


def test_a_smaller_case_may_still_fit_after_a_large_one(fill, loaded_phantoms):
    sizes = [cache.size_bytes([case]) for case in loaded_phantoms]
    found = fill(min(sizes))
    assert sum(not case.mapped for case in found) == 1


def test_raw_volumes_are_dropped(fill):
    assert not any(hasattr(case, "volume") for case in fill(10**12))


def test_writing_to_a_mapped_volume_changes_no_file(fill, tmp_path):
    case = fill(0)[0]
    case.image[:] = 7
    stored = np.load(next((tmp_path / cache.FOLDER).glob(f"*{case.id}-image.npy")))
    assert stored.max() <= 1


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError("8 requested and 4 written")]
)
def test_a_full_disk_is_said_and_nothing_is_left(fill, tmp_path, monkeypatch, error):
    def full(path, array):
        path.write_bytes(b"some")
        raise error

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(InputError, match="cannot be written") as caught:
        fill(0)
    assert caught.value.got in ("No space left on device", "8 requested and 4 written")
    assert "--cache-gb" in caught.value.do and not list(tmp_path.iterdir())


def test_sizes(loaded_phantoms):
    voxels = [case.image.numel() for case in loaded_phantoms]
    # float32 image and int16 labels.
    assert cache.size_bytes(loaded_phantoms) == sum(6 * n for n in voxels)
    assert cache.size_bytes([]) == 0


def test_free_memory_is_some_and_not_more_than_there_is(monkeypatch):
    import os

    all_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < cache.free_bytes() <= all_bytes

    def unreadable(path):
        raise OSError

    monkeypatch.setattr(cache.Path, "read_text", unreadable)
    assert cache.free_bytes() == all_bytes // 2


def test_on_a_device_it_is_the_same(loaded_phantoms):
    assert same(cache.on_device(loaded_phantoms, torch.device("cpu")), loaded_phantoms)


def test_bounds_of_control_groups_are_those_of_all_parents(tmp_path):
    own = tmp_path / "groups" / "job" / "task"
    own.mkdir(parents=True)
    (tmp_path / "cgroup").write_text("0::/job/task\n")
    for folder, bound, used, cached in ((own, "max", 5, 1), (own.parent, "100", 70, 20)):
        (folder / "memory.max").write_text(f"{bound}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 3\ninactive_file {cached}\n")
    assert list(cache._below_bounds(tmp_path / "groups", tmp_path / "cgroup")) == [50]
    assert list(cache._below_bounds(tmp_path / "groups", tmp_path / "none")) == []
    assert cache.free_bytes() > 0
