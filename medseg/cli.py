"""The command line: medseg data | train | predict | evaluate | model | study | book."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from medseg.errors import InputError

if TYPE_CHECKING:
    from medseg.records.schema import Record
    from medseg.training.loop import Progress

Profile = Literal["smoke", "colab", "full"]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ProfileOption = Annotated[
    Profile, typer.Option(help="smoke: phantoms, a minute; colab: one T4; full: the paper's recipe.")
]

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, rich_markup_mode="markdown")
data_app = typer.Typer(no_args_is_help=True, help="Data sets: make phantoms, download.")
model_app = typer.Typer(no_args_is_help=True, help="Networks: list them, show their size.")
study_app = typer.Typer(
    no_args_is_help=True, help="Studies: what is asked, what was found, run what is missing."
)
book_app = typer.Typer(no_args_is_help=True, help="The book: execute its pages and build it.")
for name, group in (("data", data_app), ("model", model_app), ("study", study_app), ("book", book_app)):
    app.add_typer(group, name=name)

console = Console()


@data_app.command("phantom", epilog="Example: medseg data phantom Phantom --cases 12 --seed 1")
def data_phantom(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder, in the Decathlon layout.")],
    cases: Annotated[int, typer.Option(min=3, help="Number of labelled cases.")] = 12,
    seed: Annotated[int, typer.Option(help="Same seed, same phantoms.")] = 1,
    modality: Annotated[Literal["mri", "ct"], typer.Option(help="Kind of intensities.")] = "mri",
) -> None:
    """Write seeded phantoms: multi-organ volumes, anisotropic, oblique."""
    from medseg.data.phantoms import write_phantoms

    write_phantoms(folder, cases, seed, modality)
    console.print(f"{cases} phantoms in {folder}")


@data_app.command("download", epilog="Example: medseg data download Task04_Hippocampus data")
def data_download(
    dataset: Annotated[str, typer.Argument(metavar="NAME", help="Name of a data set with a card.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Parent of the data set's folder.")],
) -> None:
    """Download a data set through MONAI, checked by its md5."""
    from medseg.data.download import download

    console.print(f"data set in {download(dataset, folder, progress=True)}")


@app.command(epilog="Example: medseg train Phantom -o runs/first --profile smoke")
def train(
    data_dir: Annotated[Path, typer.Argument(metavar="DATA_DIR", help="Folder in the Decathlon layout.")],
    run_dir: Annotated[Path, typer.Option("-o", "--output", metavar="RUN_DIR", help="Folder of the run.")],
    profile: ProfileOption = "colab",
    seed: Annotated[int, typer.Option(help="Run seed.")] = 1234,
    slices: Annotated[int | None, typer.Option(min=1, help="Depth of the window.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Named weights, or `none` for a run from scratch.")
    ] = None,
    inflation: Annotated[
        Literal["center", "average", "random"] | None, typer.Option(help="Inflation rule.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps.")] = None,
    precision: Annotated[
        Literal["auto", "bf16", "fp16", "fp32"], typer.Option(help="Number format.")
    ] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in RUN_DIR.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in RUN_DIR.")] = False,
) -> None:
    """Train on a folder, score its validation and test part once, write checkpoint, network and record."""
    if resume and overwrite:
        raise InputError(
            "two options exclude each other", expected="--resume or --overwrite", got="both", do="drop one"
        )
    from medseg.config import resolve
    from medseg.studies.run import open_data, run_one

    asked: dict[str, Any] = {"slices": slices, "inflation": inflation}
    model = {key: value for key, value in asked.items() if value is not None}
    if weights is not None:
        model["weights"] = None if weights == "none" else weights
    training: dict[str, Any] = {"seed": seed, "precision": precision} | ({"steps": steps} if steps else {})
    config = resolve(profile, {"model": model, "train": training})
    data = open_data(data_dir, config.data.split_seed)
    with _progress("training") as on_step:
        record = run_one(config, data, run_dir, resume=resume, overwrite=overwrite, on_step=on_step)
    _print_record(record, run_dir)


@app.command(epilog="Example: medseg predict runs/first Phantom/imagesTr/phantom_000.nii.gz -o predictions")
def predict(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a finished run.")],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="NIfTI, MHA, NRRD or DICOM folders.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT_DIR", help="Folder of the label maps.")
    ],
) -> None:
    """Predict label maps: same file names as the images, in native space."""
    from medseg.inference.export import predict_files

    for path in predict_files(run_dir, images, output):
        console.print(str(path))


@app.command(epilog="Example: medseg evaluate predictions Phantom/labelsTr -o metrics.csv")
def evaluate(
    predictions: Annotated[Path, typer.Argument(metavar="PRED_DIR", help="Predicted label maps.")],
    references: Annotated[
        Path, typer.Argument(metavar="REF_DIR", help="Reference label maps, same file names.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="CSV, a row a case and label.")
    ],
    tolerance_mm: Annotated[float, typer.Option(min=0, help="Tolerance of the NSD in mm.")] = 1.0,
) -> None:
    """Score label maps: Dice, HD95 in mm, NSD, volumes and counts for every case and label."""
    from medseg.metrics.folders import evaluate_folders, write_scores

    frame = evaluate_folders(predictions, references, tolerance_mm=tolerance_mm)
    write_scores(frame, output)
    table = Table("label", "cases", "Dice per case", "HD95 mm", "NSD")
    for label, rows in frame.groupby("label"):
        means = [f"{rows[column].mean():.4f}" for column in ("dice", "hd95_mm", "nsd")]
        table.add_row(str(label), str(len(rows)), *means)
    console.print(table)


@model_app.command("list", epilog="Example: medseg model list")
def model_list() -> None:
    """List the named networks."""
    from medseg.models import MODELS

    table = Table("name", "encoder", "slices", "classes")
    for name, config in MODELS.items():
        encoder = config.encoder if config.network != "unet3d" else "-"
        table.add_row(name, encoder, str(config.slices), str(config.classes))
    console.print(table)


@model_app.command("show", epilog="Example: medseg model show transseg-vit-tiny-5 --json")
def model_show(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: Json = False) -> None:
    """Show parameters and FLOPs (one multiply-add = 2), whole and per part, for one window."""
    from medseg.models import config_of
    from medseg.segmenter import measure_size

    size = measure_size(config_of(name))
    if as_json:
        print(json.dumps({"name": name, **asdict(size)}, indent=1))
        return
    table = Table("part", "parameters", "FLOPs", title=f"{name}, input B C D H W = {size.input_shape}")
    for part, parameters in size.parameters_per_part.items():
        table.add_row(part, f"{parameters:,}", f"{size.flops_per_part[part]:,}")
    table.add_row("all", f"{size.parameters:,}", f"{size.flops:,}", end_section=True)
    table.add_row("trainable", f"{size.trainable:,}", "")
    console.print(table)


@study_app.command("list", epilog="Example: medseg study list")
def study_list() -> None:
    """List the studies."""
    from medseg.studies import study

    table = Table("name", "title", "cells", "seeds", "data")
    for name in study.names():
        found = study.load(name)
        table.add_row(name, found.title, str(len(found.cells)), str(len(found.seeds)), found.dataset)
    console.print(table)


@study_app.command("status", epilog="Example: medseg study status transseg_main --json")
def study_status(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    profile: ProfileOption = "colab",
    as_json: Json = False,
) -> None:
    """Show every cell: the paper's number, status, seeds, what was measured."""
    from medseg.records import store
    from medseg.reports.tables import cut
    from medseg.studies import status, study

    found = study.load(name)
    records = store.read_study(study.project_root() / "results", name)
    states = status.states(found, records, profile)
    if as_json:
        cells = [state.model_dump(mode="json") for state in states]
        print(json.dumps({"study": name, "profile": profile, "cells": cells}, indent=1))
        return
    table = Table(Column("cell", no_wrap=True), "paper", "status", "seeds", "Dice", "95 % interval", "pooled")
    table.title = f"{found.title}, profile {profile}: Dice in percent, per case and pooled"
    for state in states:
        seeds = f"{len(state.seeds_done)}/{len(state.seeds_wanted)}"
        row = [state.cell, cut(state.paper_dice), state.status, seeds]
        if m := state.measured:
            low, high = (cut(100 * end) if end is not None else "" for end in (m.dice_low, m.dice_high))
            row += [cut(100 * m.dice), f"{low} to {high}", cut(100 * m.dice_pooled)]
        table.add_row(*row)
    console.print(table)


