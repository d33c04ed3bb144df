"""How a metric drifts over weeks: a robust slope of log-ratios, with an interval.

Points are ratios to a frozen anchor model that was measured in the same run, so that a new
runner type changes nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Trend:
    """Growth a week as a share (0.1: ten percent), its one-sided bounds, and points behind it."""

    growth: float
    low: float | None
    high: float | None
    n: int


def weekly_growth(
    days: Sequence[float], ratios: Sequence[float], confidence: float = 0.95
) -> Trend:
    """Theil–Sen slope of ln(ratio) over time, with Sen's rank interval (Sen 1968).

    `days` are times in days, in any order; `ratios` are above 0. Each bound is one-sided at
    `confidence`; too few points leave it open. Raises `ValueError` for fewer than two distinct
    days or a ratio not above 0.
    """
    times = np.asarray(days, dtype=np.float64)
    values = np.asarray(ratios, dtype=np.float64)
    if len(times) != len(values):
        raise ValueError("days and ratios differ in number")
    if not np.all(np.isfinite(values)) or np.any(values <= 0):
        raise ValueError("a ratio is a finite number above 0")
    first, second = np.triu_indices(len(times), 1)
    apart = times[second] - times[first]
    usable = apart != 0
    if not usable.any():
        raise ValueError("a trend needs two distinct days")
    logs = np.log(values)
    slopes = np.sort((logs[second] - logs[first])[usable] / apart[usable])
    low, high = _interval(slopes, len(times), confidence)
    return Trend(
        growth=math.expm1(7 * float(np.median(slopes))),
        low=None if low is None else math.expm1(7 * low),
        high=None if high is None else math.expm1(7 * high),
        n=len(times),
    )


def _interval(slopes: np.ndarray, n: int, confidence: float) -> tuple[float | None, float | None]:
    """Slopes between which Kendall's S is not surprising, from its normal approximation."""
    reach = _normal_quantile(confidence) * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    lower = math.floor((len(slopes) - reach) / 2) - 1
    upper = math.ceil((len(slopes) + reach) / 2)
    low = float(slopes[lower]) if lower >= 0 else None
    high = float(slopes[upper]) if upper < len(slopes) else None
    return low, high


def _normal_quantile(probability: float) -> float:
    low, high = -40.0, 40.0
    for _ in range(200):
        middle = (low + high) / 2
        if 0.5 * math.erfc(-middle / math.sqrt(2)) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2
