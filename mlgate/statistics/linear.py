"""Numbers that are (nearly) means of independent units, and their intervals.

Most metrics are means, ratios of means, or close to one: what each row adds to a metric's error is
known by a formula (the delta method; the infinitesimal jackknife, Efron 1982). Rows that belong
together, repeated ones or those of one patient, are summed before they are squared, so that what
counts is the number of units (Liang and Zeger, Biometrika 73, 1986).

No interval has width zero. A metric with a known range gets the bound of Gaffke (2005; Learned-
Miller and Thomas 2020): the mean of the sample and of one more unit at the end of the range, under
weights that are uniform on the simplex. Of zeros and ones that is Clopper–Pearson's bound exactly.
Here the weighted mean's distribution is the beta distribution of equal mean and variance, which for
zeros and ones it is. Any other metric gets Student's bound, moved outwards where the sample is
skewed (Johnson, JASA 73, 1978), and at least what a unit that was never seen may be worth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mlgate.statistics.intervals import Interval
from mlgate.statistics.means import student_quantile

Floats = NDArray[np.float64]
Clusters = NDArray[np.intp]


@dataclass(frozen=True)
class Linear:
    """A value and what each of n rows adds to its error.

    `influence` [n] is the row's part of (value − truth); `leverage` [n] ≥ 0 is the most that a row
    can move the value when a row's own number moves by one. `excess` is by how much the value is too
    large on average, at most, and `lack` by how much it is too small.
    """

    value: float
    influence: Floats
    leverage: Floats
    excess: float = 0.0
    lack: float = 0.0

    def minus(self, other: "Linear") -> "Linear":
        """This less another of the same rows."""
        return Linear(
            self.value - other.value,
            self.influence - other.influence,
            np.maximum(self.leverage, other.leverage),
            self.excess + other.lack,
            self.lack + other.excess,
        )

    def over(self, other: "Linear") -> "Linear":
        """This divided by another of the same rows, whose value is not zero."""
        value = self.value / other.value
        return Linear(
            value,
            (self.influence - value * other.influence) / other.value,
            np.maximum(self.leverage, other.leverage),
            (self.excess + value * other.lack) / other.value,
            (self.lack + value * other.excess) / other.value,
        )

    @property
    def reach(self) -> float:
        """How far a row's own number is from zero or from the value, at most; 1 where all are 0."""
        apart = np.divide(
            self.influence,
            self.leverage,
            out=np.zeros_like(self.influence),
            where=self.leverage > 0,
        )
        return max(abs(self.value), float(np.abs(apart).max(initial=0.0))) or 1.0


def mean(values: Floats) -> Linear:
    """The mean of one number per row [n]."""
    n = len(values)
    if not n:
        return Linear(math.nan, values, values)
    value = float(values.mean())
    return Linear(value, (values - value) / n, np.full(n, 1 / n))


def ratio(numerators: Floats, denominators: Floats) -> Linear:
    """Σ numerators / Σ denominators [n]; NaN when nothing is counted below."""
    total = float(denominators.sum())
    if total <= 0:
        return Linear(math.nan, np.zeros(len(numerators)), np.zeros(len(numerators)))
    value = float(numerators.sum()) / total
    return Linear(value, (numerators - value * denominators) / total, denominators / total)


def average(parts: Sequence[Linear]) -> Linear:
    """The plain mean of several numbers of the same rows, as of the recalls of all classes."""
    count = len(parts)
    if not count:
        return Linear(math.nan, np.empty(0), np.empty(0))
    return Linear(
        sum(part.value for part in parts) / count,
        np.asarray(sum(part.influence for part in parts) / count),
        np.asarray(sum(part.leverage for part in parts) / count),
    )


@dataclass(frozen=True)
class Spread:
    """What an interval is worked out of.

    `units` is how many independent units of equal weight would say as much (Kish 1965),
    `variance` that of one such unit, `skewness` that of what the units add to the error; the units
    that were seen lie from `below` ≤ 0 to `above` ≥ 0 about the value.
    """

    value: float
    variance: float
    units: float
    below: float = 0.0
    above: float = 0.0
    skewness: float = 0.0
    excess: float = 0.0
    lack: float = 0.0

    @classmethod
    def of(cls, linear: Linear, clusters: Clusters | None = None) -> "Spread":
        """`clusters` [n] numbers the unit of each row; None: each row is one."""
        influence, leverage = linear.influence, linear.leverage
        if clusters is not None and len(clusters):
            influence = np.bincount(clusters, influence).astype(np.float64)
            leverage = np.bincount(clusters, leverage).astype(np.float64)
        # Sums in one order on every machine, which a product of vectors by BLAS is not.
        weight = float(np.sum(leverage * leverage))
        if not weight or not math.isfinite(linear.value):
            return cls(math.nan, math.nan, 0.0)
        units = 1 / weight
        squares = influence * influence
        square = float(np.sum(squares))
        skewness = 0.0  # of what varies; a spread of rounding errors has none
        if square > 1e-200:
            cube = float(np.sum(squares * influence))
            skewness = cube / square**1.5 * math.sqrt(units)
        apart = np.divide(influence, leverage, out=np.zeros_like(influence), where=leverage > 0)
        return cls(
            linear.value,
            square * units,
            units,
            below=float(apart.min(initial=0.0)),
            above=float(apart.max(initial=0.0)),
            skewness=skewness,
            excess=linear.excess,
            lack=linear.lack,
        )

    def projected(self, factor: float) -> "Spread":
        """The same of `factor` times as many units."""
        return replace(self, units=self.units * factor)

    def within(self, least: float, most: float, confidence: float) -> Interval:
        """One-sided bounds of a value that lies between `least` and `most`."""
        nearest = max(least, self.value + self.below)
        farthest = min(most, self.value + self.above)
        low = -self._upper(-self.value, -farthest, -least, confidence)
        high = self._upper(self.value, nearest, most, confidence)
        low = max(least, min(low, self.value) - self.excess)
        high = min(most, max(high, self.value) + self.lack)
        return confidence, low, high

    def _upper(self, value: float, least: float, most: float, confidence: float) -> float:
        """A bound of `value`, where the units seen are at least `least` and all at most `most`."""
        n, span = self.units, most - least
        if span <= 0:
            return most
        centre = (value * n + most) / (n + 1)
        spread = n * self.variance + n / (n + 1) * (most - value) ** 2
        share = (centre - least) / span
        variance = spread / ((n + 1) * (n + 2)) / span**2
        if share >= 1 or variance <= 0:
            return most
        size = share * (1 - share) / variance - 1
        if size <= 1e-9:  # a few heavy clusters: no bound but the range
            return most
        return least + span * float(
            special.betaincinv(share * size, (1 - share) * size, confidence)
        )

    def around(self, reach: float, confidence: float) -> Interval:
        """One-sided bounds of a value without a known range; `reach` is `Linear.reach`.

        An end is never nearer than the chance that a unit of that size was never seen.
        """
        n = self.units
        error = math.sqrt(self.variance / max(n - 1, 1e-9))
        quantile = student_quantile(confidence, max(n - 1, 1.0))
        # Half the quantile at most: of few units the skewness is hardly known.
        moved = self.skewness * (1 + 2 * quantile**2) / (6 * math.sqrt(n))
        moved = max(-quantile / 2, min(moved, quantile / 2))
        unseen = reach * (1 - (1 - confidence) ** (1 / n))
        low = self.value - max(error * (quantile + max(-moved, 0.0)), unseen) - self.excess
        high = self.value + max(error * (quantile + max(moved, 0.0)), unseen) + self.lack
        return confidence, low, high
