"""Exact quantiles of a column that does not fit into memory.

DuckDB's own exact quantiles keep all values in memory and do not spill. Here a sample proposes
edges, one scan counts what falls between them, and only the bins that hold a wanted rank are
looked at again: a few scans, and at most `_SMALL` values at a time.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

import duckdb
import pyarrow as pa

_BINS: Final = 256
_SMALL: Final = 200_000


@dataclass(frozen=True)
class Source:
    """A column expression of a FROM clause, and the values of the `$n` parameters in it."""

    column: str
    type: pa.DataType
    relation: str
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True)
class _Range:
    """Values in (above, upto]: how many lie below it, how many in it, which ranks are wanted."""

    above: Any
    upto: Any
    below: int
    count: int
    ranks: tuple[int, ...]


def quantiles(
    connection: duckdb.DuckDBPyConnection, source: Source, shares: Sequence[float]
) -> list[Any] | None:
    """For each share p the value of rank max(1, ⌈p·n⌉) of the n non-null values, or None if n = 0.

    That is SQL's `percentile_disc`: a value of the column, of the column's type. NaN must be NULL
    already. `shares` are in [0, 1].
    """
    source, back = _countable(source)
    extent = _extent(connection, source)
    # Rounded first: 0.07 · 100 is 7.000000000000001, and the rank must not be 8.
    ranks = [max(1, math.ceil(round(p * extent[0], 9))) for p in shares]
    found = _values_of(connection, source, ranks, extent)
    return None if found is None else [back(found[rank]) for rank in ranks]


def of_ranks(
    connection: duckdb.DuckDBPyConnection, source: Source, ranks: Sequence[int]
) -> dict[int, Any] | None:
    """The values of the given ranks (from 1) among the non-null values; None if there are none."""
    source, back = _countable(source)
    found = _values_of(connection, source, ranks, _extent(connection, source))
    return None if found is None else {rank: back(value) for rank, value in found.items()}


def _values_of(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    ranks: Sequence[int],
    extent: tuple[int, Any],
) -> dict[int, Any] | None:
    count, top = extent
    if not count:
        return None
    found: dict[int, Any] = {}
    todo = [_Range(None, top, 0, count, tuple(dict.fromkeys(ranks)))]
    while todo:
        small = [here for here in todo if here.count <= _SMALL]
        for group in _groups(small):
            found |= _looked_up(connection, source, group)
        large, todo = [here for here in todo if here.count > _SMALL], []
        for here in large:
            edges = _edges(connection, source, here)
            if edges is None:
                found |= dict.fromkeys(here.ranks, here.upto)
            else:
                todo += _split(connection, source, here, edges)
    return found


def _countable(source: Source) -> tuple[Source, Callable[[Any], Any]]:
    """The column in a form whose order `histogram` keeps exactly, and the way back.

    DuckDB would count decimals as doubles, and Python has no nanoseconds.
    """
    column, type_ = source.column, source.type
    if pa.types.is_decimal(type_):
        scale = type_.scale
        scaled = replace(source, column=f"cast({column} * {10**scale} as hugeint)")
        return scaled, lambda value: Decimal(value).scaleb(-scale)
    if pa.types.is_timestamp(type_) and type_.tz is None and type_.unit != "us":
        return replace(source, column=f"cast({column} as timestamp)"), _same
    if pa.types.is_boolean(type_):
        return replace(source, column=f"cast({column} as integer)"), _same
    return source, _same


def _same(value: Any) -> Any:
    return value


def _extent(connection: duckdb.DuckDBPyConnection, source: Source) -> tuple[int, Any]:
    row = connection.execute(
        f"select count({source.column}), max({source.column}) from {source.relation}",
        list(source.parameters),
    ).fetchone()
    return row if row is not None else (0, None)


def _edges(connection: duckdb.DuckDBPyConnection, source: Source, here: _Range) -> list[Any] | None:
    """Upper edges of bins that divide the range, or None when all its values are equal.

    Any edges give exact counts, so a sample of the values will do.
    """
    where, bounds = _where(source, here)
    sample = connection.execute(
        f"select v from (select {source.column} as v from {source.relation} where {where}) "
        f"using sample reservoir({_BINS} rows) repeatable (1)",
        bounds,
    ).fetchall()
    inner = {row[0] for row in sample if row[0] < here.upto}
    if not inner:
        # Nearly all values are `upto`; the rest get one bin.
        (before,) = _one(connection, source, here, _greatest_below(source))
        if before is None:
            return None
        inner = {before}
    return [*sorted(inner), here.upto]


def _greatest_below(source: Source) -> str:
    """`_where` puts the upper bound first among its parameters."""
    return f"max({source.column}) filter ({source.column} < ${len(source.parameters) + 1})"


def _split(
    connection: duckdb.DuckDBPyConnection, source: Source, here: _Range, edges: list[Any]
) -> list[_Range]:
    position = len(source.parameters) + (1 if here.above is None else 2) + 1
    # Without the cast, edges of decimals come back as keys of another scale.
    (type_,) = _one(connection, source, here, f"typeof({source.column})", limit=1)
    histogram = f"histogram({source.column}, ${position}::{type_}[])"
    (counts,) = _one(connection, source, here, histogram, [edges])
    ranges, above, below = [], here.above, here.below
    for edge in edges:
        inside = counts[edge]
        ranks = tuple(rank for rank in here.ranks if below < rank <= below + inside)
        if ranks:
            ranges.append(_Range(above, edge, below, inside, ranks))
        above, below = edge, below + inside
    return ranges


def _groups(ranges: list[_Range]) -> Iterator[list[_Range]]:
    """Ranges in order of their values, as many at a time as hold at most `_SMALL` values."""
    group: list[_Range] = []
    for here in sorted(ranges, key=lambda one: one.below):
        if group and sum(one.count for one in group) + here.count > _SMALL:
            yield group
            group = []
        group.append(here)
    if group:
        yield group


def _looked_up(
    connection: duckdb.DuckDBPyConnection, source: Source, group: list[_Range]
) -> dict[int, Any]:
    """One scan for all ranges of the group: they follow one another in the sorted values."""
    conditions, bounds = [], list(source.parameters)
    for here in group:
        condition, values = _where(replace(source, parameters=tuple(bounds)), here)
        conditions.append(f"({condition})")
        bounds = values
    query = (
        f"select {source.column} from {source.relation} where {' or '.join(conditions)} order by 1"
    )
    values = [row[0] for row in connection.execute(query, bounds).fetchall()]
    found: dict[int, Any] = {}
    first = 0
    for here in group:
        found |= {rank: values[first + rank - here.below - 1] for rank in here.ranks}
        first += here.count
    return found


def _one(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    here: _Range,
    what: str,
    more: Sequence[Any] = (),
    limit: int | None = None,
) -> tuple[Any, ...]:
    where, bounds = _where(source, here)
    query = f"select {what} from {source.relation} where {where}"
    query += f" limit {limit}" if limit is not None else ""
    row = connection.execute(query, [*bounds, *more]).fetchone()
    return row if row is not None else ()


def _where(source: Source, here: _Range) -> tuple[str, list[Any]]:
    """The condition of the range. Bounds travel as parameters: text would lose digits."""
    n = len(source.parameters)
    if here.above is None:
        return f"{source.column} <= ${n + 1}", [*source.parameters, here.upto]
    return (
        f"{source.column} <= ${n + 1} and {source.column} > ${n + 2}",
        [*source.parameters, here.upto, here.above],
    )
