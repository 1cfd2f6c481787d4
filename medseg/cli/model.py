"""medseg model: the named networks and their size."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from medseg.cli.console import Json, console

model_app = typer.Typer(no_args_is_help=True, help="Networks: list them, show their size.")


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
def model_show(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    adapter: Annotated[
        str | None,
        typer.Option(help="How the encoder is tuned: scratch, full, head, lora, med_adapter, ..."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show parameters and FLOPs (one multiply-add = 2), whole and per part, for one window."""
    from medseg.models import config_of
    from medseg.segmenter import measure_size

    config = config_of(name)
    if adapter is not None:
        # From scratch everything trains, too: what differs is where it starts.
        adapter = "full" if adapter == "scratch" else adapter
        config = config.model_copy(update={"tuning": config.tuning.model_copy(update={"method": adapter})})
    size = measure_size(config)
    if as_json:
        print(json.dumps({"name": name, **asdict(size)}, indent=1))
        return
    table = Table("part", "parameters", "FLOPs", title=f"{name}, input B C D H W = {size.input_shape}")
    for part, parameters in size.parameters_per_part.items():
        table.add_row(part, f"{parameters:,}", f"{size.flops_per_part.get(part, 0):,}")
    table.add_row("all", f"{size.parameters:,}", f"{size.flops:,}", end_section=True)
    table.add_row("trainable", f"{size.trainable:,}", "")
    console.print(table)
