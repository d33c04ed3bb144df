"""Evidence rows of one candidate: every task metric with its intervals, paired with the source.

A gate on the change of a proportion looks at the paired score interval, every other metric at a
bootstrap over samples. `projected` foresees the intervals on another number of samples; that is
how the search guesses whether a candidate would be confirmed. An interval may be worked out at
another level than the confidence that it stands for, where several looks share a gate's error.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlgate.evidence import Bounds, Comparison, Measurement, measured, rounded, unmeasured
from mlgate.metrics.custom import Custom
from mlgate.metrics.options import Task
from mlgate.statistics.binomial import clopper_pearson
from mlgate.statistics.bootstrap import FEWEST, Statistic, percentiles, resample
from mlgate.statistics.intervals import Interval
from mlgate.statistics.paired import Pairs

Array = NDArray[Any]
Flags = NDArray[np.bool_]
Index = NDArray[np.intp]
Row = Measurement | Comparison


@dataclass(frozen=True)
class Scoring:
    """What to measure. `wanted` are the metrics that gates name: costly ones need that.

    With `only_wanted`, nothing else is measured at all.
    """

    task: Task
    output: str
    confidences: tuple[float, ...]
    wanted: frozenset[str]
    classes: tuple[str, ...] = ()
    top_k: tuple[int, ...] = ()
    threshold: float = 0.5
    custom: tuple[tuple[str, Custom], ...] = ()
    by_class_and_slice: bool = False
    projected: float = 1.0
    only_wanted: bool = False
    spent: float = 1.0
    at_most: float = 1.0

    def gated(self) -> "Scoring":
        """The same, and only what gates look at."""
        return replace(self, only_wanted=True)

    def foreseeing(self, factor: float) -> "Scoring":
        """The same, for `factor` times as many samples."""
        return replace(self, projected=factor)

    def spending(self, share: float) -> "Scoring":
        """The same, where each interval may err only `share` as often as its confidence says."""
        return replace(self, spent=share)

    def loosely(self, level: float) -> "Scoring":
        """The same with intervals at `level` at most, whatever confidence they stand for."""
        return replace(self, at_most=level)

    @property
    def levels(self) -> tuple[tuple[float, float], ...]:
        """(the confidence an interval stands for, the level that it is worked out at)."""
        return tuple((c, min(1 - (1 - c) * self.spent, self.at_most)) for c in self.confidences)

    def wants(self, name: str) -> bool:
        return not self.only_wanted or name in self.wanted


@dataclass(frozen=True)
class Seen:
    """What both models gave on the same samples: outputs by name [n, …], labels, slices."""

    source: Mapping[str, Array]
    candidate: Mapping[str, Array]
    labels: Array | None
    slices: Mapping[str, Array]

    def first(self, count: int) -> "Seen":
        """The first `count` samples."""
        return Seen(
            {name: value[:count] for name, value in self.source.items()},
            {name: value[:count] for name, value in self.candidate.items()},
            None if self.labels is None else self.labels[:count],
            {name: value[:count] for name, value in self.slices.items()},
        )


def groups(seen: Seen, count: int) -> Iterator[tuple[dict[str, str], Index]]:
    """All samples, then those of each slice, with the labels that say so."""
    yield {}, np.arange(count)
    for column in sorted(seen.slices):
        for value in sorted(set(seen.slices[column].tolist())):
            yield {"slice": f"{column}={value}"}, np.flatnonzero(seen.slices[column] == value)


def share(scoring: Scoring, name: str, right: Flags, labels: Mapping[str, str]) -> Measurement:
    """A share with exact bounds; what no sample speaks for is not measured."""
    n, k = len(right), scoring.projected
    if n == 0:
        return unmeasured(name, "no sample to measure it on", labels=labels)
    hits = float(np.count_nonzero(right))
    bounds = [(c, *clopper_pearson(hits * k, n * k, level)[1:]) for c, level in scoring.levels]
    return measured(name, hits / n, labels=labels, bounds=bounds, n=n)


def paired(
    scoring: Scoring, name: str, before: Flags, after: Flags, labels: Mapping[str, str]
) -> Iterator[Row]:
    yield share(scoring, name, after, labels)
    n, k = len(after), scoring.projected
    if n == 0:
        yield _uncompared(name, "no sample to measure it on", 0, labels)
        return
    pairs = Pairs.of(before, after).scaled(k)
    had = float(np.count_nonzero(before))
    differences = [(c, *pairs.interval(level)[1:]) for c, level in scoring.levels]
    ratios = []
    for c, level in scoring.levels if had else ():
        # The change and what it is a share of, each at half the error: both hold at `level`.
        half = (1 + level) / 2
        _, low, high = pairs.interval(half)
        least = max(clopper_pearson(had * k, n * k, half)[1], 1e-12)
        ratios.append((c, max(0.0, 1 + min(low / least, low)), 1 + max(high / least, high)))
    yield Comparison(
        name=name,
        to="source",
        value=rounded(float(np.count_nonzero(after)) / n),
        reference=rounded(had / n),
        labels=dict(labels),
        difference=bounds_of(differences),
        ratio=bounds_of(ratios),
        n=n,
    )


def mean(
    scoring: Scoring, name: str, values: NDArray[np.float64], labels: Mapping[str, str]
) -> Measurement:
    """The mean of one number per sample, with a bootstrap interval."""
    n = len(values)
    draws = resample([lambda index: float(values[index].mean())], n)
    center = float(values.mean()) if n else np.nan
    return _measurement(scoring, name, draws[:, 0], center, n, labels)


def both(
    scoring: Scoring,
    name: str,
    before: Statistic,
    after: Statistic,
    n: int,
    labels: Mapping[str, str],
) -> Iterator[Row]:
    """A metric of both models, bootstrapped over the same samples: its value and its change."""
    everything = np.arange(n)
    reference, value = (before(everything), after(everything)) if n else (np.nan, np.nan)
    draws = resample([before, after], n)
    yield _measurement(scoring, name, draws[:, 1], value, n, labels)
    yield _change(scoring, name, draws, (reference, value), n, labels)


def _measurement(
    scoring: Scoring,
    name: str,
    draws: NDArray[np.float64],
    value: float,
    n: int,
    labels: Mapping[str, str],
) -> Measurement:
    bounds = _bounds(scoring, draws, value, n)
    if not bounds:
        return unmeasured(name, _why_not(name, n), labels=labels)
    return measured(name, value, labels=labels, bounds=bounds, n=n)


def _bounds(
    scoring: Scoring, draws: NDArray[np.float64], center: float, n: int
) -> tuple[Interval, ...]:
    found = percentiles(draws, center, n, [level for _, level in scoring.levels], scoring.projected)
    # None where the draws have no finite values.
    return tuple((c, *ends[1:]) for c, ends in zip(scoring.confidences, found, strict=False))


def _change(
    scoring: Scoring,
    name: str,
    draws: NDArray[np.float64],
    sides: tuple[float, float],
    n: int,
    labels: Mapping[str, str],
) -> Comparison:
    reference, value = sides

    def bounds(values: NDArray[np.float64], center: float) -> tuple[Interval, ...]:
        return _bounds(scoring, values, center, n)

    differences = bounds(draws[:, 1] - draws[:, 0], value - reference)
    if not differences:
        return _uncompared(name, _why_not(name, n), n, labels)
    ratios: tuple[Interval, ...] = ()
    if reference > 0:
        level = np.where(draws[:, 0] > 0, draws[:, 0], np.nan)
        ratios = bounds(draws[:, 1] / level, value / reference)
    return Comparison(
        name=name,
        to="source",
        value=rounded(value),
        reference=rounded(reference),
        labels=dict(labels),
        difference=bounds_of(differences),
        ratio=bounds_of(ratios),
        n=n,
    )


def _uncompared(name: str, reason: str, n: int, labels: Mapping[str, str]) -> Comparison:
    return Comparison(
        name=name,
        to="source",
        value=None,
        reference=None,
        labels=dict(labels),
        reason=reason,
        n=n,
    )


def bounds_of(intervals: Sequence[Interval]) -> tuple[Bounds, ...]:
    """Intervals as evidence has them."""
    return tuple(Bounds(confidence=c, low=rounded(lo), high=rounded(hi)) for c, lo, hi in intervals)


def _why_not(name: str, n: int) -> str:
    if n < FEWEST:
        return f"{n} samples are too few for an interval: at least {FEWEST}"
    return f"{name} is not a finite number on these samples"
