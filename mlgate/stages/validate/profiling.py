"""Make a profile of a table: two scans for a reference, one for data that follows its bins."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, inf, isfinite, log10, nextafter
from typing import Any, Final

import duckdb
import pyarrow as pa

from mlgate.errors import StageError
from mlgate.evidence import Digest
from mlgate.stages.validate.profile import (
    Categorical,
    Ordered,
    Profile,
    Skipped,
    Units,
    Withheld,
)
from mlgate.stages.validate.table import Table, quoted, reading

_SAMPLE_ROWS: Final = 200_000
_SAMPLE_CELLS: Final = 4_000_000
_TOP: Final = 50
_COLUMNS_PER_SCAN: Final = 64
_BUDGET: Final = 4_300
"""Bytes of JSON for the bins of one column; the rest of its 5 KB are names and totals."""
_ATOMS: Final = 64
"""A number that makes up more than one in this many gets a bin of its own."""

_Column = Ordered | Categorical | Withheld


@dataclass(frozen=True)
class _Bins:
    """How one column is to be counted: at edges, by value, or not at all."""

    name: str
    type: pa.DataType
    kind: str
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()


def build(
    table: Table,
    *,
    ignore: Collection[str] = (),
    pii: Collection[str] = (),
    edges_from: Profile | None = None,
    bins: int = 256,
    unit: str | None = None,
    dataset: Digest | None = None,
) -> Profile:
    """The profile of a table.

    Numbers get up to `bins` bins of equal mass, a bin for each value where there are few, and bins
    below and above their range; other columns their most frequent values. Both are chosen from a
    sample of rows that depends on nothing but the rows' order, and counted over all rows.
    With `edges_from` the bins are those of that profile, so that the two can be compared. Columns
    in `pii` get totals only, those in `ignore` nothing. `unit` is the column whose distinct values
    are counted; `dataset` the digest to record. Nested and binary columns are skipped, and listed.
    Raises `StageError` for no rows and for names that are not columns.
    """
    _check_names(table, unit)
    rows = _one(table, "count(*)", table.view)[0]
    if rows == 0:
        raise StageError(
            f"{table.location} has no rows to profile", hint="check the path and the filter"
        )
    wanted, skipped = _columns(table, ignore, pii, edges_from)
    if edges_from is None:
        chosen = _choose(table, wanted, int(rows), bins)
    else:
        chosen = [_follow(column, edges_from) for column in wanted]
    columns: list[_Column] = []
    for start in range(0, len(chosen), _COLUMNS_PER_SCAN):
        part = chosen[start : start + _COLUMNS_PER_SCAN]
        columns += _count(table, part, int(rows), spliced=edges_from is None)
    units = _one(table, f"count(distinct {quoted(unit)})", table.view)[0] if unit else 0
    if unit and units == 0:
        raise StageError(f"drift.unit: column {unit!r} has only nulls")
    return Profile(
        dataset=dataset,
        engine=f"duckdb {duckdb.__version__}",
        rows=int(rows),
        units=Units(column=unit, count=int(units)) if unit else None,
        columns=tuple(columns),
        skipped=tuple(skipped),
    )


def _check_names(table: Table, unit: str | None) -> None:
    if unit is not None and unit not in table.schema.names:
        raise StageError(
            f"drift.unit: there is no column {unit!r}",
            hint=f"columns: {', '.join(table.schema.names[:20])}",
        )


def kind_of(type_: pa.DataType) -> str | None:
    """numeric, temporal or categorical; None for types that have no profile."""
    t = pa.types
    if t.is_boolean(type_) or t.is_string(type_):
        return "categorical"
    if t.is_integer(type_) or t.is_floating(type_) or t.is_decimal(type_):
        return "numeric"
    if t.is_date(type_) or t.is_timestamp(type_) or t.is_time(type_) or t.is_duration(type_):
        return "temporal"
    return None


def _columns(
    table: Table, ignore: Collection[str], pii: Collection[str], like: Profile | None
) -> tuple[list[_Bins], list[Skipped]]:
    wanted, skipped = [], []
    for field in table.schema:
        kind = kind_of(field.type)
        known = like.column(field.name) if like else None
        if field.name in ignore:
            reason = "ignored"
        elif field.name in pii or (known is not None and known.kind == "withheld"):
            wanted.append(_Bins(field.name, field.type, "withheld"))
            continue
        elif kind is None:
            reason = f"columns of type {_short(field.type)} have no profile"
        elif like is not None and known is None:
            reason = "not in the profile that gives the bins"
        elif known is not None and known.kind != kind:
            reason = f"another kind of type than in the profile that gives the bins ({known.type})"
        else:
            wanted.append(_Bins(field.name, field.type, kind))
            continue
        skipped.append(Skipped(name=field.name, type=str(field.type), reason=reason))
    return wanted, skipped


def _short(type_: pa.DataType) -> str:
    return str(type_).split("<", maxsplit=1)[0]


def number(name: str, type_: pa.DataType) -> str:
    """SQL for a column as a double: days, microseconds, or the number itself."""
    t, column = pa.types, quoted(name)
    if t.is_date(type_):
        return f"({column}::date - date '1970-01-01')::double"
    if t.is_timestamp(type_):
        return f"epoch_us({column})::double"
    if t.is_time(type_) or t.is_duration(type_):
        return f"epoch_us({column})::double"
    return f"{column}::double"


def _follow(column: _Bins, like: Profile) -> _Bins:
    match like.column(column.name):
        case Ordered() as known:
            return _Bins(column.name, column.type, column.kind, edges=known.edges)
        case Categorical() as known:
            values = tuple(value for value, _ in known.top)
            return _Bins(column.name, column.type, column.kind, values=values)
        case Withheld() | None:
            return column


def _choose(table: Table, columns: list[_Bins], rows: int, bins: int) -> list[_Bins]:
    """Edges and categories from a sample of rows, a group of columns at a time."""
    chosen: list[_Bins] = []
    for start in range(0, len(columns), _COLUMNS_PER_SCAN):
        part = columns[start : start + _COLUMNS_PER_SCAN]
        sampled = [c for c in part if c.kind != "withheld"]
        sample = _sample(table, sampled, rows) if sampled else {}
        for column in part:
            values = sample.get(column.name)
            if values is None:
                chosen.append(column)
            elif column.kind == "categorical":
                top = _frequent(values)
                chosen.append(_Bins(column.name, column.type, column.kind, values=top))
            else:
                edges = _edges(values, bins, rows, whole=_is_whole(column.type))
                chosen.append(_Bins(column.name, column.type, column.kind, edges=edges))
    return chosen


def _sample(table: Table, columns: list[_Bins], rows: int) -> dict[str, Counter[object]]:
    """How often each value is there in about 200,000 rows, chosen by their position.

    The engine's own sampling and its quantile sketches depend on the timing of threads; a hash of
    the row's position does not.
    """
    size = min(_SAMPLE_ROWS, max(1000, _SAMPLE_CELLS // len(columns)))
    select = ", ".join(f"{_expression(c)} as c{i}" for i, c in enumerate(columns))
    source = table.view
    if rows > size:
        names = ", ".join(quoted(c.name) for c in columns)
        place = 'row_number() over () as "mlgate place"'
        limit = int(2**64 * (size / rows))
        source = (
            f"(select {names} from (select {names}, {place} from {table.view}) "
            f'where hash("mlgate place") < {limit}::uhugeint)'
        )
    with reading(table.location):
        data = table.connection.execute(f"select {select} from {source}").to_arrow_table()
    counts: dict[str, Counter[object]] = {}
    for i, column in enumerate(columns):
        pairs = data.column(i).drop_null().value_counts()
        counts[column.name] = Counter(
            dict(zip(pairs.field(0).to_pylist(), pairs.field(1).to_pylist(), strict=True))
        )
    return counts


def _expression(column: _Bins) -> str:
    if column.kind == "categorical":
        return f"{quoted(column.name)}::varchar"
    return number(column.name, column.type)


def _frequent(counts: Counter[object]) -> tuple[str, ...]:
    """The most frequent values, as many as the column's share of the profile has room for."""
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
    kept: list[str] = []
    room = _BUDGET
    for value, _ in ranked[:_TOP]:
        text = str(value)
        room -= len(text.encode()) + 16
        if room < 0:
            break
        kept.append(text)
    return tuple(kept)


