"""A compiled run in one go and gone on with, in a process without checked shapes (they cannot be compiled).

`compiled_run.py DATA FOLDER` prints the losses of both and of a run that is not compiled, and whether the
two compiled ones ended with the same bits.
"""

import json
import shutil
import sys
from pathlib import Path

import medseg.compat  # noqa: F401  isort: skip
import torch
from lightning.fabric import Fabric
from training_runs import PAPER_LR, same_bits, weights

from medseg.config import resolve
from medseg.data.cases import load_case
from medseg.decoders.dropout import ChannelDropout
from medseg.segmenter import build
from medseg.studies.run import open_data
from medseg.training import checkpoint, devices
from medseg.training.engine import Engine
from medseg.training.loop import fit
from medseg.training.losses import DiceFocal

MODEL = {"encoder": "test_vit", "taps": (1, 2, 3, 5), "image_px": 32, "slices": 3, "decoder_channels": 8}
TRAIN = {
    "steps": 4,
    "batch": 2,
    "checkpoint_every": 2,
    "warmup_steps": 1,
    "precision": "fp32",
    "lr": PAPER_LR,
}
CONFIG = resolve("smoke", {"model": MODEL | {"classes": 4}, "train": TRAIN})


def gradients(compiled):
    """Gradients of one batch without dropout, which the compiler draws in its own way."""
    segmenter, _ = build(CONFIG.model, seed=1)
    for module in segmenter.modules():
        if isinstance(module, ChannelDropout):
            module.p = 0.0
    fabric = Fabric(accelerator="cpu", devices=1)
    network = devices.prepare(segmenter, Engine(compile=compiled), fabric)
    generator = torch.Generator().manual_seed(3)
    windows = torch.randn(4, 1, 3, 32, 32, generator=generator)
    labels = torch.randint(0, 4, (4, 1, 32, 32), generator=generator)
    fabric.backward(DiceFocal()(network(windows), labels))
    return torch.cat([parameter.grad.flatten() for parameter in segmenter.parameters()])


def main():
    data, folder = open_data(Path(sys.argv[1]), 1234), Path(sys.argv[2])
    cases = [load_case(data.cases[name], data.card) for name in data.split.train[:2]]
    whole, cut = folder / "whole", folder / "cut"

    def keep(progress):
        if progress.step == 3:
            shutil.copytree(whole / checkpoint.FOLDER, cut / checkpoint.FOLDER)

    compiled = Engine(compile=True)
    one_go = fit(CONFIG, cases, whole, on_step=keep, engine=compiled)
    resumed = fit(CONFIG, cases, cut, resume=True, engine=compiled)
    plain = fit(CONFIG, cases, folder / "plain")
    same = same_bits(weights(one_go), weights(resumed))
    eager, compiled = gradients(False), gradients(True)
    away = ((eager - compiled).norm() / eager.norm()).item()
    found = {
        "gradients_away": away,
        "one_go": one_go.losses,
        "resumed": resumed.losses,
        "plain": plain.losses,
        "same_bits": same,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
