"""What an interval is, wherever one is worked out.

Every bound is one-sided at its confidence: `low` at 95 % is at or below the truth in 95 of 100
repetitions, and `high` at or above it. A gate looks at one end, so that is the error rate it keeps.
"""

from dataclasses import dataclass

Interval = tuple[float, float, float]  # confidence, low, high


@dataclass(frozen=True)
class Estimate:
    """A number and its interval at each confidence: (confidence, low, high); None is unbounded.

    `n` is the number of observations behind it.
    """

    value: float
    bounds: tuple[tuple[float, float | None, float | None], ...]
    n: int
