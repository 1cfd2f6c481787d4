"""The learning curve of any run folder: loss of every step, smoothed, and the validation Dice."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from medseg.errors import InputError
from medseg.files import atomic_path
from medseg.training.curve import read_curve

FORMATS = (".png", ".svg", ".pdf")
# Share of the run that one point of the bold line averages.
WINDOW = 0.02


def learning_curves(run_dirs: Sequence[Path]) -> Figure:
    """Loss (thin: each step; bold: its moving mean) and, where it was measured, validation Dice.

    Args:
        run_dirs: folders of runs, finished or not; named by their last part, in full where two share it.

    Raises:
        InputError: a folder without a curve.
    """
    names = [Path(run_dir).resolve().name for run_dir in run_dirs]
    if len(set(names)) < len(names):
        names = [str(run_dir) for run_dir in run_dirs]
    curves = {name: read_curve(run_dir) for name, run_dir in zip(names, run_dirs, strict=True)}
    scored = any(curve.validations for curve in curves.values())
    figure, panels = plt.subplots(1, 1 + scored, figsize=(7, 3), layout="constrained", squeeze=False)
    loss, dice = panels[0, 0], panels[0, -1]
    for number, (name, curve) in enumerate(curves.items()):
        color, losses = f"C{number}", np.array(curve.losses)
        steps = np.arange(1, len(losses) + 1)
        width = max(1, round(WINDOW * len(losses)))
        loss.plot(steps, losses, color=color, alpha=0.3, lw=0.7)
        means = np.convolve(losses, np.full(width, 1 / width), "valid")
        loss.plot(steps[width - 1 :], means, color=color, label=name)
        if curve.validations:
            dice.plot(*zip(*curve.validations, strict=True), "o-", ms=3, color=color, label=name)
    loss.set_ylabel("Dice + focal loss")
    loss.set_xlabel("training step")
    if scored:
        dice.set_ylabel("validation Dice, mean over cases")
        dice.set_xlabel("training step")
    loss.legend(fontsize=8)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all.

    Raises:
        InputError: not a format of a picture.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise InputError(
            f"{path} cannot be written",
            expected=f"a file name that ends with {', '.join(FORMATS)}",
            got=path.suffix or "no ending",
            do="change the ending",
        )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)
