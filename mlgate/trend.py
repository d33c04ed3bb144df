"""How a metric grows over weeks: a robust slope with an interval, and the gate on it.

Best fed with ratios to a frozen anchor model that was measured in the same run: what is a slower
machine then cancels, and what is left is the model's own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mlgate.evidence import rounded
from mlgate.gate import GateResult, Outcome
from mlgate.statistics.trends import theil_sen

LEAST_POINTS: Final = 8
LEAST_DAYS: Final = 1.0
_NEEDED: Final = f"at least {LEAST_POINTS} runs over a day are needed"
_MOST_POINTS: Final = 400  # 80,000 slopes; of a longer history the last ones count


@dataclass(frozen=True)
class Trend:
    """Growth a week as a share (0.1: ten percent), its one-sided bounds, and what is behind it.

    `n` is the number of points, `days` how far the first and the last are apart; within a day
    there is no growth, and an end that the points do not bound is None.
    """

    growth: float | None
    low: float | None
    high: float | None
    n: int
    days: float


def weekly_growth(
    days: Sequence[float], values: Sequence[float], confidence: float = 0.95
) -> Trend:
    """Theil–Sen slope of ln(value) over time, with Sen's rank interval (Sen 1968, JASA 63).

    `days` are times in days, in any order; `values` are above 0. Each bound is one-sided at
    `confidence`; too few points leave it open. The interval supposes points whose noise is
    independent. Raises `ValueError` for a value that is not above 0.
    """
    if len(days) != len(values):
        raise ValueError("days and values differ in number")
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise ValueError("a growth is of finite numbers above 0")
    points = sorted(zip(days, map(math.log, values), strict=True))[-_MOST_POINTS:]
    apart = points[-1][0] - points[0][0] if points else 0.0
    if apart < LEAST_DAYS:  # noise of minutes, drawn out to a week, is no growth
        return Trend(None, None, None, len(points), apart)
    slope, low, high = theil_sen(
        [day for day, _ in points], [logarithm for _, logarithm in points], confidence
    )
    return Trend(
        growth=_weekly(slope),
        low=None if low is None else _weekly(low),
        high=None if high is None else _weekly(high),
        n=len(points),
        days=apart,
    )


def judge(
    metric: str, where: Mapping[str, str], found: Trend, limit: float, title: str
) -> GateResult:
    """Hold a trend against the largest weekly growth that passes (0.1: ten percent).

    The whole interval has to be within the limit. A short history is inconclusive, never a pass.
    """
    outcome, says = Outcome.INCONCLUSIVE, f" may or may not be ≤ {percent(limit)}"
    if found.growth is None:
        says = f": {_NEEDED}"
    elif found.n < LEAST_POINTS:
        says += f": {_NEEDED}"
    elif found.low is not None and found.low > limit:
        outcome, says = Outcome.FAIL, f" > {percent(limit)}"
    elif found.high is not None and found.high <= limit:
        outcome, says = Outcome.PASS, f" ≤ {percent(limit)}"
    return GateResult(
        metric=metric,
        where=dict(where),
        observed=found.growth,
        low=found.low,
        high=found.high,
        limit=f"growth ≤ {percent(limit)} a week",
        outcome=outcome.word,
        message=f"{title} {words(found)}{says}",
    )


def words(found: Trend) -> str:
    """A trend as people read it."""
    runs = "1 run" if found.n == 1 else f"{found.n} runs over {_span(found.days)}"
    if found.growth is None:
        return f"has too short a history for a trend ({runs})"
    low = "−∞" if found.low is None else percent(found.low)
    ends = f"[{low}, {percent(found.high)}]"
    return f"grows {percent(found.growth)} {ends} a week ({runs})"


def percent(share: float | None) -> str:
    """A share as people read it; an upper end that is open is ∞."""
    return "∞" if share is None else f"{100 * share:,.3g} %"


def _span(days: float) -> str:
    """A time in the largest unit of which it is at least one."""
    for unit, size in (("day", 1.0), ("hour", 24.0), ("minute", 1440.0)):
        if days * size >= 1:
            count = f"{days * size:.3g}"
            return f"{count} {unit}{'' if count == '1' else 's'}"
    return "less than a minute"


def _weekly(slope: float) -> float:
    """Growth of seven days from a slope of logarithms a day; beyond all numbers it is 1e300."""
    return rounded(math.expm1(min(7 * slope, 690.0))) + 0.0
