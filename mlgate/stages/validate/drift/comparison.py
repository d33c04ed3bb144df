"""Drift: how far each column of a dataset has moved from a reference profile."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mlgate.errors import StageError
from mlgate.stages.validate.drift.profile import (
    UNLISTED,
    Categorical,
    Ordered,
    Profile,
    Skipped,
    Withheld,
    single_values,
)
from mlgate.statistics import distances
from mlgate.statistics.distances import Statistic

Metric = Literal["psi", "js", "ks", "wasserstein", "new_values", "null_rate"]
METRICS: Final[tuple[Metric, ...]] = (
    "psi", "js", "ks", "wasserstein", "new_values", "null_rate",
)  # fmt: skip

_Bins = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class ColumnDrift:
    """What can be said of one column: for each metric a statistic, a reason why not, or neither.

    Neither where the metric has no meaning for the column: `ks` and `wasserstein` need an order.
    """

    column: str
    statistics: Mapping[Metric, Statistic] = field(default_factory=dict)
    reasons: Mapping[Metric, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Drift:
    """All compared columns in the reference's order, then new ones; and those left out, with why.

    `unit` is the column whose distinct values were counted as observations; None: each row was.
    """

    columns: tuple[ColumnDrift, ...]
    left_out: tuple[tuple[str, str], ...]
    unit: str | None


def compare(
    reference: Profile,
    current: Profile,
    *,
    bins: int = 10,
    ignore: Collection[str] = (),
    times: bool = False,
) -> Drift:
    """How far `current`, which was binned with the reference's edges, is from `reference`.

    - `psi`, `js`: over at most `bins` bins of about equal mass in the reference for ordered
      columns, over the listed values for others; nulls are a bin, and so is all that the reference
      never had. All nulls on one side is therefore a drift like any other.
    - `ks`, `wasserstein`: of the values that are there, from all bins of the profile.
    - `new_values`: share of values outside the reference's range, or between its values where it
      has few, or in no category of it. `null_rate`: rise of the share of nulls (NaN is null).

    Of personal data, identifiers and free text only `null_rate` is known; they are in `left_out` too.
    A column that is missing on one side, or whose type is of another kind now, has reasons instead
    of numbers. Dates and times move by nature: they are left out unless `times`. Raises
    `StageError` when either side has no rows or they count units of different columns.
    """
    for side, what in ((reference, "reference"), (current, "dataset")):
        if side.rows == 0:
            raise StageError(f"drift: the {what} has no rows", hint="check its path and its filter")
    unit = _unit(reference, current)
    columns: list[ColumnDrift] = []
    left_out: list[tuple[str, str]] = []
    listed = dict.fromkeys(
        [c.name for c in (*reference.columns, *current.columns)]
        + [s.name for s in (*reference.skipped, *current.skipped)]
    )
    for name in listed:
        before, after = reference.column(name), current.column(name)
        if name in ignore:
            left_out.append((name, "ignored"))
        elif before is None and after is None:
            columns_or_why = _both_skipped(name, reference, current)
            if isinstance(columns_or_why, ColumnDrift):
                columns.append(columns_or_why)
            else:
                left_out.append((name, columns_or_why))
        elif before is None or after is None:
            columns.append(_impossible(name, _missing(name, reference, current)))
        elif before.kind == "temporal" == after.kind and not times:
            columns.append(_nulls_alone(before, after, _sizes(reference, current)))
            left_out.append((name, "dates and times move by nature: only its nulls are compared"))
        else:
            columns.append(_compare(before, after, bins, _sizes(reference, current)))
            left_out += [(name, why) for why in _limits(before)]
    return Drift(tuple(columns), tuple(left_out), unit)


def _both_skipped(name: str, reference: Profile, current: Profile) -> ColumnDrift | str:
    """A column that has no profile on either side: why it is left out, or what is wrong with it."""
    before, after = reference.skip(name), current.skip(name)
    skipped = before or after
    assert skipped is not None
    if skipped.reason == "ignored":
        return skipped.reason
    if before is None or after is None:
        where = "reference" if before is None else "dataset"
        return _impossible(name, f"the {where} has no column {name!r}")
    if before.type != after.type:
        return _impossible(
            name,
            f"its type is {before.type} in one and {after.type} in the other: they cannot be "
            "compared",
        )
    if before.nulls is None or after.nulls is None:
        return before.reason
    return _nulls_alone(before, after, _sizes(reference, current), (reference.rows, current.rows))


def _nulls_alone(
    before: Ordered | Skipped,
    after: Ordered | Skipped,
    per_row: tuple[float, float],
    rows: tuple[int, int] | None = None,
) -> ColumnDrift:
    """The rise of nulls, which is known for every type."""
    n, m = rows or (_rows(before), _rows(after))
    was, is_ = before.nulls or 0, after.nulls or 0
    rise = distances.rise(was * per_row[0], n * per_row[0], is_ * per_row[1], m * per_row[1])
    return ColumnDrift(before.name, {"null_rate": rise})


def _rows(column: Ordered | Skipped) -> int:
    assert isinstance(column, Ordered)
    return column.count + column.nulls


def _unit(reference: Profile, current: Profile) -> str | None:
    before, after = (side.units.column if side.units else None for side in (reference, current))
    if before != after:
        raise StageError(
            f"drift: the reference counts {before or 'rows'} and the dataset {after or 'rows'}",
            hint="profile both with the same drift.unit",
        )
    return before


def _sizes(reference: Profile, current: Profile) -> tuple[float, float]:
    """Independent observations per row, on both sides."""
    before, after = (
        (side.units.count if side.units else side.rows) / side.rows for side in (reference, current)
    )
    return before, after


def _missing(name: str, reference: Profile, current: Profile) -> str:
    known = {True: reference, False: current}
    there = reference.column(name) is not None
    where = "dataset" if there else "reference"
    column = known[there].column(name)
    other = known[not there].skip(name)
    if other is None:
        return f"the {where} has no column {name!r}"
    was = column.type if column else ""
    if other.type != was:
        return f"its type is {was} in one and {other.type} in the other: they cannot be compared"
    return f"not in the profile of the {where}: {other.reason}"


def _impossible(name: str, reason: str) -> ColumnDrift:
    return ColumnDrift(name, reasons=dict.fromkeys(METRICS, reason))


def _compare(
    before: Ordered | Categorical | Withheld,
    after: Ordered | Categorical | Withheld,
    bins: int,
    per_row: tuple[float, float],
) -> ColumnDrift:
    found: dict[Metric, Statistic] = {}
    reasons: dict[Metric, str] = {}
    match before, after:
        case Ordered(), Ordered() if before.kind == after.kind:
            if before.edges != after.edges:
                why = "it was not binned with the edges of the reference"
                return _impossible(before.name, why)
            x, y = _pooled(before, after, bins)
            _ordered(before, after, per_row, found, reasons)
        case Categorical(), Categorical():
            if [v for v, _ in before.top] != [v for v, _ in after.top]:
                why = "it was not counted with the categories of the reference"
                return _impossible(before.name, why)
            x, y = (np.array([*(n for _, n in c.top), c.other]) for c in (before, after))
        case Withheld(), Withheld():
            x = y = np.array([], dtype=np.int64)
        case _:
            why = f"its type was {before.type} and is {after.type}: they cannot be compared"
            return _impossible(before.name, why)
    rows = (before.count + before.nulls, after.count + after.nulls)
    n, m = rows[0] * per_row[0], rows[1] * per_row[1]
    found["null_rate"] = distances.rise(before.nulls * per_row[0], n, after.nulls * per_row[1], m)
    if not _nulls_only(before):
        x, y = np.append(x, before.nulls), np.append(y, after.nulls)
        found["psi"] = distances.psi(x, y, n=n, m=m)
        found["js"] = distances.js(x, y, n=n, m=m)
        _new_values(before, after, per_row, found, reasons)
    return ColumnDrift(before.name, found, reasons)


def _nulls_only(column: Ordered | Categorical | Withheld) -> str | None:
    """Why a column's values have no distribution that could be compared."""
    match column:
        case Withheld():
            return "personal data"
        case Categorical() if column.count and column.other > UNLISTED * column.count:
            return "identifiers or free text"
    return None


