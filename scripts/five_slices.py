"""Figure 2 of TransSeg with networks of this project: five slices of a test case.

    MEDSEG_DATA=... python scripts/five_slices.py RUNS --seed 910

RUNS is the parent of the run folders that `medseg study run transseg_main` left, with the trained networks.
The case is the first of the test part: it was not looked for. The picture shows a data set of CC BY-SA 4.0
and has that licence itself. A JSON file beside it names the runs.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from medseg.data.cases import load_case, to_label_values
from medseg.data.download import find_dataset
from medseg.files import atomic_path, write_atomic
from medseg.inference.slice_windows import predict
from medseg.records import store
from medseg.reports.comparison import comparison_figure
from medseg.studies import schedule, study
from medseg.studies.run import open_data
from medseg.training.run_folder import RECORD_FILE, load_model

OUTPUT = Path(__file__).parents[1] / "book" / "_data"
STUDY, ARMS = "transseg_main", ("transfer_depth", "transfer", "neither")


def main() -> None:
    """Predict with the three networks, draw, and write which runs they are of."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="parent of the run folders")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--profile", default="colab")
    given = parser.parse_args()
    asked, maps, origin = study.load(STUDY), {}, {}
    filed = {record.identity.run_id for record in store.read_study(study.project_root() / "results", STUDY)}
    data = open_data(find_dataset(asked.dataset), split_seed=1234)
    case = load_case(data.cases[data.split.test[0]], data.card)
    for cell in asked.choose(list(ARMS)):
        folder = schedule.folder_of(asked, schedule.Task(cell, given.seed), given.profile, given.runs)
        segmenter, run = load_model(folder)
        maps[cell.title] = to_label_values(predict(segmenter, case.image, run.config.model), data.card)
        origin[cell.title] = run_id = store.read(folder / RECORD_FILE).identity.run_id
        if run_id not in filed:
            parser.error(f"results/{STUDY} has no record of {folder}: only a filed run is shown")
    figure = comparison_figure(case.volume, maps, data.card.labels)
    with atomic_path(OUTPUT / "five_slices.png") as path:
        figure.savefig(path, dpi=110, format="png", metadata={"Software": None})
    facts = {"study": STUDY, "seed": given.seed, "case": case.id, "runs": origin}
    facts |= {"data": data.card.title, "licence": data.card.licence, "citation": data.card.citation}
    write_atomic(OUTPUT / "five_slices.json", json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
