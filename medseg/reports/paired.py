"""Two cells of a study compared over cases and seeds: the table of differences."""

from collections.abc import Mapping, Sequence

import pandas as pd

from medseg.metrics.statistics import CrossedDifference, paired_over_seeds
from medseg.records.schema import Record
from medseg.reports.tables import NOT_RUN, signed
from medseg.studies.patients import patient_dice, unit_of
from medseg.studies.schedule import answering
from medseg.studies.study import Study

# Dice of every patient in percent, by seed; a case where names of cases tell no patients apart.
OfSeeds = Mapping[int, Mapping[str, float | None]]


def paired_table(
    study: Study, records: Sequence[Record], profile: str, pairs: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """Differences of two cells in points of Dice, with an interval over patients and seeds.

    Seeds and patients are those that both cells have. The p-values are over patients, of differences averaged
    over seeds; with one seed the interval is over patients, and its row says so. Where names of cases tell no
    patients apart, a case is taken for one, and the row says cases.

    Args:
        study: a study, or one table of it.
        records: what was found.
        profile: budget.
        pairs: names of two cells, the second of which is subtracted.
    """
    titles, unit = {cell.cell: cell.title for cell in study.cells}, unit_of(study.dataset)
    rows = []
    for first, second in pairs:
        row = {"difference": f"{titles[first]} minus {titles[second]}"}
        seeds, found = paired(study, records, profile, first, second)
        rows.append(row | ({"points": NOT_RUN} if found is None else _shown(seeds, found, unit)))
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
        "over": found.over.replace("case", unit),
        "seed: points": ", ".join(f"{s}: {signed(d)}" for s, d in zip(seeds, found.per_seed, strict=True)),
        "seeds": str(found.n_seeds),
        "compared": f"{found.n} {unit}s",
        "t-test p": _p(found.t_p),
        "Wilcoxon p": _p(found.wilcoxon_p),
    }


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