def _limits(column: Ordered | Categorical | Withheld) -> Iterator[str]:
    """What no metric says of a column, and why."""
    if why := _nulls_only(column):
        yield f"{why}: only its nulls are compared"
    elif isinstance(column, Categorical) and column.other:
        yield f"more than the {len(column.top)} values that are listed: no new_values"
    elif isinstance(column, Ordered) and column.count and column.low == column.high:
        yield "the reference is constant, so it has no scale: no wasserstein"


def _pooled(before: Ordered, after: Ordered, bins: int) -> _Bins:
    """At most `bins` bins of about equal mass in the reference, then one of all that it never had.

    A bin goes where the middle of its mass is, so that one with more than its part stays alone.
    Values beyond the reference's range join its outermost bin, unless that is a single value: of
    n + 1 draws of a continuous column one lies beyond the other n by chance, and a bin that the
    reference cannot have would count it as drift.
    """
    x, y = np.array(before.counts, dtype=np.int64), np.array(after.counts, dtype=np.int64)
    seen = x > 0
    if not seen.any():
        return np.array([0]), np.array([y.sum()])
    first, last = np.flatnonzero(seen)[[0, -1]]
    single = list(single_values(before))
    if not single[first]:
        y[first] += y[:first].sum()
        y[:first] = 0
    if not single[last]:
        y[last] += y[last + 1 :].sum()
        y[last + 1 :] = 0
    mass = np.cumsum(x[seen]) - x[seen] / 2
    group = np.minimum((mass * bins / x.sum()).astype(np.int64), bins - 1)
    pooled = [np.bincount(group, weights=side[seen], minlength=bins) for side in (x, y)]
    never = (0, int(y[~seen].sum()))
    was, is_ = (np.append(p.astype(np.int64), n) for p, n in zip(pooled, never, strict=True))
    return was, is_


