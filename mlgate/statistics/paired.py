"""Proportions of the same samples: how much worse is the one than the other, at which confidence.

They are compared by Tango's score interval ("Equivalence test and confidence interval for the
difference in proportions for the paired-sample design", Statistics in Medicine 17, 1998): unlike
a bootstrap it is not empty when no pair disagrees, and unlike a Wald interval it keeps its error
rate there. The exact binomial bound on what was lost takes its place where nothing was won (the
score's is too small there at 95 %, and too large at 99 %), and where it is smaller: what was won
cannot speak against a candidate.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mlgate.statistics.binomial import exact_upper
from mlgate.statistics.intervals import Interval

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Pairs:
    """Counts of a paired comparison of yes/no answers on the same n samples.

    `lost` were right with the source and are wrong now; `won` the reverse. Counts may be
    fractions when they are projected to another number of samples.
    """

    lost: float
    won: float
    n: float

    @classmethod
    def of(cls, source: Flags, candidate: Flags) -> "Pairs":
        return cls(
            float(np.count_nonzero(source & ~candidate)),
            float(np.count_nonzero(~source & candidate)),
            float(len(source)),
        )

    @property
    def difference(self) -> float:
        return (self.won - self.lost) / self.n

    def scaled(self, factor: float) -> "Pairs":
        """The same shares among `factor` times as many samples."""
        return Pairs(self.lost * factor, self.won * factor, self.n * factor)

    def interval(self, confidence: float) -> Interval:
        """One-sided bounds of candidate − source, each at `confidence`."""
        low = -_largest_drop(self.lost, self.won, self.n, confidence)
        high = _largest_drop(self.won, self.lost, self.n, confidence)
        return confidence, low, high

    def mcnemar(self) -> float:
        """Exact two-sided p of "the source and the candidate are right equally often"."""
        discordant = round(self.lost + self.won)
        fewer = round(min(self.lost, self.won))
        tail = sum(math.comb(discordant, i) for i in range(fewer + 1))
        return float(min(1.0, 2 * tail / 2**discordant)) if discordant else 1.0

    def needed(self, max_drop: float, confidence: float, power: float = 0.8) -> int:
        """Samples that decide a gate on `max_drop` with `power`, if nothing is truly lost."""
        share = max(self.lost + self.won, 1.0) / self.n
        z = NormalDist().inv_cdf(confidence) + NormalDist().inv_cdf(power)
        return math.ceil(z * z * share / max(max_drop, 1e-9) ** 2)


@lru_cache(maxsize=4096)
def _largest_drop(lost: float, won: float, n: float, confidence: float) -> float:
    """The largest drop that `lost`, `won` of `n` do not contradict, an upper bound."""
    exact = exact_upper(lost, n, confidence)  # what was lost, whatever was won
    if won == 0:
        return exact
    z = NormalDist().inv_cdf(confidence)
    return min(exact, _root(lambda drop: _score(lost, won, n, drop) + z, (lost - won) / n, 1.0))


def _score(lost: float, won: float, n: float, drop: float) -> float:
    """Tango's statistic for "the true drop is `drop`"; falls as `drop` grows."""
    # The share of `won` that is most likely when the drop is given (his equation 8).
    a = 2 * n
    b = -lost - won + (2 * n - lost + won) * drop
    c = -won * drop * (1 - drop)
    share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * share + drop * (1 - drop))
    distance = lost - won - n * drop
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where f, positive at `low` and negative at `high`, is zero: Illinois, at times bisecting."""
    f_low, f_high = f(low), f(high)
    for step in range(100):
        if high - low < 1e-13:
            break
        middle = (low + high) / 2
        if step % 3 and math.isfinite(f_high) and math.isfinite(f_low):
            middle = high - f_high * (high - low) / (f_high - f_low)
        value = f(middle)
        if abs(value) < 1e-13:
            return middle
        if value > 0:
            low, f_low, f_high = middle, value, f_high / 2
        else:
            high, f_high, f_low = middle, value, f_low / 2
    return (low + high) / 2
