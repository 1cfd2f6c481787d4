"""Two cells of a study compared over cases and seeds: the table of differences."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from medseg.metrics.statistics import CrossedDifference, paired_over_seeds
from medseg.records.schema import Part, Record
from medseg.reports.tables import NOT_RUN, signed
from medseg.studies.patients import dice_by_seed, unit_of
from medseg.studies.schedule import answering
from medseg.studies.study import Study

# Where the interval lies.
SIDES = {1: "above", 0: "holds zero", -1: "below"}
SIDE, SIGN, EACH = "side of zero", "same sign as paper", "seed: points"
# Columns that a page names once where every row says the same.
OFTEN_SAME = {"seeds": "seeds", "counted": "counted", "over": "interval and t-test over"}
# Dice of every patient in percent, by seed; a case where names of cases tell no patients apart.
OfSeeds = Mapping[int, Mapping[str, float | None]]


class Said(str):
    """Markdown that a notebook shows as text."""

    def _repr_markdown_(self) -> str:
        return self


def paired_table(
    study: Study,
    records: Sequence[Record],
    profile: str,
    pairs: Sequence[tuple[str, str]],
    parts: Sequence[Part] = (),
) -> pd.DataFrame:
    """Differences of two cells in points of Dice, with an interval over patients and seeds.

    Seeds and patients are those that both cells have. Interval and t-test are over what the row says: with
    one seed that is patients alone, and the side of zero is that of this seed. Where names of cases tell no
    patients apart, a case is taken for one, and the row says cases. Where the paper prints both cells,
    the difference of its numbers stands beside, and whether ours has its sign: yes, no, or open where the
    interval holds zero.

    Args:
        study: a study, or one table of it.
        records: what was found.
        profile: budget.
        pairs: names of two cells, the second of which is subtracted.
        parts: of the split that are compared, all where none is named.
    """
    cells, unit = {cell.cell: cell for cell in study.cells}, unit_of(study.dataset)
    dice, rows = dice_by_cell(study, records, profile, parts), []
    for first, second in pairs:
        row = {"difference": f"{cells[first].title} minus {cells[second].title}"}
        seeds, found = compared(dice[first], dice[second], study.seeds)
        row |= {"points": NOT_RUN} if found is None else _shown(seeds, found, unit)
        rows.append(row | _beside_print(found, cells[first].paper_dice, cells[second].paper_dice))
    return pd.DataFrame(rows).fillna("").set_index("difference")


def pieces(table: pd.DataFrame, *lists: str) -> list[pd.DataFrame | Said]:
    """What a page shows of a table of differences: the rows that were run, then what is said of all of them.

    A line under the table holds the columns in which every row says the same, and how many differences wait
    for runs. Where every row has the same seeds, it names them, and the column of their points does not; with
    one seed these are the points of the row and are left out.

    Args:
        table: of `paired_table`, or several of them joined with the name of the data set in front.
        lists: SIDE or SIGN, a list of `readings` for each.
    """
    run, lines = table[table["points"] != NOT_RUN], []
    if len(run):
        same = [name for name in OFTEN_SAME if run[name].nunique() == 1]
        lines = [f"{OFTEN_SAME[name]}: {run[name].iloc[0]}" for name in same]
        named = run[EACH].str.replace(r": [^,]*", "", regex=True)
        if named.nunique() == 1:
            lines[0] = f"seeds: {run['seeds'].iloc[0]} ({named.iloc[0]})"
            of_each = run[EACH].str.replace(r"\w+: ", "", regex=True)
            run = run.assign(**{EACH: of_each}).rename(columns={EACH: "at each seed"})
            if "," not in named.iloc[0]:
                same.append("at each seed")
        run = run.drop(columns=same)
        run = run.loc[:, (run != "").any()]
    if len(run) < len(table):
        lines.append(f"{len(table) - len(run)} of {len(table)} differences are {NOT_RUN}")
    said = [Said(f"*{'; '.join(lines)}.*")] if lines else []
    return [*([run] if len(run) else []), *said, *(readings(table, by) for by in lists)]


def readings(table: pd.DataFrame, by: str = SIDE) -> Said:
    """What tables of differences say, as a Markdown list: an item a value of one column, with its rows.

    Args:
        table: of `paired_table`, or several of them joined with the name of the data set in front.
        by: SIDE, or SIGN where the paper prints the differences.
    """
    run = table[table["points"] != NOT_RUN]
    if not len(run):
        return Said(f"- Nothing was compared: {NOT_RUN}.")
    kept = run[run[by] != ""] if by in run else run[:0]
    if not len(kept):
        return Said(f"- {by}: the paper prints none of these differences.")
    lines = [f"- **{by}: {value}.** {'; '.join(_said(rows))}." for value, rows in kept.groupby(by)]
    return Said("\n".join(lines))


def _said(rows: pd.DataFrame) -> list[str]:
    """Each row in words: data set, difference, points and number of seeds."""
    titles = (name if isinstance(name, str) else ", ".join(name) for name in rows.index)
    return [
        f"{title} {points} ({seeds} {'seed' if seeds == '1' else 'seeds'})"
        for title, points, seeds in zip(titles, rows["points"], rows["seeds"], strict=True)
    ]


def compared(a: OfSeeds, b: OfSeeds, order: Sequence[int]) -> tuple[list[int], CrossedDifference | None]:
    """The seeds that both have, in the order given, and the difference a - b; None without such a seed."""
    seeds = [seed for seed in order if seed in a and seed in b]
    if not seeds:
        return seeds, None
    patients = sorted(set.intersection(*(set(side[seed]) for side in (a, b) for seed in seeds)))
    if not patients:  # other folds were run of the one than of the other
        return seeds, None
    first, second = ([[side[seed][patient] for patient in patients] for seed in seeds] for side in (a, b))
    return seeds, paired_over_seeds(first, second)


def dice_by_cell(
    study: Study, records: Iterable[Record], profile: str, parts: Sequence[Part] = ()
) -> dict[str, OfSeeds]:
    """Dice of every patient by seed, of each cell of a study; empty for a cell without a record.

    Args:
        study: a study, or one table of it.
        records: what was found.
        profile: budget.
        parts: of the split, all where none is named.
    """
    of_cell: dict[str, list[Record]] = {cell.cell: [] for cell in study.cells}
    for record in answering(study, records, profile):
        if record.outcome.status == "done":
            of_cell[record.identity.cell].append(record)
    return {
        cell: {seed: _percent(found) for seed, found in dice_by_seed(own, *parts).items()}
        for cell, own in of_cell.items()
    }


def _percent(shares: Mapping[str, float | None]) -> dict[str, float | None]:
    return {patient: None if dice is None else 100 * dice for patient, dice in shares.items()}


def _shown(seeds: Sequence[int], found: CrossedDifference, unit: str) -> dict[str, str]:
    return {
        "points": signed(found.mean),
        "95 % interval": f"{signed(found.low)} to {signed(found.high)}",
        SIDE: _at(found, SIDES[found.sign]),
        "over": found.over.replace("case", unit),
        EACH: ", ".join(f"{s}: {signed(d)}" for s, d in zip(seeds, found.per_seed, strict=True)),
        "seeds": str(found.n_seeds),
        "counted": f"{found.n} {unit}s",
        "t-test p": _p(found.t_p),
        "Wilcoxon p": _p(found.wilcoxon_p),
    }


def _beside_print(
    found: CrossedDifference | None, first: float | None, second: float | None
) -> dict[str, str]:
    """The printed difference, and whether ours has its sign; nothing where the paper does not print both."""
    if first is None or second is None:
        return {}
    printed = round(first - second, 2)
    return {"paper's difference": signed(printed), SIGN: _agreement(found, printed)}


def _agreement(found: CrossedDifference | None, printed: float) -> str:
    if found is None:
        return ""
    if not found.sign:
        return "open"
    return _at(found, "yes" if found.sign * printed > 0 else "no")


def _at(found: CrossedDifference, said: str) -> str:
    """What one seed says is said of one seed."""
    return said if found.n_seeds > 1 else f"{said}, one seed"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