@study_app.command("run", epilog="Example: medseg study run transseg_main --profile colab --seeds 1")
def study_run(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    profile: ProfileOption = "colab",
    data_dir: Annotated[
        Path | None, typer.Option(help="The data set; default: found through MEDSEG_DATA.")
    ] = None,
    cells: Annotated[
        list[str] | None, typer.Option("--cell", help="Only this cell; may be repeated.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Only the first so many seeds.")] = None,
    runs: Annotated[Path, typer.Option(help="Parent of the run folders.")] = Path("runs"),
) -> None:
    """Run the cells that have no record yet; smoke runs use phantoms and stay out of results/."""
    from medseg.records import store
    from medseg.studies import schedule, study
    from medseg.studies.demonstration import smoke_data
    from medseg.studies.run import open_data

    found = study.load(name)
    found.choose(cells)
    if profile == "smoke":
        data, results = smoke_data(runs), runs / "smoke_results"
    else:
        from medseg.data.download import find_dataset

        data = open_data(data_dir or find_dataset(found.dataset), split_seed=1234)
        results = study.project_root() / "results"
    tasks = schedule.missing(found, store.read_study(results, name), profile, cells, seeds)
    for number, task in enumerate(tasks, start=1):
        title = f"{number} of {len(tasks)}: {task.cell.cell}, seed {task.seed}"
        with _progress(title) as on_step:
            record = schedule.run_task(found, task, profile, data, runs, results, on_step)
        _print_record(record, results / name)
    if not tasks:
        console.print("nothing is missing")


