"""What two datasets share: whole rows, entities, and time.

A model that has seen the rows, or the people, that it is tested on is tested on nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import pyarrow as pa

from mlgate.data.table import Table, quoted, reading
from mlgate.errors import StageError


@dataclass(frozen=True)
class RowOverlap:
    """Rows of `other` that `table` has too, equal in all compared columns (null equals null)."""

    rows: int
    n: int
    """Rows of `other`."""
    columns: tuple[str, ...]
    """What was compared: the columns that both have."""
    only_here: tuple[str, ...]
    only_there: tuple[str, ...]
    incomparable: tuple[str, ...]
    """Columns that both have, of types that no value can have in common."""


@dataclass(frozen=True)
class KeyOverlap:
    """Distinct keys of `other` that `table` has too; a key with a null part is no key."""

    keys: int
    n: int
    """Distinct keys of `other`."""
    rows: int
    """Rows of `other` with such a key."""
    without_key: int
    """Rows of `other` whose key has a null part."""


def rows(table: Table, other: Table) -> RowOverlap:
    """How many rows of `other` are in `table`, over the columns that both have.

    Values are compared as values: 1 in an int32 is 1 in an int64 and in a double, and a double is
    rounded where the other side has floats; integers beyond 2⁵³ are, where it has doubles. Rows are found by hash, and the found ones compared
    truly. Raises `StageError` when no column can be compared or `other` has no rows.
    """
    columns, incomparable = _comparable(table, other)
    if not columns:
        raise StageError(
            f"overlap: {table.location} and {other.location} have no column in common",
            hint="is disjoint_from the right dataset?",
        )
    here, there = (f"select {_select(columns)} from {side.view}" for side in (table, other))
    names = ", ".join(f"c{i}" for i in range(len(columns)))
    n = _count(other, f"select count(*) from {other.view}")
    if n == 0:
        raise StageError(f"overlap: {other.location} has no rows", hint="check its filter")
    equal = " and ".join(f"a.c{i} is not distinct from b.c{i}" for i in range(len(columns)))
    query = (
        f'with "mlgate hits" as materialized ('
        f"select a.* from (select {names}, hash({names}) as h from ({there})) a "
        f"semi join (select hash({names}) as h from ({here})) b on a.h = b.h), "
        f'"mlgate seen" as (select b.* from (select {names}, hash({names}) as h from ({here})) b '
        f'semi join "mlgate hits" a on a.h = b.h) '
        f'select count(*) from "mlgate hits" a semi join "mlgate seen" b on a.h = b.h and {equal}'
    )
    return RowOverlap(
        rows=_count(table, query, other),
        n=n,
        columns=tuple(columns),
        only_here=tuple(c for c in table.schema.names if c not in other.schema.names),
        only_there=tuple(c for c in other.schema.names if c not in table.schema.names),
        incomparable=tuple(incomparable),
    )


def keys(table: Table, other: Table, key: Sequence[str]) -> KeyOverlap:
    """How many entities of `other` are in `table`; `key` are the columns that name one.

    Raises `StageError` when a key column is missing on either side, the types can have no value in
    common, or `other` has no row with a whole key.
    """
    for side in (table, other):
        for name in key:
            if name not in side.schema.names:
                near = get_close_matches(name, side.schema.names, n=1)
                raise StageError(
                    f"keys: {side.location} has no column {name!r}",
                    hint=f"did you mean {near[0]!r}?" if near else None,
                )
    columns, incomparable = _comparable(table, other, key)
    if incomparable:
        name = incomparable[0]
        types = f"{table.schema.field(name).type} and {other.schema.field(name).type}"
        raise StageError(
            f"keys: column {name!r} is {types}: no value can be equal",
            hint="store the key with one type in both datasets",
        )
    whole = " and ".join(f"{quoted(name)} is not null" for name in key)
    here, there = (
        f"select {_select(columns)} from {side.view} where {whole}" for side in (table, other)
    )
    names = ", ".join(f"c{i}" for i in range(len(columns)))
    equal = " and ".join(f"a.c{i} = b.c{i}" for i in range(len(columns)))
    grouped = f"(select {names}, count(*) as n from ({there}) group by {names})"
    query = f"select count(*), coalesce(sum(n), 0)::bigint from {grouped} a"
    n, with_key = _pair(other, query)
    if n == 0:
        raise StageError(
            f"keys: {other.location} has no row with {', '.join(key)}", hint="check the columns"
        )
    shared, shared_rows = _pair(table, f"{query} semi join ({here}) b on {equal}", other)
    total = _count(other, f"select count(*) from {other.view}")
    return KeyOverlap(shared, n, shared_rows, total - with_key)


def later_rows(table: Table, other: Table, column: str) -> int:
    """Rows of `table` at or after the first moment of `other`: what a split by time must not have.

    Raises `StageError` when the column is missing, of two kinds of type, or null throughout.
    """
    for side in (table, other):
        if column not in side.schema.names:
            raise StageError(f"{side.location} has no column {column!r}")
    if _comparable(table, other, [column])[1]:
        raise StageError(f"column {column!r} is of two kinds of type: its values have no order")
    name = quoted(column)
    if _count(other, f"select count({name}) from {other.view}") == 0:
        raise StageError(f"{other.location} has only nulls in column {column!r}")
    first = f"(select min({name}) from {other.view})"
    return _count(table, f"select count(*) from {table.view} where {name} >= {first}", other)


def _comparable(
    table: Table, other: Table, names: Sequence[str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """The SQL type to compare each common column as, and the columns that cannot be."""
    columns: dict[str, str] = {}
    incomparable: list[str] = []
    for name in names or [n for n in table.schema.names if n in other.schema.names]:
        target = _common(table.schema.field(name).type, other.schema.field(name).type)
        if target is None:
            incomparable.append(name)
        else:
            columns[name] = target
    return columns, incomparable


def _common(a: pa.DataType, b: pa.DataType) -> str | None:
    """The SQL type in which equal values of both types are equal; `` to leave them as they are."""
    t = pa.types
    if a == b:
        return ""
    numbers = [t.is_integer(x) or t.is_floating(x) or t.is_decimal(x) for x in (a, b)]
    if all(numbers):
        if all(t.is_integer(x) for x in (a, b)):
            return "hugeint"
        if any(t.is_floating(x) and x.bit_width < 64 for x in (a, b)):
            return "float"
        return "double"
    for is_ in (t.is_date, t.is_time, t.is_boolean, t.is_string, t.is_binary):
        if is_(a) and is_(b):
            return ""
    if t.is_timestamp(a) and t.is_timestamp(b) and (a.tz is None) == (b.tz is None):
        return "timestamp" if a.tz is None else ""
    return None


def _select(columns: dict[str, str]) -> str:
    """Columns c0, c1, …, each as its common type."""
    parts = []
    for i, (name, target) in enumerate(columns.items()):
        column = f"{quoted(name)}::{target}" if target else quoted(name)
        if target == "float":  # a double beyond its range is no float, and equals none
            fits = f"coalesce(try_cast({quoted(name)} as float), 'infinity'::float)"
            column = f"case when {quoted(name)} is null then null else {fits} end"
        parts.append(f"{column} as c{i}")
    return ", ".join(parts)


def _count(table: Table, query: str, other: Table | None = None) -> int:
    return int(_row(table, query, other)[0])


def _pair(table: Table, query: str, other: Table | None = None) -> tuple[int, int]:
    first, second = _row(table, query, other)
    return int(first), int(second)


def _row(table: Table, query: str, other: Table | None) -> tuple[int, ...]:
    if other is not None and other.connection is not table.connection:
        raise ValueError("both tables must be open on one connection")
    with reading(table.location):
        row = table.connection.execute(query).fetchone()
    assert row is not None
    found: tuple[int, ...] = row
    return found
