"""Distances between two samples of which only the counts per bin are known, with intervals.

Pure functions. In all of them x and y are counts over the same bins, n and m the numbers of
independent observations behind them: by default the sums, fewer when several rows belong to one
unit. How far the rows of a unit repeat each other is not known, so a bias is then corrected as for
units at the lower end of an interval and as for rows at the upper one. Intervals are two-sided.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlgate.statistics.binomial import newcombe, two_sided, wilson

Counts = Sequence[int] | NDArray[np.int64]
Floats = NDArray[np.float64]

PSEUDO_COUNT: Final = 0.5
_MEAN_OF_ABSOLUTE_NORMAL: Final = math.sqrt(2 / math.pi)


@dataclass(frozen=True)
class Estimate:
    """A value and the interval around it; `n` is the smaller of the two samples."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Statistic:
    """A value whose interval can be had at any confidence."""

    value: float
    n: int
    interval: Callable[[float], tuple[float, float]] = field(repr=False, compare=False)

    def at(self, confidence: float) -> Estimate:
        """`confidence` is between 0 and 1, e.g. 0.95."""
        if not 0 < confidence < 1:
            raise ValueError(f"a confidence lies between 0 and 1, not at {confidence}")
        low, high = self.interval(confidence)
        return Estimate(self.value, low, high, self.n)


def needed(estimate: Estimate, limit: float) -> int | None:
    """About how large both samples must be for the interval to clear `limit`; None when no size is.

    Half widths shrink with the root of n, biases faster: this is rather too much than too little.
    """
    distance = abs(estimate.value - limit)
    above = estimate.value > limit
    half = estimate.value - estimate.low if above else estimate.high - estimate.value
    if distance == 0:
        return None
    factor = (half / distance) ** 2
    return None if estimate.n * factor > 1e15 else max(1, math.ceil(estimate.n * factor))


def psi(x: Counts, y: Counts, *, n: float | None = None, m: float | None = None) -> Statistic:
    """Population stability index, less its small-sample bias: Σ (q−p)·ln(q/p).

    Half a count is added to each bin, so that an empty one is no infinity; bins that are empty on
    both sides do not count. Equal populations show (K−1)(1/n + 1/m) on average: that is the bias.
    The variance is the delta method's plus the χ² term that is left where its gradient vanishes
    (Yurdakul & Naranjo 2020, "Statistical properties of the population stability index").
    """
    a, b, n, m, k = _paired(x, y, n, m)
    p = (a + PSEUDO_COUNT) / (n + PSEUDO_COUNT * k)
    q = (b + PSEUDO_COUNT) / (m + PSEUDO_COUNT * k)
    log = np.log(q / p)
    raw = float(np.sum((q - p) * log))
    noise = (k - 1) * (1 / n + 1 / m)
    variance = (
        _variance(p, -log + 1 - q / p) / n
        + _variance(q, log + 1 - p / q) / m
        + 2 * noise * (1 / n + 1 / m)
    )
    least = (k - 1) * float(1 / np.sum(x) + 1 / np.sum(y))
    deviation = math.sqrt(variance)
    return normal(raw - noise, deviation, math.inf, int(min(n, m)), extra=noise - least)


def js(x: Counts, y: Counts, *, n: float | None = None, m: float | None = None) -> Statistic:
    """Jensen–Shannon divergence in nats (at most ln 2), less its bias (K−1)(1/n + 1/m)/8.

    SciPy's `jensenshannon` is the square root of the uncorrected value.
    """
    a, b, n, m, k = _paired(x, y, n, m)
    p, q = a / n, b / m
    middle = (p + q) / 2
    log_p = np.log(np.divide(p, middle, out=np.ones_like(p), where=p > 0))
    log_q = np.log(np.divide(q, middle, out=np.ones_like(q), where=q > 0))
    raw = float(np.sum(p * log_p) + np.sum(q * log_q)) / 2
    noise = (k - 1) * (1 / n + 1 / m) / 8
    variance = (
        _variance(p, log_p / 2) / n + _variance(q, log_q / 2) / m + 2 * noise * (1 / n + 1 / m) / 8
    )
    least = (k - 1) * float(1 / np.sum(x) + 1 / np.sum(y)) / 8
    deviation = math.sqrt(variance)
    return normal(raw - noise, deviation, math.log(2), int(min(n, m)), extra=noise - least)


def ks(
    x: Counts,
    y: Counts,
    single: Sequence[bool],
    *,
    n: float | None = None,
    m: float | None = None,
) -> Statistic:
    """Kolmogorov–Smirnov distance: the largest difference of the two cumulated shares.

    At the edges of the bins it is exact: that is the value. Inside a bin that holds more than one
    value (`single` says which do not) it may be larger, which widens the interval upwards. The
    sampling error is Dvoretzky, Kiefer and Wolfowitz' with Massart's constant, half of it each.
    """
    a, b, n, m = _sizes(x, y, n, m)
    f, g = _cumulated(a), _cumulated(b)
    low = float(np.max(np.abs(f - g)))
    inside = (a > 0) & (b > 0) & ~np.asarray(single, dtype=bool)
    reach = np.maximum(g[1:] - f[:-1], f[1:] - g[:-1])
    high = max(low, float(np.max(reach, where=inside, initial=0.0)))

    def interval(confidence: float) -> tuple[float, float]:
        half = math.sqrt(math.log(4 / (1 - confidence)) / 2) * (n**-0.5 + m**-0.5)
        return max(0.0, low - half), min(1.0, high + half)

    return Statistic(low, int(min(n, m)), interval)


