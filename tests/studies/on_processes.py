"""A run on the processes that an engine asks for (`on_processes.py JSON`), as a script that Fabric can start.

Keys: config, engine, data, run_dir; start: weights to start from, or null; resume; stop_at: the step after
which SIGTERM arrives in the first process; validate: no training, the validation Dice of the trained network
in run_dir goes to this file.
"""

import json
import os
import signal
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

from safetensors.torch import load_file

from medseg.config import RunConfig
from medseg.data.cases import load_case
from medseg.errors import Interrupted
from medseg.segmenter import build
from medseg.studies.run import open_data, run_one
from medseg.training import devices, loop, precision
from medseg.training.engine import Engine, settled
from medseg.training.run_folder import load_model
from medseg.training.validation import validate


@contextmanager
def starting_from(path):
    """Let every training start from a network that has learned something: its Dice is a number to compare."""

    def filled(*arguments):
        segmenter, report = build(*arguments)
        segmenter.load_state_dict(load_file(path))
        return segmenter, report

    with mock.patch.object(loop, "build", filled):
        yield


def stopping_after(step):
    def at_step(progress):
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return at_step


def trained(asked, data, engine):
    config, run_dir = RunConfig.model_validate(asked["config"]), Path(asked["run_dir"])
    options = {"resume": asked.get("resume", False), "on_step": stopping_after(asked.get("stop_at"))}
    try:
        with starting_from(asked["start"]) if asked["start"] else nullcontext():
            run_one(config, data, run_dir, engine=engine, **options)
    except Interrupted:
        sys.exit(75 if int(os.environ.get("LOCAL_RANK", 0)) == 0 else 0)


def validated(asked, data, engine):
    segmenter, run = load_model(asked["run_dir"])
    chosen = precision.plan(run.config.train.precision, segmenter)
    engine = settled(engine, chosen)
    fabric = devices.launch(engine, chosen)
    cases = [load_case(data.cases[name], data.card) for name in data.split.validation]
    dice = validate(segmenter, cases, run.config.model, chosen, fabric, engine)
    Path(f"{asked['validate']}.{fabric.global_rank}").write_text(repr(dice))


def main():
    asked = json.loads(sys.argv[1])
    call = validated if "validate" in asked else trained
    call(asked, open_data(Path(asked["data"]), split_seed=1234), Engine.model_validate(asked["engine"]))


if __name__ == "__main__":
    main()