def _edges(counts: Counter[object], bins: int, rows: int, *, whole: bool) -> tuple[float, ...]:
    """Upper ends of the bins within the range; fewer where their text would be too long."""
    found = sorted(
        (float(v), n) for v, n in counts.items() if isinstance(v, int | float) and isfinite(v)
    )
    if not found:
        return ()
    values, weights = [v for v, _ in found], [n for _, n in found]
    if whole:
        edges = _edges_of_few(values)
        if len(edges) <= bins and _bytes(edges, rows) <= _BUDGET:
            return edges
    while True:
        edges = _edges_of_many(values, weights, bins, whole=whole)
        if _bytes(edges, rows) <= _BUDGET or bins <= 8:
            return edges
        bins = bins * 3 // 4


def _edges_of_few(values: Sequence[float]) -> tuple[float, ...]:
    """For whole numbers: an edge at each value, and at the end of each gap between two."""
    edges = [values[0]]
    for a, b in pairwise(values):
        edges += [b - 1, b] if b - a > 1 else [b]
    return tuple(edges)


def _edges_of_many(
    values: Sequence[float], weights: Sequence[int], bins: int, *, whole: bool
) -> tuple[float, ...]:
    """Edges of about equal mass; frequent numbers have edges on both sides."""
    total = sum(weights)
    edges: set[float] = set()
    below = 0
    for i, (value, weight) in enumerate(zip(values, weights, strict=True)):
        ahead = values[i + 1] if i + 1 < len(values) else inf
        cuts = floor((below + weight) * bins / total) > floor(below * bins / total)
        if weight * _ATOMS > total:
            edges |= {value - 1 if whole else nextafter(value, -inf), value}
        elif cuts and ahead < inf:
            edges.add(value if whole else _short_number(value, ahead))
        below += weight
    return tuple(sorted(edges))


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


