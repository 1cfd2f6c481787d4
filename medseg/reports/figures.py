"""Figures for pages, drawn from records and volumes alone."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from medseg.records.schema import Record
from medseg.studies.patients import unit_of
from medseg.studies.schedule import answering
from medseg.studies.status import dice_by_patient
from medseg.studies.study import Study


def dice_figure(study: Study, records: Sequence[Record], profile: str) -> Figure:
    """Dice of every patient (dots) and the paper's number (line) for each cell."""
    kept = answering(study, records, profile)
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    jitter = np.random.default_rng(0)
    for position, cell in enumerate(study.cells):
        runs = [r for r in kept if r.identity.cell == cell.cell and r.outcome.status == "done"]
        if runs:
            dice = 100 * np.array(list(dice_by_patient(runs).values()))
            axes.plot(dice, position + jitter.uniform(-0.2, 0.2, len(dice)), ".", color="tab:blue", alpha=0.6)
            axes.plot([dice.mean()] * 2, [position - 0.35, position + 0.35], color="black", lw=2)
        if cell.paper_dice is not None:
            axes.plot([cell.paper_dice] * 2, [position - 0.35, position + 0.35], color="tab:orange", lw=2)
    axes.plot([], [], ".", color="tab:blue", label=f"one {unit_of(study.dataset)} (mean of labels and seeds)")
    axes.plot([], [], color="black", lw=2, label=f"mean over {unit_of(study.dataset)}s")
    if any(cell.paper_dice is not None for cell in study.cells):
        axes.plot([], [], color="tab:orange", lw=2, label="paper (pooled Dice, other cases)")
    axes.set_yticks(range(len(study.cells)), [cell.title for cell in study.cells])
    axes.invert_yaxis()
    axes.set_xlabel("Dice in percent")
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)
    return figure


def curve_figure(study: Study, records: Sequence[Record], profile: str) -> Figure:
    """Training loss of every cell, first seed."""
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    kept = answering(study, records, profile)
    for cell in study.cells:
        runs = [r for r in kept if r.identity.cell == cell.cell]
        if runs:
            steps, losses = zip(*runs[0].curve, strict=True)
            axes.plot(steps, losses, label=cell.title)
    axes.set_xlabel("training step")
    axes.set_ylabel("Dice + focal loss")
    if axes.lines:
        axes.legend(fontsize=8)
    return figure


def slices_figure(
    image_dhw: np.ndarray, slices: Sequence[int], titles: Sequence[str] | None = None
) -> Figure:
    """Slices of a volume (D, H, W) side by side, anterior up, right of the patient on the right."""
    figure, axes = plt.subplots(1, len(slices), figsize=(1.7 * len(slices), 2.2), layout="constrained")
    for position, (axis, number) in enumerate(zip(np.atleast_1d(axes), slices, strict=True)):
        axis.imshow(
            image_dhw[number], cmap="gray", origin="lower", vmin=image_dhw.min(), vmax=image_dhw.max()
        )
        axis.set_title(titles[position] if titles else f"slice {number}", fontsize=9)
        axis.axis("off")
    return figure
