"""What the papers print, as data: tables under studies/papers, one CSV file each, apart from records."""

from pathlib import Path

import pandas as pd

from medseg.errors import InputError
from medseg.studies.study import project_root


def paper_table(name: str, root: Path | None = None) -> pd.DataFrame:
    """A printed table, its first column as the index; numbers in the unit of the paper.

    Raises:
        InputError: no such table.
    """
    folder = (root or project_root()) / "studies" / "papers"
    path = folder / f"{name}.csv"
    if not path.is_file():
        raise InputError(
            "unknown table of a paper",
            expected=" | ".join(sorted(found.stem for found in folder.glob("*.csv")))
            or "studies/papers/*.csv",
            got=name,
            do="name one of them; run it in the folder of the book",
        )
    return pd.read_csv(path, index_col=0)
