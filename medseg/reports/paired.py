"""Two cells of a study compared over cases and seeds: the table of differences."""

from collections.abc import Mapping, Sequence

import pandas as pd

from medseg.metrics.statistics import CrossedDifference, paired_over_seeds
from medseg.records.schema import Record
from medseg.reports.tables import NOT_RUN, signed
from medseg.studies.patients import patient_dice, unit_of
from medseg.studies.schedule import answering
from medseg.studies.study import Study

# By the side of zero on which the interval lies.
VERDICTS = {1: "above", 0: "not told apart", -1: "below"}
# Dice of every patient in percent, by seed; a case where names of cases tell no patients apart.
OfSeeds = Mapping[int, Mapping[str, float | None]]


def paired_table(
    study: Study, records: Sequence[Record], profile: str, pairs: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """Differences of two cells in points of Dice, with an interval over patients and seeds.

    Seeds and patients are those that both cells have. The p-values are over patients, of differences averaged
    over seeds; with one seed the interval is over patients, and its row says so. Where names of cases tell no
    patients apart, a case is taken for one, and the row says cases. Where the paper prints both cells,
    the difference of its numbers stands beside, and whether ours has its sign: yes, no, or open where the
    interval holds zero.

    Args:
        study: a study, or one table of it.
        records: what was found.
        profile: budget.
        pairs: names of two cells, the second of which is subtracted.
    """
    cells, unit = {cell.cell: cell for cell in study.cells}, unit_of(study.dataset)
    rows = []
    for first, second in pairs:
        row = {"difference": f"{cells[first].title} minus {cells[second].title}"}
        seeds, found = paired(study, records, profile, first, second)
        row |= {"points": NOT_RUN} if found is None else _shown(seeds, found, unit)
        rows.append(row | _beside_print(found, cells[first].paper_dice, cells[second].paper_dice))
    return pd.DataFrame(rows).fillna("").set_index("difference")


def paired(
    study: Study, records: Sequence[Record], profile: str, first: str, second: str
) -> tuple[list[int], CrossedDifference | None]:
    """The seeds that two cells of a study have, and the difference of their Dice in points."""
    kept = answering(study, records, profile)
    return compared(_of_seeds(kept, first), _of_seeds(kept, second), study.seeds)


def compared(a: OfSeeds, b: OfSeeds, order: Sequence[int]) -> tuple[list[int], CrossedDifference | None]:
    """The seeds that both have, in the order given, and the difference a - b; None without such a seed."""
    seeds = [seed for seed in order if seed in a and seed in b]
    if not seeds:
        return seeds, None
    patients = sorted(set.intersection(*(set(side[seed]) for side in (a, b) for seed in seeds)))
    first, second = ([[side[seed][patient] for patient in patients] for seed in seeds] for side in (a, b))
    return seeds, paired_over_seeds(first, second)


def _of_seeds(records: Sequence[Record], cell: str) -> dict[int, dict[str, float | None]]:
    return {
        r.identity.seed: {
            patient: None if dice is None else 100 * dice for patient, dice in patient_dice(r).items()
        }
        for r in records
        if r.identity.cell == cell and r.outcome.status == "done"
    }


def _shown(seeds: Sequence[int], found: CrossedDifference, unit: str) -> dict[str, str]:
    return {
        "points": signed(found.mean),
        "95 % interval": f"{signed(found.low)} to {signed(found.high)}",
        "verdict": VERDICTS[found.sign],
        "over": found.over.replace("case", unit),
        "seed: points": ", ".join(f"{s}: {signed(d)}" for s, d in zip(seeds, found.per_seed, strict=True)),
        "seeds": str(found.n_seeds),
        "compared": f"{found.n} {unit}s",
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
    return {"printed points": signed(printed), "as printed": _agreement(found, printed)}


def _agreement(found: CrossedDifference | None, printed: float) -> str:
    if found is None:
        return ""
    if not found.sign:
        return "open"
    return "yes" if found.sign * printed > 0 else "no"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
