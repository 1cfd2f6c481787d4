"""One checkpoint file per run, replaced atomically: the old one survives a full disk or a kill."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medseg.errors import InputError
from medseg.files import atomic_path

CHECKPOINT = "checkpoint.pt"


@dataclass
class TrainingState:
    """What a resumed run needs. Random draws are functions of seed and step, so no generator is kept."""

    step: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    losses: list[float]
    train_s: float
    config_digest: str


def save(state: TrainingState, run_dir: Path) -> None:
    """Write the checkpoint of a run; OSError (disk full) leaves the previous one in place."""
    with atomic_path(Path(run_dir) / CHECKPOINT) as temporary:
        torch.save(vars(state), temporary)


def load(run_dir: Path, config_digest: str) -> TrainingState:
    """Read the checkpoint of a run.

    Raises:
        InputError: no checkpoint, a damaged one, or one of another configuration.
    """
    path = Path(run_dir) / CHECKPOINT
    if not path.is_file():
        raise InputError(
            f"nothing to resume in {run_dir}",
            expected=f"a file {CHECKPOINT}",
            got="no such file",
            do="start the run without --resume",
        )
    try:
        state = TrainingState(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises many kinds for a damaged file, some without a message
        raise InputError(
            f"checkpoint {path} cannot be read",
            expected="a checkpoint of medseg",
            got=(str(error).splitlines() or [type(error).__name__])[0],
            do="start again with --overwrite",
        ) from error
    if state.config_digest != config_digest:
        raise InputError(
            f"checkpoint {path} belongs to another configuration",
            expected=f"digest {config_digest[:12]}",
            got=f"digest {state.config_digest[:12]}",
            do="resume with the options the run was started with, or start again with --overwrite",
        )
    return state
