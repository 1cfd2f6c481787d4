"""Size and slice variation of every structure of the data sets at hand; one CSV row each, for page 14.

    MEDSEG_DATA=... python scripts/structures.py

All labelled cases are counted, whatever the split: nothing is trained or chosen by it.
"""

import csv
import io
from pathlib import Path

from medseg.data.cases import load_case
from medseg.data.download import find_dataset
from medseg.data.layouts import read_folder
from medseg.files import write_atomic
from medseg.metrics.structures import measure_structure

OUTPUT = Path(__file__).parents[1] / "book" / "_data" / "structures.csv"
COLUMNS = ("data", "structure", "maps", "voxels", "slices", "neighbour_dice", "inner_dice")
DATA = ("Task04_Hippocampus", "ACDC")


def rows_of(name: str) -> list[tuple[str | int | float | None, ...]]:
    """One row a structure of a data set."""
    card, cases = read_folder(find_dataset(name))
    maps = [load_case(case, card).volume.labels for case in cases]
    found = {title: measure_structure(m == value for m in maps) for value, title in card.structures.items()}
    return [(name, title, *(v and round(v, 6) for v in measured)) for title, measured in found.items()]


def main() -> None:
    """Measure all data sets and write the file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name in DATA:
        writer.writerows(rows_of(name))
    write_atomic(OUTPUT, text.getvalue())


if __name__ == "__main__":
    main()
