"""Evidence rows of one model's answers: every metric with its interval, alone or paired.

A share of rows that are each a unit is bounded exactly, and its change by the paired score
interval; every other metric by `statistics.linear`, which counts units and not rows. `projected`
foresees the intervals on another number of samples; that is how the search guesses whether a
candidate would be confirmed. An interval may be worked out at another level than the confidence
that it stands for, where several looks share a gate's error.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlgate.evidence import Bounds, Comparison, Measurement, measured, rounded, unmeasured
from mlgate.metrics.custom import Custom
from mlgate.metrics.options import Task
from mlgate.statistics.binomial import clopper_pearson
from mlgate.statistics.bootstrap import FEWEST, Statistic, percentiles, resample
from mlgate.statistics.intervals import Interval
from mlgate.statistics.linear import Clusters, Linear, Spread, mean
from mlgate.statistics.paired import Pairs

Array = NDArray[Any]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Index = NDArray[np.intp]
Row = Measurement | Comparison
Range = tuple[float, float]

SHARE: Final[Range] = (0.0, 1.0)


@dataclass(frozen=True)
class Scoring:
    """What to measure. `wanted` are the metrics that gates name: costly ones need that.

    With `only_wanted`, nothing else is measured at all. `to` is the reference's role. `costs` are
    those of answering [row: truth, column: answer]; `abstain_below` is the probability under which
    the best answer counts as none. `scores` is the output of scores, where `output` is of answers.
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
    to: str = "source"
    everything: bool = False
    costs: tuple[tuple[float, ...], ...] = ()
    abstain_below: float | None = None
    scores: str | None = None

    def gated(self) -> "Scoring":
        """The same, and only what gates look at."""
        return replace(self, only_wanted=True)

    def also_at(self, confidences: Sequence[float]) -> "Scoring":
        """The same, with intervals at these confidences too."""
        return replace(self, confidences=(*self.confidences, *confidences))

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

    def asks(self, name: str) -> bool:
        """Whether a metric that costs time, or that few need, is measured."""
        return name in self.wanted or (self.everything and not self.only_wanted)


@dataclass(frozen=True)
class Seen:
    """What the models gave on the same samples: outputs by name [n, …], labels, slices.

    `source` is the reference's; None: there is none. `clusters` [n] numbers the unit that each row
    belongs to; None: each row is one. `queries` [n] numbers the query of each row, for ranking.
    """

    source: Mapping[str, Array] | None
    candidate: Mapping[str, Array]
    labels: Array | None
    slices: Mapping[str, Array]
    clusters: Clusters | None = None
    queries: Clusters | None = None

    def __len__(self) -> int:
        return len(next(iter(self.candidate.values())))

    @property
    def reference(self) -> Mapping[str, Array]:
        """The reference's outputs, where there is one."""
        assert self.source is not None
        return self.source

    def of_reference(self) -> "Seen":
        """What the reference alone gave."""
        return replace(self, source=None, candidate=self.reference)

    def first(self, count: int) -> "Seen":
        """The first `count` samples."""
        return Seen(
            None if self.source is None else _head(self.source, count),
            _head(self.candidate, count),
            None if self.labels is None else self.labels[:count],
            _head(self.slices, count),
            None if self.clusters is None else self.clusters[:count],
            None if self.queries is None else self.queries[:count],
        )


@dataclass(frozen=True)
class Part:
    """Some of the samples: all of them, or those of a slice, with the labels that say so."""

    marks: Mapping[str, str]
    where: Index | slice
    clusters: Clusters | None = None

    def labelled(self, **labels: str) -> dict[str, str]:
        return {**labels, **self.marks}


def parts_of(seen: Seen) -> Iterator[Part]:
    """All samples, then those of each slice."""
    yield Part({}, slice(None), seen.clusters)
    for column in sorted(seen.slices):
        values, codes = np.unique(seen.slices[column], return_inverse=True)
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(values)))
        for number, value in enumerate(values.tolist()):
            where = order[ends[number - 1] if number else 0 : ends[number]]
            clusters = None if seen.clusters is None else renumbered(seen.clusters[where])
            yield Part({"slice": f"{column}={value}"}, where, clusters)


def renumbered(clusters: Clusters) -> Clusters:
    """The same units, numbered from 0 without a gap."""
    return np.asarray(np.unique(clusters, return_inverse=True)[1], dtype=np.intp)


