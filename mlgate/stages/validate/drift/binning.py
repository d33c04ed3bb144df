"""Where to cut a column in bins, given how often each value is there in a sample of it.

Short edges, so that a profile stays small; fewer where even those would be too long.
"""

from collections.abc import Mapping, Sequence
from heapq import nsmallest
from itertools import pairwise
from math import ceil, floor, inf, isfinite, log10, nextafter
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Weights = NDArray[np.int64]

_TOP: Final = 50
_BUDGET: Final = 4_300
"""Bytes of JSON for the bins of one column; the rest of its 5 KB are names and totals."""
_ATOMS: Final = 64
"""A number that makes up more than one in this many gets a bin of its own."""


def frequent(counts: Mapping[str, int]) -> tuple[str, ...]:
    """The most frequent values, as many as the column's share of the profile has room for."""
    ranked = nsmallest(_TOP, counts.items(), key=lambda pair: (-pair[1], pair[0]))
    kept: list[str] = []
    room = _BUDGET
    for text, _ in ranked:
        room -= len(text.encode()) + 16
        if room < 0:
            break
        kept.append(text)
    return tuple(kept)


def edges(
    values: Floats, weights: Weights, bins: int, rows: int, *, whole: bool
) -> tuple[float, ...]:
    """Upper ends of the bins within the range; fewer where their text would be too long.

    `values` are finite, distinct and rising, `weights` how often each is there.
    """
    if not len(values):
        return ()
    if whole and len(values) <= bins:
        cuts = _edges_of_few(values.tolist())
        if len(cuts) <= bins and _bytes(cuts, rows) <= _BUDGET:
            return cuts
    while True:
        cuts = _edges_of_many(values, weights, bins, whole=whole)
        if _bytes(cuts, rows) <= _BUDGET or bins <= 8:
            return cuts
        bins = bins * 3 // 4


def _edges_of_few(values: Sequence[float]) -> tuple[float, ...]:
    """For whole numbers: an edge at each value, and at the end of each gap between two."""
    ends = {values[0]}
    for a, b in pairwise(values):
        ends |= {b - 1, b} if b - a > 1 else {b}
    return tuple(sorted(ends))


def _edges_of_many(
    values: Floats, weights: Weights, bins: int, *, whole: bool
) -> tuple[float, ...]:
    """Edges of about equal mass; frequent numbers have edges on both sides."""
    upto = np.cumsum(weights)
    total = int(upto[-1])
    frequent_ones = weights * _ATOMS > total
    ends: set[float] = set()
    for value in values[frequent_ones].tolist():
        ends |= {value - 1 if whole else nextafter(value, -inf), value}
    cuts = (upto * bins // total > (upto - weights) * bins // total) & ~frequent_ones
    for i in np.flatnonzero(cuts[:-1]).tolist():
        value = float(values[i])
        ends.add(value if whole else _short_number(value, float(values[i + 1])))
    return tuple(sorted(ends))


def _short_number(low: float, high: float) -> float:
    """The number of fewest digits that is at least `low` and less than `high`."""
    size = max(abs(low), abs(high - low))
    start = floor(log10(size)) if size > 0 else 0
    for digits in range(1, 17):
        step = start + 1 - digits
        scaled = low * 10.0**-step if step < 0 else low / 10.0**step
        if not isfinite(scaled):
            break
        found = float(f"{ceil(scaled)}e{step}")
        if low <= found < high:
            return found
    return low


def _bytes(edges: Sequence[float], rows: int) -> int:
    """Length in JSON of the edges and of about equal counts."""
    text = sum(len(f"{e:.17g}") if abs(e) >= 1e16 else len(repr(e)) + 1 for e in edges)
    return text + (len(edges) + 1) * (len(str(rows // (len(edges) + 1))) + 1)
