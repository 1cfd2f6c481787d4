"""medseg predict, evaluate: label maps from a trained network, and their scores."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from medseg.cli.console import console


def predict(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a finished run.")],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="NIfTI, MHA, NRRD, DICOM folders, or patients' folders of BraTS and KiTS19.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT_DIR", help="Folder of the label maps.")
    ],
) -> None:
    """Predict label maps: same file names as the images, in native space."""
    from medseg.inference.export import predict_files

    for path in predict_files(run_dir, images, output):
        console.print(str(path))


def evaluate(
    predictions: Annotated[Path, typer.Argument(metavar="PRED_DIR", help="Predicted label maps.")],
    references: Annotated[
        Path, typer.Argument(metavar="REF_DIR", help="Reference label maps, same file names.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="CSV, a row a case and label.")
    ],
    dataset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Data set whose regions are scored, BraTS2020 for example."),
    ] = None,
    tolerance_mm: Annotated[
        float | None, typer.Option(min=0, help="Tolerance of the NSD in mm; default: the data set's, or 1.")
    ] = None,
    spacing: Annotated[
        bool, typer.Option(help="With --no-spacing nothing is given in mm or ml: the files lost it.")
    ] = True,
    least_enhancing: Annotated[
        int, typer.Option(min=0, help="BraTS: enhancing tumours predicted with fewer voxels count as core.")
    ] = 0,
    server_2020: Annotated[
        bool, typer.Option("--server-2020", help="BraTS: a value for every region, as the server of 2020.")
    ] = False,
) -> None:
    """Score label maps: Dice, HD95 in mm, NSD, volumes and counts for every case and label."""
    from medseg.data.catalog import card_of
    from medseg.metrics.folders import evaluate_folders, write_scores

    card = None if dataset is None else card_of(dataset)
    if card is not None and tolerance_mm is not None:
        card = card.model_copy(update={"nsd_tolerance_mm": tolerance_mm})
    frame = evaluate_folders(
        predictions,
        references,
        tolerance_mm=1.0 if tolerance_mm is None else tolerance_mm,
        spacing_known=spacing,
        card=card,
        least_enhancing_voxels=least_enhancing,
        server_2020=server_2020,
    )
    write_scores(frame, output)
    names = {} if card is None else card.structures
    table = Table("label", "cases", "Dice per case", "HD95 mm", "NSD")
    for label, rows in frame.groupby("label"):
        means = [f"{rows[column].mean():.4f}" for column in ("dice", "hd95_mm", "nsd")]
        table.add_row(names.get(int(str(label)), str(label)), str(len(rows)), *means)
    console.print(table)
