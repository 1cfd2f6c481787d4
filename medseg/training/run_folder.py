"""The folder of a run: what it is asked (`run.json`), and the trained network that comes out.

Where a part of the network was tuned, a file of its own holds that part: beside the same base it is enough.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from medseg import tuning
from medseg.config import Frozen, ModelConfig, RunConfig, TrainConfig
from medseg.data.catalog import DatasetCard
from medseg.errors import InputError
from medseg.files import write_atomic
from medseg.runtime import device_kind
from medseg.segmenter import Segmenter, unfilled
from medseg.training import checkpoint
from medseg.training.curve import CURVE_FILE, Curve, write_curve
from medseg.training.loggers import MAKERS
from medseg.training.progress import PROGRESS_FILE
from medseg.training.schedules import slanted_triangle
from medseg.training.state import TrainingState

RUN_FILE = "run.json"
MODEL_FILE = "model.safetensors"
TUNED_FILE = "tuned.safetensors"
RECORD_FILE = "record.json"
HELD = (RUN_FILE, checkpoint.FOLDER, CURVE_FILE, PROGRESS_FILE, MODEL_FILE, TUNED_FILE, RECORD_FILE, *MAKERS)


class Run(Frozen):
    """What a run folder was made for."""

    config: RunConfig
    card: DatasetCard


def prepare(run_dir: Path, run: Run, resume: bool, overwrite: bool) -> None:
    """Make the folder of a new run, or accept the one to go on with.

    Raises:
        InputError: the folder holds a run and neither resume nor overwrite was asked, or there is
            nothing to resume, or the run in it is another one.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise InputError(f"{run_dir} is a file", expected="a folder", got="a file", do="choose another name")
    held = [name for name in HELD if (run_dir / name).exists()]
    if resume:
        former = read(run_dir)
        if changes := list(_changes(former.model_dump(mode="json"), run.model_dump(mode="json"))):
            raise InputError(
                f"the run in {run_dir} was started with other options or on other data",
                expected="those of its run.json",
                got="; ".join(changes[:4]) + (f"; {len(changes) - 4} more" if len(changes) > 4 else ""),
                do="repeat the call of the first start, or use --overwrite",
            )
        return
    if held and not overwrite:
        raise InputError(
            f"{run_dir} already holds a run",
            expected="an empty or new folder",
            got=", ".join(held),
            do="add --resume to go on with it, --overwrite to replace it, or choose another folder",
        )
    for name in held:
        path = run_dir / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_atomic(run_dir / RUN_FILE, run.model_dump_json(indent=1) + "\n")


def _changes(former: Any, now: Any, at: str = "") -> Iterator[str]:
    """Where two configurations differ: the name of the field, what it was and what it is."""
    if not (isinstance(former, dict) and isinstance(now, dict)):
        if former != now:
            yield f"{at}: {former} in run.json, {now} now"
        return
    for name in former | now:
        yield from _changes(former.get(name), now.get(name), f"{at}.{name}" if at else str(name))


def read(run_dir: Path) -> Run:
    """The `run.json` of a run folder.

    Raises:
        InputError: no run there, or a damaged file.
    """
    path = Path(run_dir) / RUN_FILE
    try:
        return Run.model_validate(json.loads(path.read_text()))
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(
            f"{run_dir} holds no run",
            expected=f"a folder made by medseg train, with {RUN_FILE}",
            got=str(error).splitlines()[0],
            do="train first: medseg train DATA_DIR -o RUN_DIR",
        ) from error


@contextmanager
def writing(what: str, run_dir: Path) -> Iterator[None]:
    """Say what to do where the disk has no room for what the block writes.

    Raises:
        InputError: the disk is full; the checkpoints are whole.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{what} cannot be written to {run_dir}",
            expected="a folder with room for it",
            got=os.strerror(error.errno) if error.errno else str(error),
            do="free some space and go on with --resume; the checkpoints before this are whole",
        ) from error


def save_state(state: TrainingState, train: TrainConfig, run_dir: Path, keep: int) -> None:
    """Write checkpoint and curve.

    Raises:
        InputError: the disk is full; the checkpoints before this one are whole.
    """
    rates = [train.lr * slanted_triangle(s, train.warmup_steps, train.steps) for s in range(state.step)]
    with writing(f"checkpoint of step {state.step}", run_dir):
        # The curve first: after the last checkpoint a resumed run has no step left to write it.
        write_curve(Curve(state.losses, rates, state.validations), run_dir)
        checkpoint.save(state, run_dir, keep)


def save_model(state: dict[str, Tensor], run_dir: Path) -> None:
    """Write the trained weights, a whole state dict, as safetensors."""
    state = {key: value.detach().contiguous().cpu() for key, value in state.items()}
    write_atomic(Path(run_dir) / MODEL_FILE, save(state))


def save_tuned(state: dict[str, Tensor], model: ModelConfig, run_dir: Path) -> int | None:
    """Write what of a whole state dict was tuned, see medseg.tuning; its bytes, None where all was."""
    if model.tuning.method == "full":
        return None
    # The network that trains may lie in parts on several devices; this one is a view of what was gathered.
    with torch.device("meta"):
        segmenter = unfilled(model)
    segmenter.load_state_dict(state, assign=True)
    path = Path(run_dir) / TUNED_FILE
    tuning.save_tuned(segmenter, path)
    return path.stat().st_size


def load_model(run_dir: Path) -> tuple[Segmenter, Run]:
    """The trained network of a run folder, in evaluation mode.

    Raises:
        InputError: no run, an unfinished one, or weights that do not fit its configuration.
    """
    run = read(run_dir)
    path = Path(run_dir) / MODEL_FILE
    segmenter = unfilled(run.config.model)
    try:
        segmenter.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(
            f"the trained network of {run_dir} cannot be read",
            expected=f"{MODEL_FILE} of a finished run",
            got=str(error).splitlines()[0],
            do="finish the run with --resume",
        ) from error
    return segmenter.to(device_kind()).eval(), run