def _count(table: Table, columns: list[_Bins], rows: int, *, spliced: bool) -> Iterator[_Column]:
    """One scan: totals, extremes, distinct values, and counts over the bins.

    `spliced` adds bins below and above the range, in which a reference has only infinities.
    """
    expressions: list[str] = []
    parameters: list[object] = []
    for column in columns:
        name = quoted(column.name)
        expressions += [f"count({name})", f"approx_count_distinct({name})"]
        if column.kind == "categorical":
            text = f"{name}::varchar"
            # histogram_exact() names what is not listed '', which may be a value.
            expressions += [f"count(*) filter (where {text} = '')"]
            expressions += [f"histogram_exact({text}, ?)"]
            parameters.append([v for v in column.values if v != ""] or ["-"])
        elif column.kind != "withheld":
            x = number(column.name, column.type)
            floating = pa.types.is_floating(column.type)
            finite = f" filter (where isfinite({x}))" if floating else ""
            expressions += [f"min({x}){finite}", f"max({x}){finite}"]
            expressions += [
                f"count(*) filter (where {x} = '{sign}infinity')" if floating else "0"
                for sign in "-+"
            ]
            expressions += [f"map_values(histogram({x}, ?::double[]))"]
            parameters.append(list(column.edges) or [0.0])
    nans = [c for c in columns if pa.types.is_floating(c.type)]
    found = iter(_one(table, ", ".join(expressions), table.view, parameters))
    missing = _nans(table, nans)
    for column in columns:
        count, distinct = int(next(found)), int(next(found))
        nulls, distinct = rows - count, min(distinct, count)
        if column.kind == "withheld":
            yield Withheld(name=column.name, type=str(column.type), nulls=nulls,
                           distinct=distinct, count=count)  # fmt: skip
        elif column.kind == "categorical":
            empty, listed = int(next(found)), next(found) or {}
            yield _categorical(column, count, nulls, distinct, empty, listed)
        else:
            ends = (next(found), next(found), int(next(found)), int(next(found)))
            counts = [int(n) for n in next(found) or []]
            yield _ordered(column, nulls, missing.get(column.name, 0), distinct, ends, counts,
                           spliced=spliced)  # fmt: skip


def _nans(table: Table, columns: list[_Bins]) -> dict[str, int]:
    if not columns:
        return {}
    counts = ", ".join(f"count(*) filter (where isnan({quoted(c.name)}))" for c in columns)
    found = _one(table, counts, table.raw_view)
    return {c.name: int(n) for c, n in zip(columns, found, strict=True)}


def _categorical(
    column: _Bins, count: int, nulls: int, distinct: int, empty: int, listed: Mapping[str, int]
) -> Categorical:
    top = tuple((v, empty if v == "" else int(listed.get(v, 0))) for v in column.values)
    return Categorical(
        name=column.name, type=str(column.type), nulls=nulls, distinct=distinct, top=top,
        other=count - sum(n for _, n in top),
    )  # fmt: skip


def _ordered(
    column: _Bins,
    nulls: int,
    nans: int,
    distinct: int,
    ends: tuple[float | None, float | None, int, int],
    counts: list[int],
    *,
    spliced: bool,
) -> Ordered:
    """`ends` are the finite extremes, and how many values are −∞ and +∞."""
    low, high, under, over = ends
    edges = list(column.edges)
    counts = counts + [0] * (len(edges) + 1 - len(counts)) if edges else [sum(counts)]
    if spliced and low is not None and high is not None:
        whole = _is_whole(column.type)
        below = min(low - 1, nextafter(low, -inf)) if whole else nextafter(low, -inf)
        if isfinite(below) and (not edges or edges[0] > below):
            edges = [below, *edges]
            counts = [under, counts[0] - under, *counts[1:]]
        if edges and edges[-1] < high:
            edges = [*edges, high]
            counts = [*counts[:-1], counts[-1] - over, over]
    return Ordered(
        kind="temporal" if column.kind == "temporal" else "numeric", name=column.name,
        type=str(column.type), nulls=nulls, nans=nans, distinct=distinct, low=low, high=high,
        edges=tuple(edges), counts=tuple(counts),
    )  # fmt: skip


def _is_whole(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_date(type_))


def _one(
    table: Table, select: str, source: str, parameters: Sequence[object] = ()
) -> tuple[Any, ...]:
    with reading(table.location):
        row = table.connection.execute(
            f"select {select} from {source}", list(parameters)
        ).fetchone()
    assert row is not None
    found: tuple[Any, ...] = row
    return found
