"""Statistics of latencies: percentiles with binomial bounds, clustered ratios, alpha spent on looks.

Everything here is a pure function of its arguments. The distribution functions are our own, so
that measuring needs no SciPy; the tests hold them against it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PERCENTILES: Final = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99, "p999": 0.999}
_DRAWS: Final = 400


@dataclass(frozen=True)
class Estimate:
    """A number and its interval at each confidence: (confidence, low, high); None is unbounded."""

    value: float
    bounds: tuple[tuple[float, float | None, float | None], ...]
    n: int


def spent(confidence: float, looks: int) -> float:
    """Confidence of each of `looks` looks that together err at most 1 − `confidence`.

    The error is shared out evenly (Bonferroni), so it holds whatever the looks have in common
    and whenever one stops.
    """
    return 1.0 - (1.0 - confidence) / looks


def look_sizes(first: int, factors: Sequence[float] = (1, 1.5, 2, 3, 4)) -> tuple[int, ...]:
    """Sample sizes at which a comparison is judged: 8 → 8, 12, 16, 24, 32."""
    return tuple(sorted({math.ceil(first * factor) for factor in factors}))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    h = d
    for m in range(1, 100_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + numerator / c
            c = c if abs(c) > tiny else tiny
            step = c * d
            h *= step
        if abs(step - 1.0) < 1e-15:
            return h
    raise ArithmeticError(f"incomplete beta({a}, {b}, {x}) did not converge")


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b), for a, b > 0 and 0 ≤ x ≤ 1."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _beta_fraction(a, b, x) / a
    return 1.0 - front * _beta_fraction(b, a, 1.0 - x) / b


def binomial_cdf(successes: int, trials: int, probability: float) -> float:
    """P(Binomial(trials, probability) ≤ successes)."""
    if successes < 0 or successes >= trials:
        return 0.0 if successes < 0 else 1.0
    return incomplete_beta(trials - successes, successes + 1, 1.0 - probability)


def _largest_unlikely(trials: int, probability: float, confidence: float) -> int | None:
    """Largest t with P(Binomial(trials, probability) ≤ t) ≤ 1 − confidence; None if there is none."""
    # 1e-15: 1 - 0.99 is a little less than 0.01, and LoadGen's own sum is not rounded so.
    allowed = 1.0 - confidence + 1e-15
    low, high = -1, trials
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_cdf(middle, trials, probability) <= allowed:
            low = middle
        else:
            high = middle
    return None if low < 0 else low


@lru_cache(4096)
def discardable(n: int, percentile: float, confidence: float) -> int | None:
    """How many of the slowest of `n` queries LoadGen drops before it reads the percentile's bound.

    MLPerf inference rules, appendix "Early stopping": with t the largest count for which
    P(Bin(n, 1 − p) ≤ t) ≤ 1 − c, t − 1 are dropped and the slowest of the rest is a one-sided
    upper bound. None: too few queries for any bound.
    """
    t = _largest_unlikely(n, 1.0 - percentile, confidence)
    return None if t is None or t < 1 else t - 1


@lru_cache(1024)
def queries_needed(percentile: float, confidence: float, slower: int = 1) -> int:
    """Fewest queries for an upper bound of the percentile when `slower` of them are beyond it."""
    low, high = slower, slower + 1
    while binomial_cdf(slower, high, 1.0 - percentile) > 1.0 - confidence + 1e-15:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_cdf(slower, middle, 1.0 - percentile) <= 1.0 - confidence + 1e-15:
            high = middle
        else:
            low = middle
    return high


def percentile_index(n: int, percentile: float) -> int:
    """Position of a percentile among `n` sorted values, as LoadGen reads it: int(n p)."""
    return min(int(n * percentile), n - 1)


def percentile_of(ordered: Floats | Integers, percentile: float) -> float:
    """The percentile of ascending values. Raises `ValueError` for no values."""
    if not len(ordered):
        raise ValueError("no values have no percentile")
    return float(ordered[percentile_index(len(ordered), percentile)])


def percentile_estimate(
    ordered: Floats | Integers, percentile: float, confidences: Sequence[float], looks: int = 1
) -> Estimate:
    """A percentile of ascending values and one-sided bounds of it at each confidence.

    The upper bound is LoadGen's (`discardable`), the lower its mirror image; both hold for
    independent queries of any distribution. Too few queries leave an end unbounded.
    """
    n = len(ordered)
    bounds: list[tuple[float, float | None, float | None]] = []
    for confidence in confidences:
        level = spent(confidence, looks)
        dropped = discardable(n, percentile, level)
        below = _largest_unlikely(n, percentile, level)
        high = None if dropped is None else float(ordered[n - 1 - dropped])
        low = None if below is None else float(ordered[below])
        bounds.append((confidence, low, high))
    return Estimate(percentile_of(ordered, percentile), tuple(bounds), n)


def student_cdf(x: float, degrees: float) -> float:
    """P(T ≤ x) of Student's t with `degrees` of freedom."""
    tail = 0.5 * incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + x * x))
    return 1.0 - tail if x > 0 else tail


