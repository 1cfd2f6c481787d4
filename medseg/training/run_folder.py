"""The folder of a run: what it is asked (`run.json`), and the trained network that comes out."""

import json
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from medseg.config import Frozen, RunConfig
from medseg.data.catalog import DatasetCard
from medseg.errors import InputError
from medseg.files import write_atomic
from medseg.segmenter import NETWORKS, Segmenter
from medseg.training.checkpoint import CHECKPOINT
from medseg.training.loop import CURVE_FILE

RUN_FILE = "run.json"
MODEL_FILE = "model.safetensors"
RECORD_FILE = "record.json"
FILES = (RUN_FILE, CHECKPOINT, CURVE_FILE, MODEL_FILE, RECORD_FILE)


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
    held = [name for name in FILES if (run_dir / name).exists()]
    if resume:
        if read(run_dir) != run:
            raise InputError(
                f"the run in {run_dir} was started with other options",
                expected="the options of its run.json",
                got="a different configuration",
                do="repeat the call with the options of the first start, or use --overwrite",
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
        (run_dir / name).unlink()
    write_atomic(run_dir / RUN_FILE, run.model_dump_json(indent=1) + "\n")


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


def save_model(segmenter: Segmenter, run_dir: Path) -> None:
    """Write the trained weights as safetensors."""
    state = {key: value.contiguous().cpu() for key, value in segmenter.state_dict().items()}
    write_atomic(Path(run_dir) / MODEL_FILE, save(state))


def load_model(run_dir: Path) -> tuple[Segmenter, Run]:
    """The trained network of a run folder, in evaluation mode.

    Raises:
        InputError: no run, an unfinished one, or weights that do not fit its configuration.
    """
    run = read(run_dir)
    path = Path(run_dir) / MODEL_FILE
    segmenter = NETWORKS[run.config.model.network](run.config.model)
    try:
        segmenter.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(
            f"the trained network of {run_dir} cannot be read",
            expected=f"{MODEL_FILE} of a finished run",
            got=str(error).splitlines()[0],
            do="finish the run with --resume",
        ) from error
    return segmenter.eval(), run
