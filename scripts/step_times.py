"""Seconds of a training step of every way to tune, taken in turns in one run; for page 24.

    MEDSEG_DATA=... python scripts/step_times.py

Times in records are of runs that stood hours apart on a shared machine. Here each cell trains a few steps,
then the next, and all of it again: what else the machine does is spread over all of them. Network, batch and
loop are those of the study at the profile `colab`; weights are random, which changes no time.
"""

import json
import statistics
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from medseg.data.cases import LoadedCase, load_case
from medseg.data.catalog import DatasetCard
from medseg.data.download import find_dataset
from medseg.data.layouts import read_folder
from medseg.files import write_atomic
from medseg.records.provenance import environment
from medseg.studies import study
from medseg.studies.fitted import fitted_to
from medseg.training.loop import fit

OUTPUT = Path(__file__).parents[1] / "book" / "_data" / "step_times.json"
# A study, and its tables whose cells are timed; none: all of it.
STUDIES: dict[str, tuple[str, ...]] = {"medtuning_methods": ("1", "more"), "medtuning_inflation": ()}
DATA, CASES, PROFILE = "Task04_Hippocampus", 8, "colab"
WARM, TIMED, ROUNDS = 2, 3, 3


def cells_of(asked: study.Study, tables: tuple[str, ...]) -> list[study.Cell]:
    """The cells of the named tables, each once."""
    if not tables:
        return list(asked.cells)
    return list({cell.cell: cell for table in tables for cell in asked.part(table).cells}.values())


def seconds(asked: study.Study, cell: study.Cell, card: DatasetCard, cases: list[LoadedCase]) -> list[float]:
    """Of each timed step; the last step, which ends in a checkpoint, is left out."""
    config = fitted_to(asked.config(cell, asked.seeds[0], PROFILE), card)
    train = config.train.model_copy(update={"steps": WARM + TIMED + 2})
    model = config.model.model_copy(update={"weights": None})
    edges: list[float] = []
    with TemporaryDirectory(prefix="medseg-steps-") as folder:
        fit(
            config.model_copy(update={"train": train, "model": model}),
            cases,
            Path(folder),
            on_step=lambda _: edges.append(time.perf_counter()),
        )
    return [end - start for start, end in pairwise(edges[WARM:-1])]


def main() -> None:
    """Time all cells and write the file."""
    card, found = read_folder(find_dataset(DATA))
    cases = [load_case(case, card) for case in found[:CASES]]
    studies = [(study.load(name), tables) for name, tables in STUDIES.items()]
    wanted = [(asked, cell) for asked, tables in studies for cell in cells_of(asked, tables)]
    taken: dict[tuple[str, str], list[float]] = {(s.name, cell.cell): [] for s, cell in wanted}
    for number in range(ROUNDS):
        for asked, cell in wanted:
            taken[asked.name, cell.cell] += seconds(asked, cell, card, cases)
        print(f"round {number + 1} of {ROUNDS}", flush=True)
    rows = [
        {"study": name, "cell": cell, "step_s": round(statistics.median(own), 4)}
        | {"low": round(min(own), 4), "high": round(max(own), 4), "steps": len(own)}
        for (name, cell), own in taken.items()
    ]
    report = {"environment": environment().model_dump(), "profile": PROFILE, "rows": rows}
    write_atomic(OUTPUT, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
