"""Intervals and paired tests over cases, and over cases and seeds.

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

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval lies on one side of zero, else 0: not told from zero."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


class CrossedDifference(PairedDifference):
    """Paired comparison a - b of the same cases under the same seeds (see `paired_over_seeds`).

    `low`, `high` and `t_p` are over what `over` says; `wilcoxon_p` is over cases alone.
    """

    n_seeds: int
    per_seed: tuple[float | None, ...]
    over: Literal["cases", "cases and seeds"]


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


def paired_over_seeds(
    a: Sequence[Sequence[float | None]],
    b: Sequence[Sequence[float | None]],
    seed: int = 0,
    alternative: Alternative = "two-sided",
    resamples: int = RESAMPLES,
) -> CrossedDifference:
    """Compare two models that were trained with the same seeds and scored on the same cases.

    Seeds and cases are crossed: every seed has a difference for every case, and both vary at random. The
    variance of the mean is estimated as that of the means of seeds over their number and that of the means of
    cases over theirs; interval and t-test have Student's t with the degrees of freedom of Satterthwaite
    (1946). So they answer for other patients and for other random numbers in training. With two or three
    seeds that differ much the interval is wide: a bootstrap of so few would be far too narrow. Without a true
    difference it leaves zero out in 2 to 8 % of studies with three seeds, and in up to 11 % with two
    (tests/metrics/test_statistics.py draws such studies). With one seed the
    result is that of `paired_difference`, over cases alone, and `over` says so. Wilcoxon's test is over
    cases, of the differences averaged over seeds.

    Args:
        a: scores of the first model, one list a seed, one value a case.
        b: scores of the second model: the same seeds and cases in the same order.
        seed: Seed of the bootstrap over cases, where there is one seed.
        alternative: as in `paired_difference`.
        resamples: Number of bootstrap samples.

    Returns:
        The comparison over the `n` cases that both models scored under every seed.

    Raises:
        InputError: no seed, lists of different length, or a value that is nan or infinite.
    """
    shapes = [[len(row) for row in side] for side in (a, b)]
    if not a or shapes[0] != shapes[1] or len(set(shapes[0])) > 1:
        raise InputError(
            "the scores are not crossed",
            expected="for both models the same seeds, at least one, and under each the same cases",
            got=f"cases of each seed: {shapes[0]} and {shapes[1]}",
            do="keep the seeds and cases that both models have",
        )
    kept = [column for column in zip(*a, *b, strict=True) if None not in column]
    scores = np.array([_finite(value for value in column if value is not None) for column in kept])
    first, second = scores.reshape(len(kept), 2, len(a)).transpose(1, 2, 0)  # model, seed, case
    of_cases = paired_difference(
        first.mean(axis=0).tolist(), second.mean(axis=0).tolist(), seed, alternative, resamples
    )
    differences, crossed = first - second, len(a) > 1
    interval = {}
    if crossed and len(kept) > 1:
        low, high, t_p = _crossed(np.round(differences, DECIMALS), alternative)
        interval = {"low": low, "high": high, "t_p": t_p}
    return CrossedDifference(
        **(of_cases.model_dump() | interval | {"n_dropped": shapes[0][0] - len(kept)}),
        n_seeds=len(a),
        per_seed=tuple(float(row.mean()) if kept else None for row in differences),
        over="cases and seeds" if crossed else "cases",
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
    return _ends(np.concatenate(means))


def _crossed(differences: np.ndarray, alternative: Alternative) -> tuple[float, float, float | None]:
    """Ends of the interval and p-value of the t-test of differences (seeds, cases)."""
    mean = float(differences.mean())
    sizes = np.array(differences.shape)
    # Of the means of seeds, and of the means of cases.
    parts = np.array([differences.mean(axis=1 - axis).var(ddof=1) for axis in (0, 1)]) / sizes
    variance = float(parts.sum())
    if variance == 0:
        return mean, mean, None
    freedom = variance**2 / float((parts**2 / (sizes - 1)).sum())
    error, tail = variance**0.5, (1 - LEVEL) / 2
    reach = float(stats.t.ppf(1 - tail, freedom)) * error
    above = float(stats.t.sf(mean / error, freedom))
    p = {"greater": above, "less": 1 - above, "two-sided": 2 * min(above, 1 - above)}[alternative]
    return mean - reach, mean + reach, p


def _ends(means: np.ndarray) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
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
