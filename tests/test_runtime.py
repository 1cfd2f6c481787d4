"""Randomness is a function of the run seed and the name of the axis, of nothing else."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medseg import runtime
from medseg.runtime import Stopwatch, device_kind, generator_for, peak_bytes, seed_for

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.text("abc", min_size=1), st.integers(0, 10**6))
def test_seeds_fit_every_generator(seed, axis, step):
    value = seed_for(seed, axis, step)
    assert 0 <= value < 2**63
    assert value == seed_for(seed, axis, step)


@given(SEEDS, st.lists(st.integers(0, 10**6), min_size=2, max_size=5, unique=True))
def test_steps_have_seeds_of_their_own(seed, steps):
    assert len({seed_for(seed, "augment", step) for step in steps}) == len(steps)


def test_axes_and_run_seeds_are_apart():
    assert (
        len({seed_for(s, axis, 0) for s in (1234, 5678, 910) for axis in ("order", "augment", "init")}) == 9
    )


def test_seeds_do_not_move():
    # Records were made with these streams.
    assert seed_for(1234, "order", 0) == 136812272672674695


def test_generators_do_not_share_state():
    first, second = generator_for(1, "init"), generator_for(1, "init")
    torch.rand(3, generator=first)
    fresh = torch.rand(3, generator=generator_for(1, "init"))
    assert torch.equal(torch.rand(3, generator=second), fresh)


def test_cost_of_this_process():
    watch = Stopwatch()
    first = watch.seconds()
    assert 0 <= first <= watch.seconds()
    assert peak_bytes() > 10_000_000 or device_kind() == "cuda"
    assert device_kind() in ("cpu", "cuda")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count for a whole process")
def test_the_peak_is_counted_anew():
    code = "from medseg.runtime import count_peak_anew, peak_bytes as p; import torch; a = p()\n"
    code += (
        "b = torch.ones(400_000_000, dtype=torch.uint8); c = p(); del b; count_peak_anew(); print(a, c, p())"
    )
    start = [sys.executable, "-c", f"import os; os.environ['CUDA_VISIBLE_DEVICES'] = ''; {code}"]
    first, high, after = map(int, subprocess.run(start, check=True, capture_output=True).stdout.split())
    assert high > first + 350_000_000 and after < first + 50_000_000


def test_freed_memory_is_kept_where_the_c_library_can(monkeypatch):
    class Library:
        def __init__(self, answer):
            self.calls, self.answer = [], answer

        def mallopt(self, parameter, value):
            self.calls.append(parameter)
            return self.answer

    for answer in (1, 0):
        library = Library(answer)
        monkeypatch.setattr(runtime.ctypes, "CDLL", lambda name, library=library: library)
        assert runtime.keep_freed_memory() is bool(answer)
        assert library.calls == ([-3, -1] if answer else [-3, -3])
    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda name: object())
    assert runtime.keep_freed_memory() is False
