"""medseg data: phantoms, downloads."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli.console import console

data_app = typer.Typer(no_args_is_help=True, help="Data sets: make phantoms, download.")


@data_app.command("phantom", epilog="Example: medseg data phantom Phantom --cases 12 --seed 1")
def data_phantom(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder, in the Decathlon layout.")],
    cases: Annotated[int, typer.Option(min=3, help="Number of labelled cases.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same phantoms.")] = 1,
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
