"""What a way of tuning costs and brings: Table 1 and Figure 2 of Med-Tuning (section 4.2), from records."""

import os
from collections.abc import Mapping, Sequence
from statistics import fmean

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medseg.data.download import VARIABLE
from medseg.records import store
from medseg.records.schema import Record
from medseg.reports import tables
from medseg.reports.ablations import Found
from medseg.reports.generalisation import NO_DATA
from medseg.reports.tables import NOT_RUN, cut
from medseg.studies.schedule import answering
from medseg.studies.status import CellState, states
from medseg.studies.study import Study

COSTS = ["tuned M", "inserted M", "% tuned", "s per step", "peak GB", "file MB"]
COLUMNS = ["paper Dice", "Dice per case", "95 % interval", "seeds", *COSTS]
# Rows of the printed tables to the cells of the studies.
PRINTED = {
    "Scratch": "scratch",
    "Full": "full",
    "Head": "head",
    "VPT-Shallow": "vpt_shallow",
    "VPT-Deep": "vpt_deep",
    "Adapter": "bottleneck",
    "AdaptFormer": "adaptformer",
    "Pro-tuning": "pro_tuning",
    "ST-Adapter": "st_adapter",
    "Ours": "med_adapter",
}
MARKERS = "osD^v"
COLOURS = 5
# Of one cell in one panel: tuned parameters in M, Dice in percent, ends of its interval where there is one.
Point = tuple[float, float, float | None, float | None]


def tuning_table(study: Study, records: Sequence[Record], profile: str) -> pd.DataFrame:
    """One row a cell: Dice in percent, and what it took to train and to keep.

    Args:
        study: a study, or one table of it (`Study.part`).
        records: what was found; other cells than those of the table may be among them.
        profile: budget.

    Returns:
        Text, indexed by the title of the cell. Parameters are in millions: `tuned` are those that train,
        `inserted` those that the same network has not when it trains whole, empty where that was not run.
        `% tuned` is of the network as it runs. Seconds are wall time, a mean over seeds; `peak` is the
        memory of the run, training and scoring, in GB; `file` holds what was tuned, in MB, empty where
        everything was. A cell without a record says why in place of its Dice, and nothing else.
    """
    dice = tables.dice_table(study, records, profile).to_dict("index")
    done, whole, rows = _done(study, records, profile), _whole(records, profile), []
    for cell in study.cells:
        row = {"model": cell.title} | dice[cell.title]
        if cell.cell in done:
            row |= dict(zip(COSTS, _costs(done[cell.cell], whole), strict=True))
        else:
            row |= dict.fromkeys(["95 % interval", *COSTS], "")
        rows.append(row)
    return pd.DataFrame(rows, columns=["model", *COLUMNS]).set_index("model")


def beside_print(study: Study, records: Sequence[Record], profile: str) -> list[str]:
    """A text a cell, for a column beside a printed table: Dice per case in percent, or why there is none."""
    found = states(study, records, profile)
    return [cut(100 * s.measured.dice) if s.measured else _absent(s) for s in found]


def pareto_front(parameters: Sequence[float], dice: Sequence[float]) -> list[int]:
    """Places of the points that no other beats in one of the two without losing in the other.

    They come in the order of their parameters; of equal points the first one.

    >>> pareto_front([100.8, 15.0, 17.8, 22.1], [76.4, 74.9, 78.8, 78.2])
    [1, 2]
    """
    front: list[int] = []
    for place in sorted(range(len(dice)), key=lambda i: (parameters[i], -dice[i])):
        if not front or dice[place] > dice[front[-1]]:
            front.append(place)
    return front