@book_app.command("build", epilog="Example: medseg book build --profile smoke")
def book_build(
    profile: ProfileOption = "smoke",
    pages: Annotated[
        list[str] | None, typer.Option("--page", help="Execute only this page; may be repeated.")
    ] = None,
) -> None:
    """Execute the pages through papermill and build the book at _build/html/index.html."""
    from medseg.book.build import build_book
    from medseg.studies.study import project_root

    console.print(f"the book is at {build_book(project_root(), profile, pages, log=console.print)}")


def _print_record(record: "Record", folder: Path) -> None:
    from medseg.metrics.summary import summarise

    kind = " (smoke: a demonstration, not a result)" if record.config.profile == "smoke" else ""
    for part in ("validation", "test"):
        found = summarise(record.scores(part))  # type: ignore[arg-type]
        dice = "undefined" if found.mean_dice is None else f"{found.mean_dice:.4f}"
        console.print(f"{part}: mean Dice per case {dice} over {found.n_cases} cases{kind}")
    console.print(f"{record.identity.cell}, run {record.identity.run_id}: in {folder}")


class _progress:
    """A rich progress bar that is called with the loop's Progress."""

    def __init__(self, title: str):
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(title), BarColumn(), TextColumn("{task.fields[what]}"), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console)

    def __enter__(self) -> Callable[["Progress"], None]:
        self.bar.start()
        task = self.bar.add_task("", what="")

        def on_step(p: "Progress") -> None:
            what = f"step {p.step}/{p.steps}  loss {p.loss:.4f}  {p.samples_per_s:.1f} samples/s"
            self.bar.update(task, completed=p.step, total=p.steps, what=what)

        return on_step

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()


def main() -> None:
    """Run the command line: exit code 2 for bad input, 1 for a page or a run that failed."""
    errors = Console(stderr=True)
    try:
        app()
    except InputError as error:
        errors.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except (RuntimeError, FloatingPointError) as error:
        errors.print(f"failed: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
