"""A case whose channels lie in several files, read as one volume."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.data.checks import check_same_grid
from medseg.data.volume import Volume, read
from medseg.errors import InputError


def read_channels(images: Sequence[Path], labels: Path | None = None) -> Volume:
    """Read files of one case, each with one or more channels, and stack their channels in this order.

    One file is read as `medseg.data.volume.read` reads it. Name and native space are those of the first file.

    Raises:
        InputError: no file, files on different grids, or as `read`.
    """
    if not images:
        raise InputError("a case has no image", expected="at least one file", got="none", do="name its files")
    first, *others = (read(image, labels if n == 0 else None) for n, image in enumerate(images))
    for other in others:
        try:
            check_same_grid(
                first.array.shape[:0:-1], first.affine, other.array.shape[:0:-1], other.affine, other.name
            )
        except InputError as error:
            raise InputError(
                f"{first.name} and {other.name} do not lie on one grid",
                expected=error.expected,
                got=error.got,
                do="check that the files belong to one case, or resample one to the other",
            ) from error
    if not others:
        return first
    return replace(first, array=np.concatenate([first.array, *(other.array for other in others)]))