def _ordered(
    before: Ordered,
    after: Ordered,
    per_row: tuple[float, float],
    found: dict[Metric, Statistic],
    reasons: dict[Metric, str],
) -> None:
    if not before.count or not after.count:
        why = f"the {'dataset' if before.count else 'reference'} has only nulls in this column"
        reasons["ks"] = reasons["wasserstein"] = why
        return
    single = list(single_values(before))
    n, m = before.count * per_row[0], after.count * per_row[1]
    found["ks"] = distances.ks(before.counts, after.counts, single, n=n, m=m)
    extremes = [v for c in (before, after) for v in (c.low, c.high) if v is not None]
    if not extremes:
        reasons["wasserstein"] = "its values are infinite"
        return
    edges = before.edges
    grid = [min(extremes + list(edges[:1])), *edges, max(extremes + list(edges[-1:]))]
    distance = distances.wasserstein(before.counts, after.counts, grid, single, n=n, m=m)
    if distance is not None:
        found["wasserstein"] = distance
    elif (before.low, before.high) != (after.low, after.high):
        reasons["wasserstein"] = "the reference is constant, so it has no scale"


def _new_values(
    before: Ordered | Categorical | Withheld,
    after: Ordered | Categorical | Withheld,
    per_row: tuple[float, float],
    found: dict[Metric, Statistic],
    reasons: dict[Metric, str],
) -> None:
    match before, after:
        case Ordered(), Ordered():
            new = sum(b for a, b in zip(before.counts, after.counts, strict=True) if a == 0)
        case Categorical(), Categorical() if before.other == 0:
            new = after.other
        case Categorical(), _:
            return  # too many categories to say what is new: the caller names it
        case _:
            return
    if after.count == 0:
        reasons["new_values"] = "the dataset has only nulls in this column"
        return
    found["new_values"] = distances.share(new * per_row[1], after.count * per_row[1])
