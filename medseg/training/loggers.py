"""TensorBoard and Weights & Biases beside the CSV file, for those who have them installed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
from lightning.fabric.loggers import Logger

from medseg.errors import InputError


def make(names: Iterable[str], run_dir: Path | None) -> list[Logger]:
    """The loggers of a run, writing below its folder.

    Raises:
        InputError: the package that a logger needs is not installed.
    """
    return [_make(name, Path(run_dir or ".")) for name in names]


def _make(name: str, run_dir: Path) -> Logger:
    try:
        return MAKERS[name](run_dir)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the logger {name!r} is not installed",
            expected=f"the package {name}",
            got=str(error).splitlines()[0],
            do=f"pip install {name}, or leave the logger out: {run_dir.name}/curve.csv is written anyway",
        ) from error


def _tensorboard(run_dir: Path) -> Logger:
    from lightning.fabric.loggers import TensorBoardLogger

    return TensorBoardLogger(run_dir, name="tensorboard", version="")


def _wandb(run_dir: Path) -> Logger:
    import wandb  # noqa: F401  (the logger itself complains only when it is first used)
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(name=run_dir.name, save_dir=run_dir, project="medseg")


MAKERS: dict[str, Any] = {"tensorboard": _tensorboard, "wandb": _wandb}
