"""Relative position bias tables carried from one attention window to another (BEiT's rule, Bao et al. 2021).

TransSeg takes BEiT at 224 px (14 x 14 tokens) to 512 px (32 x 32 tokens), section 3.2. Offsets near zero keep
their meaning; the far ones of the old table are spread geometrically until the last reaches the last offset
of the new window, and a bicubic spline is read off at every whole offset.
"""

from math import isqrt

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import RectBivariateSpline
from torch import Tensor

from medseg.errors import InputError

# Bounds of the ratio of neighbouring offsets (BEiT's code).
NEAREST, FARTHEST = 1.01, 1.5
BIAS_TABLE = "relative_position_bias_table"
# Rows behind the grid of offsets: class token to patch, patch to class token, class token to itself (BEiT).
CLASS_ROWS = 3


def offset_positions(side: int, wanted: int) -> tuple[float, list[float]]:
    """Where the offsets of an old table stand among those of a new one.

    Args:
        side: offsets along an axis of the old table, 2 * window - 1.
        wanted: those of the new table.

    Returns:
        The ratio q, found by bisection in [1.01, 1.5] to 1e-6, and the positions 0, +-1, +-(1 + q), ...

    Raises:
        InputError: the new table is so large that no ratio up to 1.5 reaches its ends.

    >>> offset_positions(3, 3)[1]
    [-1.0, 0.0, 1.0]
    """
    near, far, q = NEAREST, FARTHEST, 1.0
    # The last offset of the new table may lie up to one beyond the last position.
    reach = int(sum(FARTHEST**i for i in range(side // 2)) + 1)
    if reach < wanted // 2:
        raise InputError(
            "the table of relative positions cannot be stretched so far",
            expected=f"at most {2 * reach + 1} offsets along an axis",
            got=str(wanted),
            do="choose a smaller image_px, or weights of a larger window",
        )
    while far - near > 1e-6:
        q = (near + far) / 2
        if sum(q**i for i in range(side // 2)) > wanted // 2:
            far = q
        else:
            near = q
    steps = np.cumsum([q**i for i in range(side // 2)]).tolist()
    return q, [-step for step in reversed(steps)] + [0.0] + steps


def resized_table(
    table: Float[Tensor, "rows heads"], wanted_rows: int
) -> Float[Tensor, "wanted_rows heads"] | None:
    """A bias table for another square window; rows of the class token are kept as they are.

    A smaller window than the old one keeps the near offsets.

    Args:
        table: one row an offset, rows of the grid first.
        wanted_rows: rows of the new table.

    Returns:
        The new table, or None where the numbers of rows are not those of two square windows.
    """
    sides = _sides(len(table), wanted_rows)
    if sides is None:
        return None
    side, wanted = sides
    if side == wanted:
        return table
    positions = offset_positions(side, wanted)[1]
    targets = np.arange(-(wanted // 2), wanted // 2 + 1)
    grids = table[: side**2].T.reshape(-1, side, side).double().cpu().numpy()
    degree = min(3, side - 1)
    read = [
        RectBivariateSpline(positions, positions, g, kx=degree, ky=degree)(targets, targets) for g in grids
    ]
    resized = torch.from_numpy(np.stack(read)).flatten(1).T.to(table)
    return torch.cat([resized, table[side**2 :]])


def _sides(rows: int, wanted_rows: int) -> tuple[int, int] | None:
    for extra in (0, CLASS_ROWS):
        sides = isqrt(max(rows - extra, 0)), isqrt(max(wanted_rows - extra, 0))
        if (rows - extra, wanted_rows - extra) == (sides[0] ** 2, sides[1] ** 2) and all(
            s % 2 for s in sides
        ):
            return sides
    return None
