"""medseg predict, evaluate: label maps from a trained network, and their scores."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from medseg.cli.console import console


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


def evaluate(
    predictions: Annotated[Path, typer.Argument(metavar="PRED_DIR", help="Predicted label maps.")],
    references: Annotated[
        Path, typer.Argument(metavar="REF_DIR", help="Reference label maps, same file names.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="CSV, a row a case and label.")
    ],
    tolerance_mm: Annotated[float, typer.Option(min=0, help="Tolerance of the NSD in mm.")] = 1.0,
    spacing: Annotated[
        bool, typer.Option(help="With --no-spacing nothing is given in mm or ml: the files lost it.")
    ] = True,
) -> None:
    """Score label maps: Dice, HD95 in mm, NSD, volumes and counts for every case and label."""
    from medseg.metrics.folders import evaluate_folders, write_scores

    frame = evaluate_folders(predictions, references, tolerance_mm=tolerance_mm, spacing_known=spacing)
    write_scores(frame, output)
    table = Table("label", "cases", "Dice per case", "HD95 mm", "NSD")
    for label, rows in frame.groupby("label"):
        means = [f"{rows[column].mean():.4f}" for column in ("dice", "hd95_mm", "nsd")]
        table.add_row(str(label), str(len(rows)), *means)
    console.print(table)