def pareto_figure(found: Mapping[str, Found], printed: pd.DataFrame, profile: str) -> Figure:
    """Tuned parameters against Dice: a panel a data set, and the paper's points (Figure 2) on their own axes.

    Args:
        found: title of a data set to the study on it and its records. The studies share their cells.
        printed: Med-Tuning, Table 1 (`medtuning_t1_vit_upernet_brats`), BraTS 2019.
        profile: budget.
    """
    figure, row = plt.subplots(1, len(found) + 1, figsize=(3.6 * (len(found) + 1), 4.2), layout="constrained")
    cells = next(iter(found.values()))[0].cells
    panels = {title: _points(*pair, profile) for title, pair in found.items()}
    for axes, (title, points) in zip(row[:-1], panels.items(), strict=True):
        _draw(axes, title, points, [cell.cell for cell in cells])
    _draw(row[-1], "paper: ViT-B, BraTS 2019", _printed_points(printed), [cell.cell for cell in cells])
    row[0].set_ylabel("Dice per case in percent, mean of labels")
    row[-1].set_ylabel("mean of ET, WT and TC")
    titles = {cell.cell: cell.title for cell in cells}
    drawn = {h.get_label(): h for axes in row for h in axes.get_legend_handles_labels()[0]}
    shown = [name for name in titles if name in drawn]
    handles, labels = [drawn[name] for name in shown], [titles[name] for name in shown]
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=4)
    return figure


def _draw(axes: Axes, title: str, points: Mapping[str, Point], order: Sequence[str]) -> None:
    axes.set_title(title, fontsize=9)
    if not points:
        axes.axis("off")
        axes.text(0.5, 0.5, NOT_RUN, ha="center", transform=axes.transAxes)
        return
    tuned, dice = np.array([(m, d) for m, d, _, _ in points.values()]).T
    front = pareto_front(tuned.tolist(), dice.tolist())
    axes.step(tuned[front], dice[front], where="post", color="grey", lw=1)
    for name, (m, d, low, high) in points.items():
        arms = None if low is None or high is None else [[d - low], [high - d]]
        place = order.index(name)
        style = f"C{place % COLOURS}{MARKERS[place // COLOURS]}"
        axes.errorbar([m], [d], arms, fmt=style, ms=5, capsize=2, elinewidth=0.8, label=name)
    axes.set(xscale="log", xlabel="tuned parameters, M")
    axes.minorticks_off()
    axes.margins(0.1)
    ticks = np.geomspace(tuned.min(), tuned.max(), 4)
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])


def _points(study: Study, records: Sequence[Record], profile: str) -> dict[str, Point]:
    done = _done(study, records, profile)
    return {
        s.cell: (
            done[s.cell][0].model.trainable / 1e6,
            100 * m.dice,
            None if m.dice_low is None else 100 * m.dice_low,
            None if m.dice_high is None else 100 * m.dice_high,
        )
        for s in states(study, records, profile)
        if (m := s.measured)
    }


def _printed_points(printed: pd.DataFrame) -> dict[str, Point]:
    rows, dice = list(PRINTED), printed[["b19_dice_ET", "b19_dice_WT", "b19_dice_TC"]].mean(axis=1)
    both = zip(PRINTED.values(), printed.tuned_M[rows].tolist(), dice[rows].tolist(), strict=True)
    return {cell: (tuned, mean, None, None) for cell, tuned, mean in both}


def _done(study: Study, records: Sequence[Record], profile: str) -> dict[str, list[Record]]:
    """Finished runs by cell."""
    found: dict[str, list[Record]] = {}
    for record in answering(study, records, profile):
        if record.outcome.status == "done":
            found.setdefault(record.identity.cell, []).append(record)
    return found


def _whole(records: Sequence[Record], profile: str) -> dict[str, int]:
    """Parameters of the networks that train whole."""
    kept = store.of_profile(records, profile)
    own = [r for r in kept if r.config.model.tuning.method == "full" and r.outcome.status == "done"]
    return {_untuned(record): record.model.parameters for record in own}


def _untuned(record: Record) -> str:
    """The network of a record, without its way of tuning and the source of its weights."""
    return record.config.model.model_dump_json(exclude={"tuning", "weights"})


def _costs(runs: Sequence[Record], whole: Mapping[str, int]) -> list[str]:
    size, base = runs[0].model, whole.get(_untuned(runs[0]))
    kept = size.tuned_bytes
    return [
        cut(size.trainable / 1e6, 3),
        "" if base is None else cut((size.parameters - base) / 1e6, 3),
        cut(100 * size.trainable / size.parameters),
        cut(fmean(run.cost.train_s / run.protocol.steps for run in runs), 3),
        cut(max(run.cost.peak_bytes for run in runs) / 1e9),
        "" if kept is None else cut(kept / 1e6),
    ]


def _absent(state: CellState) -> str:
    if state.status == "failed" or VARIABLE in os.environ:
        return state.reason or NOT_RUN
    return NO_DATA
