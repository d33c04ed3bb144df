"""Means of independent numbers, plain and trimmed, with Student's bounds."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from mlgate.statistics.intervals import Estimate
from mlgate.statistics.multiplicity import spent

Integers = npt.NDArray[np.int64]


@lru_cache(1024)
def student_quantile(probability: float, degrees: float) -> float:
    """Quantile of Student's t with `degrees` of freedom; `probability` within (0, 1)."""
    if not 0.0 < probability < 1.0:
        raise ValueError(f"{probability} is not within (0, 1)")
    return float(special.stdtrit(degrees, probability))


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
    """20 % trimmed mean of one number per cluster, with one-sided bounds.

    Of n values the h = n − 2⌊n/5⌋ middle ones are kept; the squared standard error is their
    winsorised sum of squares over h (h − 1), with h − 1 degrees of freedom (Yuen 1974). Raises
    `ValueError` for fewer than three clusters.
    """
    ordered = np.sort(np.asarray(clusters, dtype=np.float64))
    n = len(ordered)
    if n < 3:
        raise ValueError(f"{n} clusters are too few to compare")
    cut = n // 5
    kept = n - 2 * cut
    middle = float(ordered[cut : n - cut].mean())
    winsorised = np.clip(ordered, ordered[cut], ordered[n - 1 - cut])
    squares = float(((winsorised - winsorised.mean()) ** 2).sum())
    error = math.sqrt(squares / (kept * (kept - 1)))
    bounds = []
    for confidence in confidences:
        reach = student_quantile(spent(confidence, looks), kept - 1) * error
        bounds.append((confidence, middle - reach, middle + reach))
    return Estimate(middle, tuple(bounds), n)


def next_spread(
    values: Sequence[float], confidences: Sequence[float], looks: int = 1
) -> tuple[float | None, ...]:
    """How far the next value may lie from the mean of these, one-sided, at each confidence.

    Student's prediction interval for one more independent value, s √(1 + 1/n) t (Hahn and Meeker,
    Statistical Intervals, 1991, 4.7). None for fewer than two values: nothing is known then.
    """
    n = len(values)
    if n < 2:
        return tuple(None for _ in confidences)
    deviation = float(np.asarray(values, dtype=np.float64).std(ddof=1))
    scale = deviation * math.sqrt(1 + 1 / n)
    return tuple(student_quantile(spent(c, looks), n - 1) * scale for c in confidences)


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