def wasserstein(
    x: Counts,
    y: Counts,
    grid: Sequence[float],
    single: Sequence[bool],
    *,
    n: float | None = None,
    m: float | None = None,
) -> Statistic | None:
    """Wasserstein-1 distance, in standard deviations of the reference x; None when that has none.

    `grid` are the K+1 finite ends of the K bins. Values are taken as spread evenly over their bin,
    or at its upper end where it can hold one value only; what that may be wrong by is in the
    interval, and so is the sampling error: the area under the standard deviation of F−G, times
    z + √(2/π), which bounds the L1 norm of a Gaussian process.
    """
    a, b, n, m = _sizes(x, y, n, m)
    ends, one = np.asarray(grid, dtype=np.float64), np.asarray(single, dtype=bool)
    width = np.diff(ends)
    scale = _deviation(a, ends, one)
    if scale == 0 or not math.isfinite(scale):
        return None
    f, g = _cumulated(a), _cumulated(b)
    d = f - g
    left, right = np.abs(d[:-1]), np.abs(d[1:])
    crossing = d[:-1] * d[1:] < 0
    total = np.where(left + right > 0, left + right, 1.0)
    mean = np.where(crossing, (left**2 + right**2) / (2 * total), (left + right) / 2)
    value = float(np.sum(width * np.where(one, left, mean))) / scale
    within = np.where(one, 0.0, width * (a / a.sum() + b / b.sum()) / 2)
    slack = float(np.sum(within)) / scale
    spread = np.sqrt(f * (1 - f) / n + g * (1 - g) / m)
    area = float(np.sum(width * (spread[:-1] + spread[1:]) / 2)) / scale

    def interval(confidence: float) -> tuple[float, float]:
        half = slack + (two_sided(confidence) + _MEAN_OF_ABSOLUTE_NORMAL) * area
        return max(0.0, value - half), value + half

    return Statistic(value, int(min(n, m)), interval)


def share(part: float, n: float) -> Statistic:
    """A proportion, `part` of n, with Wilson's interval."""
    return Statistic(part / n, int(n), lambda confidence: wilson(part, n, confidence))


def rise(part: float, n: float, later_part: float, m: float) -> Statistic:
    """How much a proportion rose (negative: fell), with Newcombe's interval (1998, method 10)."""
    value = later_part / m - part / n
    return Statistic(
        value, int(min(n, m)), lambda confidence: newcombe(part, n, later_part, m, confidence)
    )


def _paired(
    x: Counts, y: Counts, n: float | None, m: float | None
) -> tuple[Floats, Floats, float, float, int]:
    """Counts of independent observations without the bins that are empty on both sides."""
    a, b, n, m = _sizes(x, y, n, m)
    filled = (a > 0) | (b > 0)
    return a[filled], b[filled], n, m, int(np.count_nonzero(filled))


def _sizes(
    x: Counts, y: Counts, n: float | None, m: float | None
) -> tuple[Floats, Floats, float, float]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"counts over different bins: {a.shape} and {b.shape}")
    if a.sum() == 0 or b.sum() == 0:
        raise ValueError("a sample without observations")
    n, m = float(a.sum()) if n is None else n, float(b.sum()) if m is None else m
    return a * (n / a.sum()), b * (m / b.sum()), n, m


def normal(
    value: float, deviation: float, ceiling: float, n: int, *, extra: float = 0.0
) -> Statistic:
    """A value ≥ 0 with a normal error; the interval is that of the value before it was cut at 0.

    `extra` is by how much the value may be corrected too far, and is added to the upper end.
    """

    def interval(confidence: float) -> tuple[float, float]:
        half = two_sided(confidence) * deviation
        return min(max(value - half, 0.0), ceiling), min(max(value + extra + half, 0.0), ceiling)

    return Statistic(min(max(value, 0.0), ceiling), n, interval)


def _variance(p: Floats, gradient: Floats) -> float:
    """Variance of Σ gradient·(share of the bin), times the sample size, for a multinomial."""
    mean = float(np.sum(p * gradient))
    return max(float(np.sum(p * gradient**2)) - mean**2, 0.0)


def _cumulated(counts: Floats) -> Floats:
    total = np.concatenate([[0.0], np.cumsum(counts)])
    shares: Floats = np.minimum(total / total[-1], 1.0)
    return shares


def _deviation(counts: Floats, ends: Floats, single: NDArray[np.bool_]) -> float:
    """Standard deviation of values that are spread as `wasserstein` says."""
    p = counts / counts.sum()
    middle = np.where(single, ends[1:], (ends[:-1] + ends[1:]) / 2)
    within = np.where(single, 0.0, np.diff(ends) ** 2 / 12)
    mean = float(np.sum(p * middle))
    return math.sqrt(float(np.sum(p * ((middle - mean) ** 2 + within))))
