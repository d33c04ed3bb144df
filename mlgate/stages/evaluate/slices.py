"""Slices held against each other: the worst one's change, and how far apart they are.

A gate on a slice's own metric holds for each slice by itself, and of twenty slices one fails by
chance. These two are one number each, and their bounds hold for all slices together (Bonferroni),
where that is what they say.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlgate.evidence import Bounds, Comparison, Measurement, measured
from mlgate.metrics.scoring import Row

# Only of what a larger number is better, so that "worst" has one meaning.
Array = NDArray[Any]

SLICED: Final = frozenset(
    {"accuracy", "balanced_accuracy", "f1_macro", "exact_match", "recall", "f1", "auroc"}
)


@dataclass(frozen=True)
class Group:
    """Slices of one column: one metric, of one class or of all."""

    metric: str
    column: str
    kind: str | None

    def labels(self) -> dict[str, str]:
        found = {"metric": self.metric, "column": self.column}
        return found if self.kind is None else {**found, "class": self.kind}


def shared_levels(slices: Mapping[str, Array], confidences: Sequence[float]) -> dict[float, float]:
    """The confidence at which one slice is bounded, so that all of a column hold at the key's.

    The error is shared among the slices of the column that has most of them (Bonferroni).
    """
    most = max((len(np.unique(values)) for values in slices.values()), default=1)
    return {confidence: 1 - (1 - confidence) / most for confidence in confidences}


def bounded_at(row: Row, levels: Mapping[float, float]) -> Row:
    """The row with the bounds at `levels` alone, each told as of the confidence that is its key."""

    def told(bounds: Sequence[Bounds]) -> tuple[Bounds, ...]:
        found = {bound.confidence: bound for bound in bounds}
        return tuple(
            found[level].model_copy(update={"confidence": confidence})
            for confidence, level in levels.items()
            if level in found
        )

    if isinstance(row, Measurement):
        return row.model_copy(update={"bounds": told(row.bounds)})
    return row.model_copy(update={"difference": told(row.difference), "ratio": told(row.ratio)})


def across_slices(rows: Sequence[Row], shared: Sequence[Row]) -> Iterator[Row]:
    """`worst_slice` of each metric compared with a reference, and `parity` between slices.

    `rows` have bounds at each confidence, `shared` the same with the error shared among slices.
    """
    plain, wide = _grouped(rows), _grouped(shared)
    for group in sorted(plain, key=lambda group: (group.metric, group.column, group.kind or "")):
        own, strict = plain[group], wide[group]
        changes = [row for row in own if isinstance(row, Comparison)]
        if len(changes) > 1:
            yield _worst(group, changes, [row for row in strict if isinstance(row, Comparison)])
        levels = [row for row in strict if isinstance(row, Measurement)]
        if len(levels) > 1:
            yield _parity(group, levels)


def _grouped(rows: Sequence[Row]) -> dict[Group, list[Row]]:
    found: dict[Group, list[Row]] = defaultdict(list)
    for row in rows:
        if row.name in SLICED and "slice" in row.labels:
            column = row.labels["slice"].split("=", 1)[0]
            found[Group(row.name, column, row.labels.get("class"))].append(row)
    return found


def _worst(
    group: Group, changes: Sequence[Comparison], strict: Sequence[Comparison]
) -> Measurement:
    """The largest drop of any slice.

    That all slices are within a limit is proved by each one's own bound (Berger's intersection–
    union test); that one is beyond needs an error that is shared among them.
    """
    known = [row for row in changes if row.value is not None and row.reference is not None]
    if len(known) < len(changes):
        lost = next(row for row in changes if row not in known)
        return _unknown("worst_slice", group, lost)
    drops = {row.labels["slice"]: (row.reference or 0) - (row.value or 0) for row in known}
    worst = max(drops, key=lambda name: (drops[name], name))
    bounds = []
    for number, bound in enumerate(known[0].difference):
        high = max(-(row.difference[number].low or 0.0) for row in known)
        low = max(-(row.difference[number].high or 0.0) for row in strict)
        bounds.append((bound.confidence, min(low, drops[worst]), high))
    return measured(
        "worst_slice",
        drops[worst],
        labels=group.labels(),
        bounds=bounds,
        n=min(row.n or 0 for row in known),
        because=(f"{worst} drops by {drops[worst]:.4g}",),
    )


def _parity(group: Group, levels: Sequence[Measurement]) -> Measurement:
    """The largest less the smallest value of any slice."""
    for row in levels:
        if row.value is None:
            return _unknown("parity", group, row)
    ordered = sorted(levels, key=lambda row: (row.value or 0.0, row.labels["slice"]))
    least, most = ordered[0], ordered[-1]
    gap = (most.value or 0.0) - (least.value or 0.0)
    bounds = []
    for number, bound in enumerate(least.bounds):
        ends = [row.bounds[number] for row in levels]
        low = max(0.0, max(_low(end) for end in ends) - min(_high(end) for end in ends))
        high = max(_high(end) for end in ends) - min(_low(end) for end in ends)
        bounds.append((bound.confidence, low, high))
    names = [row.labels["slice"] for row in (least, most)]
    return measured(
        "parity",
        gap,
        labels=group.labels(),
        bounds=bounds,
        n=min(row.n or 0 for row in levels),
        because=(f"{names[0]} has {least.value:.4g}, {names[1]} {most.value:.4g}",),
    )


def _unknown(name: str, group: Group, row: Row) -> Measurement:
    reason = f"{row.labels['slice']}: {row.reason}"
    return Measurement(name=name, value=None, labels=group.labels(), reason=reason)


def _low(end: Bounds) -> float:
    return 0.0 if end.low is None else end.low


def _high(end: Bounds) -> float:
    return 1.0 if end.high is None else end.high
