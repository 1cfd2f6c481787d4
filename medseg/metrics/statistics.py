"""Intervals and paired tests over cases.

Two models are compared on the same cases by the differences of their scores. The t-test asks about the mean
difference, the Wilcoxon signed-rank test about a shift of the middle; with few cases they can disagree, so
both are reported beside a bootstrap interval. One-sided and two-sided p-values of the t-test differ by a
factor of two: the `alternative` is part of the result.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

from medseg.errors import InputError

Alternative = Literal["two-sided", "greater", "less"]
LEVEL = 0.95
RESAMPLES = 10_000
BATCH = 1_000
# Differences of scores carry rounding noise near 1e-14; below this many decimals they are ties or zeros.
DECIMALS = 12


class PairedDifference(BaseModel):
    """Paired comparison a - b; None where a value is undefined (see `paired_difference`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n: int
    n_dropped: int
    mean: float | None
    low: float | None
    high: float | None
    t_p: float | None
    wilcoxon_p: float | None
    alternative: Alternative


def bootstrap_interval(
    values: Iterable[float | None], seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float | None, float | None]:
    """95 % percentile bootstrap interval of the mean over cases (Efron and Tibshirani 1993, chapter 13).

    Args:
        values: One score per case, any unit; None (undefined) is left out.
        seed: Seed of the resampling; the same seed gives the same interval.
        resamples: Number of bootstrap samples.

    Returns:
        (low, high) in the unit of `values`; (None, None) for fewer than two values.

    Raises:
        InputError: A value is nan or infinite.
    """
    return _interval(_finite(value for value in values if value is not None), seed, resamples)


def paired_difference(
    a: Sequence[float | None],
    b: Sequence[float | None],
    seed: int = 0,
    alternative: Alternative = "two-sided",
    resamples: int = RESAMPLES,
) -> PairedDifference:
    """Compare two score lists case by case: mean of a - b, its interval, paired t-test and Wilcoxon test.

    Args:
        a: One score per case of the first model.
        b: Scores of the second model for the same cases in the same order.
        seed: Seed of the bootstrap.
        alternative: "greater" asks whether a is larger than b, "less" whether it is smaller.
        resamples: Number of bootstrap samples.

    Returns:
        The comparison over the `n` pairs with two values; the others are counted in `n_dropped`. The
        interval is two-sided at 95 % whatever the alternative. For n < 2 interval and p-values are None. If
        all differences are equal the t statistic has no spread to divide by: t_p is None; if all are zero
        wilcoxon_p is 1.0.

    Raises:
        InputError: The lists differ in length, or a value is nan or infinite.
    """
    if len(a) != len(b):
        raise InputError(
            "the two lists are not paired",
            expected=f"{len(a)} values in b",
            got=str(len(b)),
            do="pass the scores of the same cases in the same order",
        )
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    first, second = _finite(x for x, _ in pairs), _finite(y for _, y in pairs)
    differences = np.round(first - second, DECIMALS)
    low, high = _interval(differences, seed, resamples)
    return PairedDifference(
        n=len(pairs),
        n_dropped=len(a) - len(pairs),
        mean=float(differences.mean()) if len(pairs) else None,
        low=low,
        high=high,
        t_p=_t_p(differences, alternative),
        wilcoxon_p=_wilcoxon_p(differences, alternative),
        alternative=alternative,
    )


def _t_p(differences: np.ndarray, alternative: Alternative) -> float | None:
    if len(differences) < 2 or np.ptp(differences) <= 10**-DECIMALS:
        return None
    return float(stats.ttest_1samp(differences, 0.0, alternative=alternative).pvalue)


def _wilcoxon_p(differences: np.ndarray, alternative: Alternative) -> float | None:
    if len(differences) < 2:
        return None
    if not differences.any():
        return 1.0  # scipy divides by zero here; no case speaks for either side
    return float(stats.wilcoxon(differences, alternative=alternative).pvalue)


def _interval(values: np.ndarray, seed: int, resamples: int) -> tuple[float | None, float | None]:
    if len(values) < 2:
        return None, None
    rng = np.random.default_rng(seed)
    # One batch at a time bounds the memory: resamples x cases numbers otherwise.
    sizes = [min(BATCH, resamples - done) for done in range(0, resamples, BATCH)]
    means = [values[rng.integers(len(values), size=(size, len(values)))].mean(axis=1) for size in sizes]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def _finite(values: Iterable[float]) -> np.ndarray:
    array = np.array([float(value) for value in values], dtype=np.float64)
    if not all(map(math.isfinite, array)):
        raise InputError(
            "a score is not a number",
            expected="finite values, or None for undefined",
            got="nan or inf",
            do="store undefined scores as None",
        )
    return array