def share(
    scoring: Scoring,
    name: str,
    right: Flags,
    labels: Mapping[str, str],
    units: Clusters | None = None,
) -> Measurement:
    """A share of rows; what no sample speaks for is not measured."""
    n, k = len(right), scoring.projected
    if n == 0:
        return unmeasured(name, "no sample to measure it on", labels=labels)
    if units is not None:
        return level(scoring, name, mean(right.astype(np.float64)), labels, units, SHARE)
    hits = float(np.count_nonzero(right))
    bounds = [(c, *clopper_pearson(hits * k, n * k, at)[1:]) for c, at in scoring.levels]
    return measured(name, hits / n, labels=labels, bounds=bounds, n=n)


def paired(
    scoring: Scoring,
    name: str,
    before: Flags | None,
    after: Flags,
    labels: Mapping[str, str],
    units: Clusters | None = None,
) -> Iterator[Row]:
    """A share, and its change where there is a reference."""
    yield share(scoring, name, after, labels, units)
    if before is None:
        return
    n, k = len(after), scoring.projected
    if n == 0:
        yield uncompared(scoring, name, "no sample to measure it on", 0, labels)
        return
    if units is not None:
        sides = [mean(side.astype(np.float64)) for side in (before, after)]
        yield change(scoring, name, sides[0], sides[1], labels, units, SHARE)
        return
    pairs = Pairs.of(before, after).scaled(k)
    had = float(np.count_nonzero(before))
    differences = [(c, *pairs.interval(at)[1:]) for c, at in scoring.levels]
    ratios = []
    for c, at in scoring.levels if had else ():
        # The change and what it is a share of, each at half the error: both hold at `level`.
        half = (1 + at) / 2
        _, low, high = pairs.interval(half)
        least = max(clopper_pearson(had * k, n * k, half)[1], 1e-12)
        ratios.append((c, max(0.0, 1 + min(low / least, low)), 1 + max(high / least, high)))
    yield Comparison(
        name=name,
        to=scoring.to,
        value=rounded(float(np.count_nonzero(after)) / n),
        reference=rounded(had / n),
        labels=dict(labels),
        difference=bounds_of(differences),
        ratio=bounds_of(ratios),
        n=n,
    )


def both(
    scoring: Scoring,
    name: str,
    before: Linear | None,
    after: Linear,
    labels: Mapping[str, str],
    units: Clusters | None = None,
    within: Range | None = None,
) -> Iterator[Row]:
    """A metric of the answers, and its change where there is a reference.

    `within` is the range that the metric cannot leave; None: it has none.
    """
    yield level(scoring, name, after, labels, units, within)
    if before is not None:
        yield change(scoring, name, before, after, labels, units, within)


def level(
    scoring: Scoring,
    name: str,
    linear: Linear,
    labels: Mapping[str, str],
    units: Clusters | None,
    within: Range | None,
) -> Measurement:
    spread = Spread.of(linear, units)
    n = _counted(linear, units)
    why = _why_not(name, spread, n, within)
    if why:
        return unmeasured(name, why, labels=labels)
    bounds = _bounds(scoring, spread, within, linear.reach if within is None else 0.0)
    return measured(name, linear.value, labels=labels, bounds=bounds, n=n)


def change(
    scoring: Scoring,
    name: str,
    before: Linear,
    after: Linear,
    labels: Mapping[str, str],
    units: Clusters | None,
    within: Range | None,
) -> Comparison:
    difference = after.minus(before)
    spread, n = Spread.of(difference, units), _counted(difference, units)
    why = _why_not(name, spread, n, within)
    if why:
        return uncompared(scoring, name, why, n, labels)
    apart = None if within is None else (within[0] - within[1], within[1] - within[0])
    reach = max(before.reach, after.reach)
    ratios: Sequence[Interval] = ()
    if before.value > 0:
        quotient = after.over(before)
        found = _bounds(scoring, Spread.of(quotient, units), None, reach / before.value)
        ratios = [(c, max(0.0, low), high) for c, low, high in found]
    return Comparison(
        name=name,
        to=scoring.to,
        value=rounded(after.value),
        reference=rounded(before.value),
        labels=dict(labels),
        difference=bounds_of(_bounds(scoring, spread, apart, reach)),
        ratio=bounds_of(ratios),
        n=n,
    )


