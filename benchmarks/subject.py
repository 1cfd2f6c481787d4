"""The volumes that are measured: hippocampus MRI where MEDSEG_DATA is set, else phantoms."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from medseg.data.catalog import DatasetCard
from medseg.data.download import VARIABLE, find_dataset
from medseg.data.layouts import Case, read_msd
from medseg.data.phantoms import write_phantoms

REAL, CASES, QUICK_CASES = "Task04_Hippocampus", 20, 2


@contextmanager
def subject(quick: bool) -> Iterator[tuple[DatasetCard, list[Case], Path]]:
    """The card, the first cases of the data set, and an empty folder that is removed afterwards."""
    wanted = QUICK_CASES if quick else CASES
    with TemporaryDirectory(prefix="medseg-bench-") as name:
        scratch = Path(name) / "scratch"
        scratch.mkdir()
        if os.environ.get(VARIABLE):
            folder = find_dataset(REAL)
        else:
            folder = Path(name) / "Phantom"
            write_phantoms(folder, wanted, seed=1)
        card, cases = read_msd(folder)
        yield card, cases[:wanted], scratch
