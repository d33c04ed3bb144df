"""Percentiles by order statistics: a value, and bounds that hold for any distribution."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mlgate.statistics.binomial import binomial_cdf, largest_unlikely
from mlgate.statistics.intervals import Estimate
from mlgate.statistics.multiplicity import spent

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PERCENTILES: Final = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99, "p999": 0.999}


@lru_cache(4096)
def discardable(n: int, percentile: float, confidence: float) -> int | None:
    """How many of the slowest of `n` queries LoadGen drops before it reads the percentile's bound.

    MLPerf inference rules, appendix "Early stopping": with t the largest count for which
    P(Bin(n, 1 − p) ≤ t) ≤ 1 − c, t − 1 are dropped and the slowest of the rest is a one-sided
    upper bound. None: too few queries for any bound.
    """
    t = largest_unlikely(n, 1.0 - percentile, confidence)
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
        below = largest_unlikely(n, percentile, level)
        high = None if dropped is None else float(ordered[n - 1 - dropped])
        low = None if below is None else float(ordered[below])
        bounds.append((confidence, low, high))
    return Estimate(percentile_of(ordered, percentile), tuple(bounds), n)
