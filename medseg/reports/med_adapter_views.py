"""Med-Adapter for pages: printed counts beside ours, what a branch sees, all ablations at once.

The tables are 3 to 6 of Med-Tuning (Wang et al. 2023, section 4.3).
"""

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from medseg.adapters.med_adapter import MedAdapter
from medseg.encoders.sites import TokenVolume
from medseg.models import config_of
from medseg.reports.ablations import REFERENCE, Found, ablation_table
from medseg.reports.papers import paper_table
from medseg.reports.tables import NOT_RUN
from medseg.segmenter import count_parameters, unfilled
from medseg.studies.study import Study

PRINTED = "medtuning_t3_to_t8_ablations_brats19_5fold"
# Table of the study to the cell that its rows are compared with. Cubes have alpha 6, and so has that of 4.
CHOSEN = {"3": "intra", "4": "med_adapter", "5": "alpha_4", "6": "med_adapter"}
COLOURS = ("tab:blue", "tab:green", "tab:purple")


def size_table(study: Study) -> pd.DataFrame:
    """Millions of parameters of the paper's Swin-Unet with the options of each printed row: ours beside it.

    Args:
        study: medtuning_methods, or one with its cells; of its tables 3 to 6 the rows with a printed Dice
            stand in the paper's order.
    """
    base = config_of("medtuning-swin-unet")
    head = base.model_copy(update={"tuning": base.tuning.model_copy(update={"method": "head"})})
    with torch.device("meta"):
        segmenter = unfilled(head)
    assert segmenter.encoder is not None
    tuned, rows = count_parameters(segmenter, trainable_only=True), {}
    for table in CHOSEN:
        printed = paper_table(PRINTED).loc[int(table)]
        cells = [cell for cell in study.part(table).cells if cell.paper_dice is not None]
        for cell, (_, row) in zip(cells, printed.iterrows(), strict=True):
            options = dict(cell.changes["model"]["tuning"]["options"])
            # The paper's spectrum has 128 slices, whatever ours has.
            options.pop("slices", None)
            with torch.device("meta"):
                inserted = count_parameters(MedAdapter(segmenter.encoder.sites(), **options))
            rows[int(table), row.setting] = {
                "our cell": cell.title,
                "alpha": options.get("reduction", 6),
                "inserted": inserted / 1e6,
                "inserted, paper": row.inserted_or_decoder_M,
                "tuned": (tuned + inserted) / 1e6,
                "tuned, paper": row.tuned_M,
            }
    return pd.DataFrame(rows).T.infer_objects().rename_axis(["table", "row of the paper"])


def impulse_response(
    branch: Callable[[TokenVolume], Tensor], shape: tuple[int, int, int, int], seed: int = 0
) -> Float[np.ndarray, "d h w"]:
    """How much every token moves, summed over channels, when the token in the middle is raised by one.

    Args:
        branch: token volumes (1, D, h, w, C) in; it may give another h and w.
        shape: D, h, w, C of what goes in: drawn around zero, in float64.
        seed: of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    given = torch.randn(1, *shape, generator=generator, dtype=torch.float64)
    raised, (depth, height, width) = given.clone(), (edge // 2 for edge in shape[:-1])
    raised[0, depth, height, width] += 1
    with torch.no_grad():
        return (branch(raised) - branch(given)).abs().sum(-1)[0].numpy()


def slices_seen(tokens: TokenVolume, adapter: MedAdapter, blocks: int) -> int:
    """From how many slices the middle one hears after some adapters in a row, by the gradient.

    Args:
        tokens: (1, D, h, w, C), in float64; D says how many there could be.
        adapter: without links between stages, in evaluation mode, in float64.
        blocks: how many of its blocks follow one another.
    """
    given = tokens.clone().requires_grad_(True)
    value = given
    for block in adapter.blocks[:blocks]:
        value, _ = block(value, None)
    value[:, len(value[0]) // 2].sum().backward()
    assert given.grad is not None
    felt = given.grad.abs().amax((0, 2, 3, 4))
    return int((felt > 1e-12 * felt.max()).sum())


def impulse_figure(responses: Mapping[str, Float[np.ndarray, "d _h _w"]]) -> Figure:
    """A cut along depth and width through the middle of each response; 0 is white, logarithmic to the top."""
    figure, axes = plt.subplots(
        1, len(responses), figsize=(1.75 * len(responses), 2.9), squeeze=False, layout="constrained"
    )
    for axis, (title, response) in zip(axes[0], responses.items(), strict=True):
        cut = response[:, response.shape[1] // 2]
        top = max(float(response.max()), 1e-12)
        shown = np.clip(np.log10(np.maximum(cut / top, 1e-4)) + 4, 0, 4)
        axis.imshow(shown, cmap="Blues", vmin=0, vmax=4, aspect="auto")
        axis.set_title(title, fontsize=8)
        axis.set_xlabel("column of tokens", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0][0].set_ylabel("slice", fontsize=8)
    return figure


def ablation_parts(study: Study) -> dict[str, tuple[Study, str]]:
    """The paper's tables 3 to 6, and the zero start beyond them, each with the cell it is compared with."""
    parts = {f"Table {table}": (study.part(table), chosen) for table, chosen in CHOSEN.items()}
    pair = study.part("more")
    cells = tuple(pair.choose(["med_adapter", "zero_init"]))
    return parts | {"not in the paper": (pair.model_copy(update={"cells": cells}), "med_adapter")}


