"""Bias tables for another window: the positions of the official code, and the laws of a resampling."""

import numpy as np
import pytest
import torch
from scipy.interpolate import make_interp_spline

from medseg.encoders.relative_bias import offset_positions, resized_table
from medseg.errors import InputError


def table(rows, heads=2, seed=0):
    return torch.randn(rows, heads, generator=torch.Generator().manual_seed(seed))


def rows_of(window, class_rows=0):
    return (2 * window - 1) ** 2 + class_rows


def test_positions_of_14_tokens_among_32():
    # q and positions of the official code.
    q, positions = offset_positions(27, 63)
    assert q == pytest.approx(1.134918, abs=1e-6)
    # fmt: off
    expected = [0, 1, 2.1349, 3.4230, 4.8848, 6.5438, 8.4267, 10.5636, 12.9888, 15.7412, 18.8650, 22.4103,
                26.4338, 31.0002]
    # fmt: on
    assert positions[13:] == pytest.approx(expected, abs=1e-4)
    assert positions[:13] == [-position for position in reversed(positions[14:])]


def test_rows_of_beit_at_512_px():
    old = table(rows_of(14, 3), heads=12)
    new = resized_table(old, 3972)
    assert len(old) == 732 and new.shape == (3972, 12)
    assert torch.equal(new[-3:], old[-3:]), "rows of the class token are kept"


def test_it_is_the_cubic_spline_along_both_axes():
    old = table(rows_of(14, 3))
    positions, targets = offset_positions(27, 63)[1], np.arange(-31, 32)
    for head in range(2):
        grid = old[:-3, head].view(27, 27).double().numpy()
        for axis in (0, 1):
            grid = make_interp_spline(positions, grid, k=3, axis=axis)(targets)
        new = resized_table(old, 3972)[:-3, head].view(63, 63)
        np.testing.assert_allclose(new, grid, atol=1e-5)


@pytest.mark.parametrize("class_rows", [0, 3])
@pytest.mark.parametrize(("old", "new"), [(14, 32), (7, 10), (14, 7), (7, 4), (7, 1)])
def test_laws(old, new, class_rows):
    rows, wanted = rows_of(old, class_rows), rows_of(new, class_rows)
    value = table(rows)
    assert torch.equal(resized_table(value, rows), value), "the same window changes nothing"
    constant = resized_table(torch.ones(rows, 1), wanted)
    assert constant.shape == (wanted, 1)
    torch.testing.assert_close(constant, torch.ones(wanted, 1))
    grid = value[: rows - class_rows].T.reshape(-1, 2 * old - 1, 2 * old - 1)
    even = (grid + grid.flip(-1, -2) + grid.mT + grid.mT.flip(-1, -2)).flatten(1).T
    symmetric = resized_table(torch.cat([even, value[rows - class_rows :]]), wanted)
    side = 2 * new - 1
    resized = symmetric[: wanted - class_rows].T.reshape(-1, side, side)
    torch.testing.assert_close(resized, resized.flip(-1, -2), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(resized, resized.mT, atol=1e-5, rtol=1e-5)
    # Offset zero stands where it stood.
    middle = old - 1
    torch.testing.assert_close(
        resized[:, new - 1, new - 1], even.T.reshape(-1, 2 * old - 1, 2 * old - 1)[:, middle, middle]
    )


def test_heads_do_not_mix_and_the_type_is_kept():
    value = table(rows_of(7)).half()
    new = resized_table(value, rows_of(10))
    assert new.dtype == torch.float16
    assert torch.equal(new[:, :1], resized_table(value[:, :1], rows_of(10)))


@pytest.mark.parametrize(("rows", "wanted"), [(169, 732), (170, 169), (168, 169), (64, 36)])
def test_what_is_no_pair_of_square_windows_is_not_resized(rows, wanted):
    assert resized_table(table(rows), wanted) is None


def test_a_table_that_no_ratio_reaches_is_refused():
    with pytest.raises(InputError, match="stretched"):
        offset_positions(13, 63)
