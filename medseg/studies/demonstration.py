"""Data for pages and smoke runs: phantoms at smoke, the real data set above it."""

import os
import tempfile
from pathlib import Path

from medseg.data.download import VARIABLE, download, find_dataset
from medseg.data.phantoms import write_phantoms
from medseg.studies.run import Data, open_data

CASES, SEED = 10, 1
SPLIT_SEED = 1234


def smoke_data(parent: Path) -> Data:
    """Phantoms below `parent`, made if they are not there: shows that things run, never a result."""
    folder = Path(parent) / f"phantoms-{CASES}-{SEED}" / "Phantom"
    if not folder.exists():
        write_phantoms(folder, CASES, SEED)
    return open_data(folder, SPLIT_SEED)


def page_data(profile: str, dataset: str, parent: Path | None = None) -> Data:
    """What a page runs on: phantoms at smoke, else the data set, found through MEDSEG_DATA or downloaded.

    Args:
        profile: of the page.
        dataset: name of a card.
        parent: takes phantoms and downloads; a new temporary folder where None.
    """
    parent = parent or Path(tempfile.mkdtemp())
    if profile == "smoke":
        return smoke_data(parent)
    folder = find_dataset(dataset) if VARIABLE in os.environ else download(dataset, parent / "data")
    return open_data(folder, SPLIT_SEED)
