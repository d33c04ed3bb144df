"""Paired comparison with the source model: how much worse, at which confidence, and how many more.

Every bound is one-sided at its confidence: `low` at 95 % is exceeded in 95 of 100 repetitions,
and so is `high` fallen short of. A gate looks at one end, so that is the error rate it keeps.

Proportions of the same samples are compared by Tango's score interval ("Equivalence test and
confidence interval for the difference in proportions for the paired-sample design", Statistics
in Medicine 17, 1998): unlike a bootstrap it is not empty when no pair disagrees, and unlike a
Wald interval it keeps its error rate there. The exact binomial bound on what was lost takes its
place where nothing was won (the score's is too small there at 95 %, and too large at 99 %), and
where it is smaller: what was won cannot speak against a candidate.

Passing needs every gate to hold, an intersection-union test (Berger 1982): its error rate is that
of a single gate, without correction. Naming the classes that dropped is a multiple test, and that
is where Holm's correction applies.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float, float]  # confidence, low, high
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

RESAMPLES: Final = 1000
FEWEST: Final = 30


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
    exact = _exact_upper(lost, n, confidence)  # what was lost, whatever was won
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


def proportion(right: float, n: float, confidence: float) -> Interval:
    """One-sided Clopper–Pearson bounds of a share, each exact at `confidence`."""
    return (
        confidence,
        1 - _exact_upper(n - right, n, confidence),
        _exact_upper(right, n, confidence),
    )


@lru_cache(maxsize=4096)
def _exact_upper(count: float, n: float, confidence: float) -> float:
    """The p at which `count` or fewer of `n` has probability 1 − confidence."""
    if count >= n:
        return 1.0

    def excess(p: float) -> float:
        # P(X ≤ k) for X ~ B(n, p) is the regularised incomplete beta I(1−p; n−k, k+1).
        return _incomplete_beta(1 - p, n - count, count + 1) - (1 - confidence)

    return _root(excess, count / n, 1.0)


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


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return min(1.0, max(0.0, x))
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1 / max(1 - (a + b) * x / (a + 1), tiny)
    total = d
    for m in range(1, 1000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + step * d or tiny)
            c = 1 + step / c or tiny
            total *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return front * total / a


Statistic = Callable[[NDArray[np.intp]], float]


def resample(statistics: Sequence[Statistic], n: int, *, seed: int = 0) -> Floats:
    """Each statistic, a function of sample indices, on the same bootstrap draws [draws, statistics].

    Empty below 30 samples: a resampled handful says nothing about its own spread.
    """
    if n < FEWEST:
        return np.empty((0, len(statistics)))
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, n, n) for _ in range(RESAMPLES))
    return np.array([[statistic(draw) for statistic in statistics] for draw in draws])


def percentiles(
    draws: Floats, center: float, n: int, confidences: Sequence[float], projected: float = 1.0
) -> tuple[Interval, ...]:
    """One-sided percentile bounds out of bootstrap `draws` of a value that is `center` on all.

    The ends are moved out by √(n / (n − 1)) · t/z, as far as a mean's bootstrap is too narrow.
    `projected` is the number of times as many samples to foresee the interval for. Empty when
    most draws have no finite value.
    """
    draws = draws[np.isfinite(draws)]
    if len(draws) < RESAMPLES // 2 or not math.isfinite(center):
        return ()
    found = []
    for confidence in confidences:
        z = NormalDist().inv_cdf(confidence)
        # Cornish–Fisher expansion of Student's t in powers of 1/(n − 1).
        wider = (1 + (z * z + 1) / (4 * (n - 1))) * math.sqrt(n / (n - 1)) / math.sqrt(projected)
        low, high = np.quantile(draws, (1 - confidence, confidence))
        below = min(float(low) - center, 0.0) * wider
        above = max(float(high) - center, 0.0) * wider
        found.append((confidence, center + below, center + above))
    return tuple(found)


def holm(p_values: Iterable[float]) -> tuple[float, ...]:
    """Holm's step-down adjustment (Scandinavian Journal of Statistics 6, 1979), in given order."""
    values = list(p_values)
    adjusted = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return tuple(adjusted)
