"""Means over cases, with the number of cases that each mean leaves out.

Undefined scores (None) are left out of a mean and counted. The overall mean Dice is taken per case first
(over the labels of the case), then over cases, so that every case has the same weight.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Literal

from pydantic import BaseModel, ConfigDict

from medseg.errors import InputError
from medseg.metrics.case import CaseScore
from medseg.metrics.overlap import pooled_dice

Metric = Literal["dice", "hd95_mm", "nsd"]


class LabelSummary(BaseModel):
    """One label over all cases.

    `n` rows in all; `n_both_empty` of them have no Dice and no NSD, `n_no_distance` have no HD95 (one or
    both maps lack the label, or the spacing of the case is not known). `mean_*` are over the remaining rows,
    None if none remain. `pooled_dice` is over all rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label: int
    n: int
    n_both_empty: int
    n_no_distance: int
    mean_dice: float | None
    mean_hd95_mm: float | None
    mean_nsd: float | None
    pooled_dice: float | None


class Summary(BaseModel):
    """All labels over all cases.

    `mean_*` are means over cases of the mean over the labels of the case; `n_no_dice` cases have no Dice in
    any label and are left out. `mean_pooled_dice` is the mean over labels of the pooled Dice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n_cases: int
    n_no_dice: int
    mean_dice: float | None
    mean_hd95_mm: float | None
    mean_nsd: float | None
    mean_pooled_dice: float | None
    labels: tuple[LabelSummary, ...]


def summarise(scores: Sequence[CaseScore]) -> Summary:
    """Summarise the rows of a test set per label and over labels, per case and pooled.

    Args:
        scores: Rows of all cases and labels, each pair of case and label once.

    Returns:
        Counts, means over cases and pooled Dice.

    Raises:
        InputError: No rows, or a pair of case and label occurs twice.
    """
    _check(scores)
    pooled = pooled_dice(scores)
    dice = case_means(scores, "dice")
    return Summary(
        n_cases=len(dice),
        n_no_dice=sum(value is None for value in dice.values()),
        mean_dice=_mean(dice.values()),
        mean_hd95_mm=_mean(case_means(scores, "hd95_mm").values()),
        mean_nsd=_mean(case_means(scores, "nsd").values()),
        mean_pooled_dice=_mean(pooled.values()),
        labels=tuple(
            _label_summary([row for row in scores if row.label == label], pooled[label]) for label in pooled
        ),
    )


def case_means(scores: Iterable[CaseScore], metric: Metric = "dice") -> dict[str, float | None]:
    """Mean over labels of each case, in the order in which the cases first occur.

    Two arms scored on the same cases give the two lists that `statistics.paired_difference` compares.

    Args:
        scores: Rows of all cases and labels.
        metric: Which score to average.

    Returns:
        The mean of each case over its labels with a value; None where no label has one.
    """
    values: dict[str, list[float | None]] = {}
    for row in scores:
        values.setdefault(row.case, []).append(getattr(row, metric))
    return {case: _mean(group) for case, group in values.items()}


def _label_summary(rows: Sequence[CaseScore], pooled: float | None) -> LabelSummary:
    return LabelSummary(
        label=rows[0].label,
        n=len(rows),
        n_both_empty=sum(row.both_empty for row in rows),
        n_no_distance=sum(row.hd95_mm is None for row in rows),
        mean_dice=_mean(row.dice for row in rows),
        mean_hd95_mm=_mean(row.hd95_mm for row in rows),
        mean_nsd=_mean(row.nsd for row in rows),
        pooled_dice=pooled,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None


def _check(scores: Sequence[CaseScore]) -> None:
    pairs = [(row.case, row.label) for row in scores]
    if not pairs:
        raise InputError(
            "there are no scores to summarise",
            expected="at least one row",
            got="none",
            do="score at least one case",
        )
    if len(set(pairs)) != len(pairs):
        twice = sorted({pair for pair in pairs if pairs.count(pair) > 1})
        raise InputError(
            "a case is scored twice",
            expected="each pair of case and label once",
            got=f"more than once: {twice[:5]}",
            do="summarise one model and one seed at a time",
        )
