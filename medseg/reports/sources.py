"""Where an encoder starts, for pages: cards of weights, printed rows, networks side by side, positions."""

from collections.abc import Sequence
from pathlib import Path

import medseg.compat  # noqa: F401  isort: skip
import matplotlib.pyplot as plt
import pandas as pd
import timm
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from medseg.config import ModelConfig
from medseg.encoders.relative_bias import CLASS_ROWS, resized_table
from medseg.encoders.sources import TABLE_2B, WEIGHTS, WeightsCard
from medseg.errors import InputError
from medseg.records.schema import Record
from medseg.reports.papers import paper_table
from medseg.segmenter import NETWORKS, measure_size
from medseg.studies.status import states
from medseg.studies.study import Cell, Study

RANDOM = "random numbers"
RANDOM_ROW = "BEiT-Random"


def cards_table() -> pd.DataFrame:
    """One row a card of WEIGHTS; `pixels` is what black and white became when the network was trained.

    `pixels` is the mean over the three colours, by timm's card of the weights; empty where timm has none.
    """
    rows = {
        name: {
            "trained on": card.trained_on,
            "objective": card.objective,
            "encoder": card.encoder,
            "file": card.file,
            "on timm's hub as": card.timm_name or "",
            "licence": card.licence,
            "sha256": (card.sha256 or "not stated")[:12],
            "pixels": _pixels(card),
        }
        for name, card in WEIGHTS.items()
    }
    return pd.DataFrame(rows).T


def _pixels(card: WeightsCard) -> str:
    found = timm.get_pretrained_cfg(card.timm_name) if card.timm_name else None
    if found is None:
        return ""
    pairs = list(zip(found.mean, found.std, strict=True))
    low, high = (sum((grey - mean) / std for mean, std in pairs) / len(pairs) for grey in (0, 1))
    return f"{low:.2f} to {high:.2f}"


def printed_rows(root: Path | None = None) -> pd.DataFrame:
    """TransSeg's Table 2(b) as printed (Dice of 8 organs), the weights here, and points over random."""
    printed = paper_table("transseg_t2b_transfer_source", root)
    ours = {
        row: {"encoder": source.encoder, "weights here": source.weights or ""}
        for row, source in TABLE_2B.items()
    }
    frame = printed.join(pd.DataFrame(ours).T)
    frame["over random"] = (frame.dsc8 - frame.dsc8[RANDOM_ROW]).round(2)
    return frame.rename(columns={"dsc8": "paper Dice"}).rename_axis("row of the paper")


def by_source(part: Study) -> Study:
    """The study with every cell named by its weights, a key of WEIGHTS, or as random numbers."""
    cells = [
        cell.model_copy(update={"title": _model(part, cell, "colab").weights or RANDOM})
        for cell in part.cells
    ]
    return part.model_copy(update={"cells": tuple(cells)})


def network_table(part: Study, profile: str) -> pd.DataFrame:
    """One row a cell: its encoder and what that costs for one window, without weights or memory for them.

    The last column says whether all shapes of the network are those of the cell that starts at random.
    """
    models = {cell.title: _model(part, cell, profile) for cell in part.cells}
    scratch = next((model for model in models.values() if model.weights is None), None)
    if scratch is None:
        raise InputError(
            "there is nothing to compare with",
            expected="a cell that starts at random, weights null",
            got=", ".join(models),
            do="add one to the table of the study",
        )
    rows = {}
    for title, model in models.items():
        size = measure_size(model)
        rows[title] = {
            "encoder": model.encoder,
            "encoder, M parameters": size.parameters_per_part["encoder"] / 1e6,
            "encoder, GFLOPs a window": size.flops_per_part["encoder"] / 1e9,
            "same network as the random start": "yes" if _shapes(model) == _shapes(scratch) else "no",
        }
    return pd.DataFrame(rows).T.infer_objects().round(2)


def _model(part: Study, cell: Cell, profile: str) -> ModelConfig:
    return part.config(cell, part.seeds[0], profile).model


def _shapes(model: ModelConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {key: value.shape for key, value in NETWORKS[model.network](model).state_dict().items()}


def waiting_table(part: Study, records: Sequence[Record], profile: str) -> pd.DataFrame:
    """The cells that lack runs, and why: what is not at hand here, or a digest that nobody has stated."""
    rows = {}
    for state in states(part, records, profile):
        if state.status == "done":
            continue
        reason = state.reason or "further seeds not run"
        rows[state.title] = {"seeds": f"{len(state.seeds_done)} of {len(state.seeds_wanted)}", "why": reason}
    return pd.DataFrame(rows, index=["seeds", "why"]).T


def stretched_table(
    table: Float[Tensor, "rows heads"], wanted_rows: int
) -> Float[Tensor, "wanted_rows heads"]:
    """A bias table spread evenly over a larger window, bilinear: what BEiT's rule is set beside.

    Args:
        table: as for medseg.encoders.relative_bias.resized_table, with three rows of the class token.
        wanted_rows: rows of the new table, those three among them.
    """
    side, wanted = (round((rows - CLASS_ROWS) ** 0.5) for rows in (len(table), wanted_rows))
    grid = table[:-CLASS_ROWS].T.unflatten(1, (side, side))[None]
    even = functional.interpolate(grid, size=(wanted, wanted), mode="bilinear", align_corners=True)[0]
    return torch.cat([even.flatten(1).T, table[-CLASS_ROWS:]])


def bias_figure(table: Float[Tensor, "rows heads"], wanted_rows: int) -> Figure:
    """The first head of a bias table before, by BEiT's rule and spread evenly; and a cut through offset zero.

    Args:
        table: one row an offset, then three rows of the class token.
        wanted_rows: rows of the new table.

    Raises:
        InputError: the numbers of rows are not those of two square windows with a class token.
    """
    resized = resized_table(table, wanted_rows)
    if resized is None:
        raise InputError(
            "the bias table does not fit the window",
            expected=f"(2 * window - 1)^2 + {CLASS_ROWS} rows, before and after",
            got=f"{len(table)} and {wanted_rows}",
            do="change wanted_rows",
        )
    shown = {"before": table, "BEiT's rule": resized, "spread evenly": stretched_table(table, wanted_rows)}
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained", width_ratios=[1, 1, 1, 1.5])
    for axis, (name, values), style in zip(axes[:-1], shown.items(), ("o", "-", ":"), strict=True):
        head = values[:-CLASS_ROWS, 0].float()
        far = round(len(head) ** 0.5) // 2
        grid = head.unflatten(0, (2 * far + 1, 2 * far + 1)).numpy()
        axis.imshow(grid, extent=(-far - 0.5, far + 0.5, far + 0.5, -far - 0.5), cmap="viridis")
        axis.set(title=name, xlabel="offset in tokens")
        axes[-1].plot(range(-far, far + 1), grid[far], style, label=name, markersize=3)
    axes[-1].set(xlabel="offset along a row, in tokens", title="through offset zero", ylabel="bias")
    figure.legend(*axes[-1].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=3)
    return figure