def differences_figure(found: Mapping[str, Found], profile: str) -> Figure:
    """All rows of tables 3 to 6 and the zero start as paired differences of Dice, with 95 % intervals.

    A row without records says so. The paper's differences are of its means; where a table lacks the cell that
    is compared with, its number is that of another of these tables.

    Args:
        found: title of a data set to the study on it and its records.
        profile: budget.
    """
    parts = {title: ablation_parts(study) for title, (study, _) in found.items()}
    groups = list(next(iter(parts.values())).items())
    printed = {c.cell: c.paper_dice for _, (part, _) in groups for c in part.cells if c.paper_dice}
    figure, every = plt.subplots(
        len(groups),
        figsize=(8, 6.6),
        sharex=True,
        layout="constrained",
        height_ratios=[len(part.cells) - 0.3 for _, (part, _) in groups],
    )
    for axes, (name, (part, chosen)) in zip(every, groups, strict=True):
        rows = [cell for cell in part.cells if cell.cell != chosen]
        axes.set_title(f'{name}: minus "{part.choose([chosen])[0].title}"', fontsize=9, loc="left")
        axes.axvline(0, color="grey", lw=0.8)
        axes.set_yticks(range(len(rows)), [cell.title for cell in rows], fontsize=8)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        for at, cell in enumerate(rows):
            if cell.cell in printed and chosen in printed:
                axes.plot(printed[cell.cell] - printed[chosen], at, "s", color="tab:orange")
        for number, (title, (_, records)) in enumerate(found.items()):
            _draw(axes, ablation_table(parts[title][name][0], records, profile, chosen), number)
    every[-1].set_xlabel("difference in Dice, points")
    every[0].plot([], [], "s", color="tab:orange", label="paper (BraTS 2019, no interval)")
    for number, title in enumerate(found):
        every[0].errorbar([], [], fmt="o", color=COLOURS[number], label=title)
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)
    return figure


def _draw(axes: Axes, table: pd.DataFrame, number: int) -> None:
    """One data set's points in a group, a little below those of the one before; words where there is none."""
    table = table[table["difference"] != REFERENCE]
    for at, (_, row) in enumerate(table.iterrows()):
        place = at + 0.3 * number
        if row["difference"] in ("", NOT_RUN):
            where = axes.get_yaxis_transform()
            axes.text(1.01, place, NOT_RUN, transform=where, color=COLOURS[number], fontsize=7, va="center")
            continue
        point = float(row["difference"])
        low, high = (float(end) for end in row["95 % interval"].split(" to "))
        arms = [[max(point - low, 0)], [max(high - point, 0)]]
        axes.errorbar(point, place, xerr=arms, fmt="o", color=COLOURS[number], capsize=3, ms=4)
