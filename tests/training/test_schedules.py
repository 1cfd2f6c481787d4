"""The slanted triangle: up over the warm-up, down to zero, never above one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.training.schedules import slanted_triangle


@given(st.integers(0, 30), st.integers(1, 200))
def test_rises_to_one_and_falls_to_zero(warmup, steps):
    factors = [slanted_triangle(step, warmup, steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    rising, falling = factors[:warmup], factors[warmup:]
    assert rising == sorted(rising) and falling == sorted(falling, reverse=True)
    assert slanted_triangle(steps, min(warmup, steps), steps) == 0


def test_both_sides_are_lines():
    factors = [slanted_triangle(step, 20, 100) for step in range(101)]
    assert factors[:20] == pytest.approx([n / 20 for n in range(1, 21)])
    assert factors[20:] == pytest.approx([1 - n / 80 for n in range(81)])


def test_no_warm_up_starts_at_the_full_rate():
    assert slanted_triangle(0, 0, 10) == 1.0