@lru_cache(1024)
def student_quantile(probability: float, degrees: float) -> float:
    """Quantile of Student's t, by bisection; `probability` within (0, 1)."""
    if not 0.0 < probability < 1.0:
        raise ValueError(f"{probability} is not within (0, 1)")
    if probability < 0.5:
        return -student_quantile(1.0 - probability, degrees)
    low, high = 0.0, 1.0
    while student_cdf(high, degrees) < probability:
        high *= 2.0
    for _ in range(200):
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        if student_cdf(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def mean_estimate(
    values: Sequence[float], confidences: Sequence[float], looks: int = 1
) -> Estimate:
    """Mean of independent `values` with one-sided Student bounds; one value has no bounds."""
    sample = np.asarray(values, dtype=np.float64)
    n, mean = len(sample), float(sample.mean())
    if n < 2:
        return Estimate(mean, tuple((c, None, None) for c in confidences), n)
    error = float(sample.std(ddof=1)) / math.sqrt(n)
    bounds = []
    for confidence in confidences:
        reach = student_quantile(spent(confidence, looks), n - 1) * error
        bounds.append((confidence, mean - reach, mean + reach))
    return Estimate(mean, tuple(bounds), n)


def trimmed_estimate(
    clusters: Sequence[float], confidences: Sequence[float], looks: int = 1
) -> Estimate:
    """20 % trimmed mean of one number per cluster, with one-sided bounds (Yuen 1974).

    The standard error is the winsorised one, s_w / (0.6 √n); degrees of freedom are those of the
    values that are kept, less one. Raises `ValueError` for fewer than three clusters.
    """
    ordered = np.sort(np.asarray(clusters, dtype=np.float64))
    n = len(ordered)
    if n < 3:
        raise ValueError(f"{n} clusters are too few to compare")
    cut = n // 5
    kept = n - 2 * cut
    middle = float(ordered[cut : n - cut].mean())
    winsorised = np.clip(ordered, ordered[cut], ordered[n - 1 - cut])
    error = float(winsorised.std(ddof=1)) / (0.6 * math.sqrt(n))
    bounds = []
    for confidence in confidences:
        reach = student_quantile(spent(confidence, looks), kept - 1) * error
        bounds.append((confidence, middle - reach, middle + reach))
    return Estimate(middle, tuple(bounds), n)


def tail_ratio_estimate(
    candidate: Sequence[Floats],
    reference: Sequence[Floats],
    percentile: float,
    confidences: Sequence[float],
    looks: int = 1,
    seed: int = 0,
) -> Estimate:
    """Ratio of a pooled percentile, candidate / reference, with bounds from whole epochs redrawn.

    Both sides hold one array per epoch and are redrawn with the same epochs, for an epoch's
    conditions are shared. The logarithm's bootstrap error meets a Student quantile, which goes
    on where counting a few hundred redraws ends. Raises `ValueError` for fewer than three epochs
    or a side without values.
    """
    epochs = len(reference)
    if epochs < 3 or len(candidate) != epochs:
        raise ValueError(f"{epochs} epochs are too few to compare")
    draws = np.random.default_rng(seed).integers(0, epochs, (_DRAWS, epochs))
    weights = np.stack([(draws == epoch).sum(axis=1) for epoch in range(epochs)], axis=1)
    whole = np.ones((1, epochs), dtype=np.int64)
    sides = []
    for side in (candidate, reference):
        redrawn = _redrawn_percentiles(side, percentile, np.vstack([whole, weights]))
        sides.append(np.log(redrawn))
    log_ratios = sides[0] - sides[1]
    log_ratios = log_ratios[np.isfinite(log_ratios)]
    error = float(log_ratios[1:].std(ddof=1))
    centre = float(log_ratios[0])
    bounds = []
    for confidence in confidences:
        reach = student_quantile(spent(confidence, looks), epochs - 1) * error
        bounds.append((confidence, math.exp(centre - reach), math.exp(centre + reach)))
    return Estimate(math.exp(centre), tuple(bounds), sum(len(part) for part in candidate))


def _redrawn_percentiles(side: Sequence[Floats], percentile: float, weights: Integers) -> Floats:
    """The pooled percentile for each row of `weights`: how often each epoch was drawn."""
    pooled = np.concatenate([np.asarray(part, dtype=np.float64) for part in side])
    if not len(pooled):
        raise ValueError("a side without values has no percentile")
    lengths = np.asarray([len(part) for part in side], dtype=np.int64)
    order = np.argsort(-pooled, kind="stable")
    pooled, owner = pooled[order], np.repeat(np.arange(len(side)), lengths)[order]
    found = np.full(len(weights), np.nan)
    # The percentile counted from the top: for a high one the slowest few queries hold it.
    most = min(len(pooled), int(4 * (1 - percentile) * len(pooled)) + 64)
    for row, weight in enumerate(weights):
        total = int(weight @ lengths)
        if total:
            above = total - percentile_index(total, percentile)
            counted = np.cumsum(weight[owner[:most]])
            if counted[-1] < above:
                counted = np.cumsum(weight[owner])
            found[row] = pooled[int(np.searchsorted(counted, above, side="left"))]
    return found


def batch_rates(completions_ns: Integers, batches: int = 20) -> list[float]:
    """Rate (per second) in each of up to `batches` equal runs of ascending completion times.

    The first time is a start, not a completion. Batch means absorb the correlation of neighbours.
    """
    n = len(completions_ns) - 1
    count = min(batches, n)
    if count < 1:
        return []
    edges = np.linspace(0, n, count + 1).astype(np.int64)
    spans = np.diff(completions_ns[edges]).astype(np.float64)
    return [float(k / s * 1e9) for k, s in zip(np.diff(edges), spans, strict=True) if s > 0]
