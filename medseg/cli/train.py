"""medseg train, curve: one run on a folder of labelled cases, and what its loss did."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medseg.cli.console import (
    DevicesOption,
    NodesOption,
    ProfileOption,
    StrategyOption,
    console,
    print_record,
    training_bar,
)
from medseg.errors import InputError

LEARNING, MACHINE = "Training", "Machine"


def train(
    data_dir: Annotated[Path, typer.Argument(metavar="DATA_DIR", help="Folder in an official layout.")],
    run_dir: Annotated[Path, typer.Option("-o", "--output", metavar="RUN_DIR", help="Folder of the run.")],
    profile: ProfileOption = "colab",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in RUN_DIR.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in RUN_DIR.")] = False,
    seed: Annotated[int, typer.Option(help="Run seed.", rich_help_panel=LEARNING)] = 1234,
    fold: Annotated[
        int | None, typer.Option(min=0, max=4, help="Of five folds, test on this.", rich_help_panel=LEARNING)
    ] = None,
    slices: Annotated[
        int | None, typer.Option(min=1, help="Depth of the window.", rich_help_panel=LEARNING)
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Named weights, or `none` for a run from scratch.", rich_help_panel=LEARNING),
    ] = None,
    inflation: Annotated[
        Literal["center", "average", "linear", "variance", "rgb", "random"] | None,
        typer.Option(help="Inflation rule.", rich_help_panel=LEARNING),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps in all.", rich_help_panel=LEARNING)] = None,
    precision: Annotated[
        Literal["auto", "bf16", "fp16", "fp32"],
        typer.Option(help="Number format.", rich_help_panel=LEARNING),
    ] = "auto",
    accumulate: Annotated[
        int | None,
        typer.Option(min=1, help="Forward passes a batch is cut into.", rich_help_panel=LEARNING),
    ] = None,
    validate_every: Annotated[
        int | None,
        typer.Option(min=1, help="Score the validation cases every so many steps.", rich_help_panel=LEARNING),
    ] = None,
    selection: Annotated[
        Literal["last", "best"],
        typer.Option(help="Weights to score: last, or best validation.", rich_help_panel=LEARNING),
    ] = "last",
    devices: DevicesOption = 1,
    nodes: NodesOption = 1,
    strategy: StrategyOption = "ddp",
    compile: Annotated[
        bool, typer.Option("--compile", help="torch.compile: pays in long runs.", rich_help_panel=MACHINE)
    ] = False,
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute", help="Gradient checkpointing: less memory, more time.", rich_help_panel=MACHINE
        ),
    ] = False,
    tf32: Annotated[
        bool, typer.Option(help="TF32 for float32 products on a GPU.", rich_help_panel=MACHINE)
    ] = True,
    cache_gb: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Bound on the volumes in memory; the rest is mapped.", rich_help_panel=MACHINE
        ),
    ] = None,
    keep: Annotated[
        int, typer.Option(min=1, help="Newest checkpoints to keep.", rich_help_panel=MACHINE)
    ] = 2,
    logger: Annotated[
        list[str] | None,
        typer.Option(help="tensorboard or wandb, beside curve.csv; repeatable.", rich_help_panel=MACHINE),
    ] = None,
) -> None:
    """Train on a folder, score its validation and test part once, write checkpoints, network and record."""
    if resume and overwrite:
        raise InputError(
            "two options exclude each other", expected="--resume or --overwrite", got="both", do="drop one"
        )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > devices * nodes:
        raise InputError(
            "more processes were started than the run has",
            expected=f"{devices * nodes} from --devices and --nodes",
            got=f"{started} from torchrun or Slurm",
            do="give --devices the number of processes on a machine, --nodes that of machines",
        )
    from medseg.config import resolve
    from medseg.studies.run import open_data, run_one
    from medseg.training.engine import engine_of

    asked: dict[str, Any] = {"slices": slices, "inflation": inflation}
    model = {key: value for key, value in asked.items() if value is not None}
    if weights is not None:
        model["weights"] = None if weights == "none" else weights
    wanted: dict[str, Any] = {"steps": steps, "accumulate": accumulate, "validate_every": validate_every}
    learning = {key: value for key, value in wanted.items() if value is not None}
    learning |= {"seed": seed, "precision": precision, "selection": selection}
    config = resolve(profile, {"data": {"fold": fold}, "model": model, "train": learning})
    engine = engine_of(
        devices=devices,
        nodes=nodes,
        strategy=strategy,
        compile=compile,
        recompute=recompute,
        tf32=tf32,
        cache_gb=cache_gb,
        keep=keep,
        loggers=tuple(logger or ()),
    )
    data = open_data(data_dir, config.data.split_seed)
    with training_bar("training") as on_step:
        record = run_one(
            config,
            data,
            run_dir,
            resume=resume,
            overwrite=overwrite,
            on_step=on_step,
            on_start=console.print,
            engine=engine,
        )
    print_record(record, run_dir)


def curve(
    run_dirs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="Folders of runs.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Picture: .png, .svg or .pdf.")
    ] = Path("curve.png"),
) -> None:
    """Draw loss and validation Dice of runs, finished or not."""
    from medseg.reports.curves import learning_curves, save_figure

    save_figure(learning_curves(run_dirs), output)
    console.print(str(output))
