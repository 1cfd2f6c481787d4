"""What a page on ablations shows: each cell against the paper's choice, windows, and what a choice is worth.

The cells are those of TransSeg, Table 4 (section 4.3), and of its recipe.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medseg.data.windows import window_indices
from medseg.errors import InputError
from medseg.metrics.summary import case_means
from medseg.records.schema import Part, Record
from medseg.reports import tables
from medseg.reports.paired import SIDE, SIGN, compared, dice_by_cell, paired_table
from medseg.studies.study import Study

REFERENCE = "chosen"
DIFFERENCE = ["difference", "95 % interval", SIDE, "paper's difference", SIGN, "counted"]
COLUMNS = ["Dice per case", "Dice pooled", "paper Dice", *DIFFERENCE, "seeds"]
# Table of the study, field of the model that it changes, and what that field counts.
SWEEPS = (("4d", "slices", "slices of the window"), ("4c", "stride", "stride between slices"))
# A study, and the records of it.
Found = tuple[Study, Sequence[Record]]


def ablation_table(study: Study, records: Sequence[Record], profile: str, chosen: str) -> pd.DataFrame:
    """One row a cell: Dice in percent beside the paper's, and its paired difference to one of the cells.

    Args:
        study: one table of a study (`Study.part`).
        records: what was found.
        profile: budget.
        chosen: the cell that the others are compared with, patient by patient, over the seeds that both have.

    Returns:
        Text, indexed by the title of the cell. The difference and its interval are in points; the interval is
        over patients, and over seeds where both cells have several; `counted` counts them, or cases where
        names of cases tell no patients apart.

    Raises:
        InputError: the table has no such cell.
    """
    study.choose([chosen])
    dice = tables.dice_table(study, records, profile).drop(columns="95 % interval", errors="ignore")
    others = [cell for cell in study.cells if cell.cell != chosen]
    differences = paired_table(study, records, profile, [(cell.cell, chosen) for cell in others])
    differences = differences.rename(columns={"points": "difference"}).set_axis([c.title for c in others])
    differences = differences.reindex(columns=DIFFERENCE, fill_value="")
    differences.loc[study.choose([chosen])[0].title] = [REFERENCE] + [""] * (len(DIFFERENCE) - 1)
    titles = [cell.title for cell in study.cells]
    found = dice.loc[titles].join(differences).fillna("").reindex(columns=COLUMNS, fill_value="")
    unprinted = [name for name in ("paper's difference", SIGN) if (found[name] == "").all()]
    return found.drop(columns=unprinted).rename_axis("model")


def sweep_figure(found: Mapping[str, Found], profile: str, chosen: str = "center") -> Figure:
    """Dice over the number of slices and over the stride, as difference to the paper's choice.

    A setting that was not run has no point.

    Args:
        found: title of a data set to the study on it and its records. The studies share their cells.
        profile: budget.
        chosen: the cell at which every curve is 0.
    """
    figure, both = plt.subplots(1, len(SWEEPS), figsize=(8, 3.2), sharey=True, layout="constrained")
    for axes in both:
        axes.set_prop_cycle(color=["tab:blue", "tab:green", "tab:purple"])
    for axes, (table, field, label) in zip(both, SWEEPS, strict=True):
        for number, (title, (study, records)) in enumerate(found.items()):
            part = study.part(table)
            at = np.array([getattr(part.config(c, part.seeds[0], profile).model, field) for c in part.cells])
            if number == 0:
                printed = np.array([cell.paper_dice for cell in part.cells], float)
                here = [cell.cell for cell in part.cells].index(chosen)
                axes.plot(at, printed - printed[here], "s--", color="tab:orange", label="paper (BCV, pooled)")
            # A little to the right, so that the intervals of two data sets do not hide each other.
            beside = at + 0.01 * np.ptp(at) * number
            _draw_differences(axes, beside, part, records, profile, chosen, title)
        axes.axhline(0, color="grey", lw=0.8)
        axes.set(xlabel=label, xticks=at)
    both[0].set_ylabel("Dice minus that of\nthe paper's choice, points")
    both[0].legend(fontsize=8)
    return figure


def _draw_differences(
    axes: Axes, at: np.ndarray, part: Study, records: Sequence[Record], profile: str, chosen: str, title: str
) -> None:
    """One curve of a sweep, with intervals over cases; the chosen cell is zero where it was run."""
    dice, rows = dice_by_cell(part, records, profile), []
    for place, cell in zip(at, part.cells, strict=True):
        _, found = compared(dice[cell.cell], dice[chosen], part.seeds)
        if found is not None and found.mean is not None:
            mean = found.mean
            ends = [0.0 if end is None else abs(end - mean) for end in (found.low, found.high)]
            rows.append((place, mean, *ends))
    label = title if rows else f"{title}: {tables.NOT_RUN}"
    places, means, below, above = np.array(rows).T if rows else np.empty((4, 0))
    axes.errorbar(places, means, [below, above], fmt="o-", capsize=3, label=label)


def seen_share(n_slices: int, slices: int, stride: int = 1) -> float:
    """Share of a volume's slices that the window around its middle slice sees.

    >>> seen_share(36, 5), seen_share(10, 21)
    (0.1388888888888889, 1.0)
    """
    return len(set(window_indices(n_slices // 2, slices, n_slices, stride))) / n_slices


def windows_figure(volumes: Mapping[str, int], windows: Sequence[tuple[int, int]]) -> Figure:
    """Which slices windows see, of a window in the middle of a volume and of one at its first slice.

    Args:
        volumes: title to number of slices.
        windows: (slices, stride).
    """
    figure, rows = plt.subplots(
        len(volumes), 2, figsize=(8, 1.7 * len(volumes)), squeeze=False, layout="constrained"
    )
    most = max(slices for slices, _ in windows)
    for row, (title, n_slices) in zip(rows, volumes.items(), strict=True):
        for axes, (place, center) in zip(
            row, (("in the middle", n_slices // 2), ("at the first slice", 0)), strict=True
        ):
            seen = [
                np.bincount(window_indices(center, slices, n_slices, stride), minlength=n_slices)
                for slices, stride in windows
            ]
            shown = np.log2(1.0 + np.array(seen))
            axes.imshow(shown, cmap="Blues", aspect="auto", vmin=0, vmax=np.log2(1.0 + most))
            axes.set_yticks(range(len(windows)), [f"slices {s}, stride {stride}" for s, stride in windows])
            axes.tick_params(labelsize=7)
            axes.set_title(f"{title}, {n_slices} slices: centre {place}", fontsize=8)
        row[1].set_yticks([])
    return figure


def best_of(
    records: Sequence[Record], tries: Sequence[int], cases: int, draws: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """What choosing the best of several equally good networks adds to the score that chose, by resampling.

    A drawn network has, in every case, the Dice of one of the recorded seeds of a cell. So all drawn networks
    are equally good, and what the best of them is ahead is noise. With few seeds their spread is
    underestimated.

    Args:
        records: finished runs of one cell, a seed each.
        tries: numbers of networks to choose from.
        cases: validation cases, drawn anew each time, that choose.
        draws: how often it is repeated.
        seed: of the draws.

    Returns:
        By number of networks, points of Dice above their mean, averaged over draws: on the cases that chose,
        and on the test cases, to a hundredth. "not run" with fewer than two records.

    Raises:
        InputError: no networks to choose from, or no cases.
    """
    if not tries or min(tries) < 1 or cases < 1 or draws < 1:
        raise InputError(
            "nothing to choose from",
            expected="at least one network, one case and one draw",
            got=f"tries {list(tries)}, {cases} cases, {draws} draws",
            do="give positive numbers",
        )
    names = ["on the cases that chose", "on the test cases"]
    index = pd.Index(tries, name="best of")
    if len(records) < 2:
        return pd.DataFrame(tables.NOT_RUN, index=index, columns=names)
    generator, gains = np.random.default_rng(seed), np.zeros((len(tries), 2))
    validation, test = _dice(records, "validation"), _dice(records, "test")
    for _ in range(draws):
        chosen_by = validation[:, generator.integers(validation.shape[1], size=cases)]
        of_chosen, of_test = (_drawn(dice, max(tries), generator) for dice in (chosen_by, test))
        for row, k in enumerate(tries):
            best = of_chosen[:k].argmax()
            gains[row] += of_chosen[best], of_test[best]
    # Adding zero takes the sign off -0.00.
    return pd.DataFrame((gains / draws).round(2) + 0.0, index=index, columns=names)


def _dice(records: Sequence[Record], part: Part) -> np.ndarray:
    """Dice in percent (seeds, cases) of the cases that have one at every seed."""
    means = pd.DataFrame([case_means(record.scores(part)) for record in records], dtype=float)
    return 100 * means.dropna(axis="columns").to_numpy()


def _drawn(dice: np.ndarray, networks: int, generator: np.random.Generator) -> np.ndarray:
    """Mean Dice of drawn networks, above what is expected of them."""
    seeds, cases = dice.shape
    picked = generator.integers(seeds, size=(networks, cases))
    return (dice[picked, np.arange(cases)] - dice.mean(0)).mean(1)