def resampled(
    scoring: Scoring,
    name: str,
    sides: tuple[Statistic | None, Statistic],
    n: int,
    labels: Mapping[str, str],
    units: Clusters | None = None,
    within: Range | None = None,
) -> Iterator[Row]:
    """A metric that has no formula for its error: bootstrapped over units.

    Its ends are at least as far as a unit that was never seen may move it.
    """
    before, after = sides
    count = n if units is None else int(units.max(initial=-1)) + 1
    everything = np.arange(n)
    value = after(everything) if n else math.nan
    if count < FEWEST or not math.isfinite(value):
        why = _too_few(count) if count < FEWEST else _not_finite(name)
        yield unmeasured(name, why, labels=labels)
        if before is not None:
            yield uncompared(scoring, name, why, count, labels)
        return
    draws = resample([side for side in sides if side is not None], n, units=units)
    reach = abs(value) or 1.0

    def bounds(values: Floats, center: float, far: float) -> tuple[Interval, ...]:
        levels = [at for _, at in scoring.levels]
        found = percentiles(values, center, count, levels, scoring.projected)
        ends = []
        for (c, at), (_, low, high) in zip(scoring.levels, found, strict=False):
            unseen = far * (1 - (1 - at) ** (1 / (count * scoring.projected)))
            ends.append((c, min(low, center - unseen), max(high, center + unseen)))
        return tuple(ends)

    span = reach if within is None else within[1] - within[0]
    found = bounds(draws[:, -1], value, span)
    if found:
        yield measured(name, value, labels=labels, bounds=_cut(found, within), n=count)
    else:
        yield unmeasured(name, _not_finite(name), labels=labels)
    if before is None:
        return
    reference = before(everything)
    differences = bounds(draws[:, 1] - draws[:, 0], value - reference, max(span, abs(reference)))
    if not differences:
        yield uncompared(scoring, name, _not_finite(name), count, labels)
        return
    ratios: tuple[Interval, ...] = ()
    if reference > 0:
        positive = np.where(draws[:, 0] > 0, draws[:, 0], np.nan)
        ratios = bounds(draws[:, 1] / positive, value / reference, span / reference)
    yield Comparison(
        name=name,
        to=scoring.to,
        value=rounded(value),
        reference=rounded(reference),
        labels=dict(labels),
        difference=bounds_of(differences),
        ratio=bounds_of(ratios),
        n=count,
    )


def uncompared(
    scoring: Scoring, name: str, reason: str, n: int, labels: Mapping[str, str]
) -> Comparison:
    """A change that could not be measured, and why."""
    return Comparison(
        name=name,
        to=scoring.to,
        value=None,
        reference=None,
        labels=dict(labels),
        reason=reason,
        n=n,
    )


def bounds_of(intervals: Sequence[Interval]) -> tuple[Bounds, ...]:
    """Intervals as evidence has them."""
    return tuple(Bounds(confidence=c, low=rounded(lo), high=rounded(hi)) for c, lo, hi in intervals)


def _bounds(scoring: Scoring, spread: Spread, within: Range | None, reach: float) -> list[Interval]:
    foreseen = spread.projected(scoring.projected)
    found = []
    for confidence, at in scoring.levels:
        if within is None:
            _, low, high = foreseen.around(reach, at)
        else:
            _, low, high = foreseen.within(*within, at)
        found.append((confidence, low, high))
    return found


def _cut(found: Sequence[Interval], within: Range | None) -> list[Interval]:
    if within is None:
        return list(found)
    return [(c, max(low, within[0]), min(high, within[1])) for c, low, high in found]


def _counted(linear: Linear, units: Clusters | None) -> int:
    """Units that the number is of."""
    if units is None:
        return int(np.count_nonzero(linear.leverage))
    return len(np.unique(units[linear.leverage > 0]))


def _why_not(name: str, spread: Spread, n: int, within: Range | None) -> str | None:
    if not math.isfinite(spread.value):
        return _not_finite(name) if n else "no sample to measure it on"
    return _too_few(n) if within is None and n < FEWEST else None


def _too_few(n: int) -> str:
    return f"{n} samples are too few for an interval: at least {FEWEST}"


def _not_finite(name: str) -> str:
    return f"{name} is not a finite number on these samples"


def _head(arrays: Mapping[str, Array], count: int) -> dict[str, Array]:
    return {name: value[:count] for name, value in arrays.items()}
