"""Checkpoints of a run: the newest k and the best, each whole or not there, each named by its checksum.

`RUN_DIR/checkpoints/step-00000100-3f2a9c0d11e5b7a4.pt`: step, and the first half of the file's sha256.
"""

import hashlib
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from medseg.errors import InputError
from medseg.files import atomic_path, sha256_of
from medseg.training.state import TrainingState

FOLDER = "checkpoints"
NAME = re.compile(r"step-(\d{8})-([0-9a-f]{16})\.pt")
WRITING = "writing.pt"
# Tensors whole, on the CPU, named by parameter: what many processes save, one can load.
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def whole_weights(segmenter: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network on the CPU, its parts put together; empty in all but the first process."""
    return get_model_state_dict(segmenter, options=WHOLE)  # type: ignore[return-value]


def paths(run_dir: Path) -> dict[int, Path]:
    """Step to checkpoint file, newest first."""
    files = sorted((Path(run_dir) / FOLDER).glob("step-*.pt"), reverse=True)
    return {int(match[1]): path for path in files if (match := NAME.fullmatch(path.name))}


def has_any(run_dir: Path) -> bool:
    """Whether a run can be gone on with."""
    return bool(paths(run_dir))


def has_whole(run_dir: Path) -> bool:
    """Whether a checkpoint is there whose bytes are those that were written."""
    return any(_is_whole(path) for path in paths(run_dir).values())


def clear(run_dir: Path) -> None:
    """Remove the checkpoints of an earlier run."""
    shutil.rmtree(Path(run_dir) / FOLDER, ignore_errors=True)


def save(state: TrainingState, run_dir: Path, keep: int = 2) -> Path:
    """Write a checkpoint, then remove all but the newest `keep` and, of each, the one of its best validation.

    Raises:
        OSError: no room on the disk; the checkpoints before this one are left as they were.
    """
    folder = Path(run_dir) / FOLDER
    # What is left over: halves that a killed process wrote, and damaged files that a resumed run went past.
    for old in folder.glob("*.pt"):
        match = NAME.fullmatch(old.name)
        if int(match[1]) >= state.step if match else old.name.endswith(WRITING):
            old.unlink()
    written = folder / WRITING
    with atomic_path(written) as temporary:
        with open(temporary, "wb") as handle:
            hashing = _Hashing(handle)
            try:
                torch.save(vars(state), hashing)  # type: ignore[arg-type]
            except RuntimeError as error:
                # torch's writer wraps what the file said.
                raise hashing.error or error from None
        path = folder / f"step-{state.step:08d}-{hashing.digest.hexdigest()[:16]}.pt"
    os.replace(written, path)
    there = paths(run_dir)
    newest = list(there)[:keep]
    # A run that has to go back to one of these needs the best one as it was then.
    kept = {*newest, *(state.best_until(step) for step in newest)}
    for step, old in there.items():
        if step not in kept:
            old.unlink()
    return path


class _Hashing:
    """A file that is written and hashed in one pass."""

    def __init__(self, handle: BinaryIO):
        self.handle, self.digest = handle, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        """Write and hash."""
        self.digest.update(data)
        try:
            return self.handle.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Hand everything to the system."""
        self.handle.flush()


def load(run_dir: Path, config_digest: str) -> TrainingState:
    """Read the newest whole checkpoint; a damaged one is left out with a warning.

    Raises:
        InputError: no checkpoint, none that is whole, or one of another configuration.
    """
    found = paths(run_dir)
    for path in found.values():
        try:
            state = read(path)
        except ValueError as error:
            warnings.warn(f"checkpoint {path.name} is damaged and left out: {error}", stacklevel=2)
            continue
        if state.config_digest != config_digest:
            raise InputError(
                f"checkpoint {path} belongs to another configuration",
                expected=f"digest {config_digest[:12]}",
                got=f"digest {state.config_digest[:12]}",
                do="resume with the options the run was started with, or start again with --overwrite",
            )
        return state
    raise InputError(
        f"nothing to resume in {run_dir}",
        expected=f"a whole checkpoint in the folder {FOLDER}",
        got=f"{len(found)} damaged files" if found else "none",
        do="start again with --overwrite" if found else "start the run without --resume",
    )


def best_weights(state: TrainingState, run_dir: Path) -> dict[str, Any]:
    """The network of the best validation.

    Raises:
        InputError: its checkpoint is damaged or gone.
    """
    path = paths(run_dir).get(state.best or 0)
    try:
        if path is None:
            raise ValueError("it is not there")
        return read(path).model
    except ValueError as error:
        raise InputError(
            f"the checkpoint of the best step, {state.best}, cannot be read",
            expected=f"a whole checkpoint in {Path(run_dir) / FOLDER}",
            got=str(error),
            do="train again with --overwrite",
        ) from error


def read(path: Path) -> TrainingState:
    """Read one checkpoint.

    Raises:
        ValueError: the bytes are not those that were written, or not a checkpoint.
    """
    if not _is_whole(path):
        raise ValueError("its bytes do not have the checksum in its name")
    try:
        return TrainingState(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises many kinds, some without a message
        raise ValueError((str(error).splitlines() or [type(error).__name__])[0]) from error


def _is_whole(path: Path) -> bool:
    match = NAME.fullmatch(path.name)
    return match is not None and sha256_of(path).startswith(match[2])
