"""Make a profile of a table: two scans for a reference, one for data that follows its bins."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, nextafter
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from mlgate.data.table import Table, quoted, reading
from mlgate.errors import StageError
from mlgate.evidence import Digest
from mlgate.stages.validate.drift.binning import edges, frequent
from mlgate.stages.validate.drift.profile import (
    UNLISTED,
    Categorical,
    Ordered,
    Profile,
    Skipped,
    Units,
    Withheld,
)

_SAMPLE_ROWS: Final = 200_000
_SAMPLE_CELLS: Final = 4_000_000
_COLUMNS_PER_SCAN: Final = 64

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
        skipped=_with_nulls(table, skipped),
    )


def _with_nulls(table: Table, skipped: list[Skipped]) -> tuple[Skipped, ...]:
    """How many nulls each has: that is known for every type."""
    counted = [one for one in skipped if one.reason != "ignored"]
    if not counted:
        return tuple(skipped)
    sums = ", ".join(f"count(*) - count({quoted(one.name)})" for one in counted)
    nulls = dict(zip([one.name for one in counted], _one(table, sums, table.view), strict=True))
    return tuple(one.model_copy(update={"nulls": nulls.get(one.name)}) for one in skipped)


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
        elif known is not None and (
            known.kind != kind
            or (kind == "temporal" and _scale(known.type) != _scale(str(field.type)))
        ):
            reason = f"another kind of type than in the profile that gives the bins ({known.type})"
        else:
            wanted.append(_Bins(field.name, field.type, kind))
            continue
        skipped.append(Skipped(name=field.name, type=str(field.type), reason=reason))
    return wanted, skipped


def _scale(type_: str) -> str:
    """What a temporal column counts: date, timestamp, time or duration."""
    return type_.split("[")[0].rstrip("0123456789")


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
                counts = dict(
                    zip(values.field(0).to_pylist(), values.field(1).to_pylist(), strict=True)
                )
                chosen.append(replace(column, values=frequent(counts)))
            else:
                chosen.append(replace(column, edges=_cut(column, values, bins, rows)))
    return chosen


def _cut(column: _Bins, counts: pa.StructArray, bins: int, rows: int) -> tuple[float, ...]:
    values, weights = (counts.field(i).to_numpy(zero_copy_only=False) for i in (0, 1))
    order = np.argsort(values)
    order = order[np.isfinite(values[order])]
    return edges(values[order], weights[order], bins, rows, whole=_is_whole(column.type))


def _sample(table: Table, columns: list[_Bins], rows: int) -> dict[str, pa.StructArray]:
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
    return {
        column.name: data.column(i).combine_chunks().drop_null().value_counts()
        for i, column in enumerate(columns)
    }


def _expression(column: _Bins) -> str:
    if column.kind == "categorical":
        return f"{quoted(column.name)}::varchar"
    return number(column.name, column.type)


def _count(table: Table, columns: list[_Bins], rows: int, *, spliced: bool) -> Iterator[_Column]:
    """One scan: totals, extremes, and counts over the bins; one more where there are infinities.

    `spliced` adds bins below and above the range, in which a reference has only infinities.
    """
    expressions: list[str] = []
    parameters: list[object] = []
    for column in columns:
        name = quoted(column.name)
        expressions.append(f"count({name})")
        if column.kind == "categorical":
            text = f"{name}::varchar"
            # histogram_exact() names what is not listed '', which may be a value.
            expressions += [f"count(*) filter (where {text} = '')", f"histogram_exact({text}, ?)"]
            parameters.append([v for v in column.values if v != ""] or ["-"])
        elif column.kind != "withheld":
            x = number(column.name, column.type)
            expressions += [f"min({x})", f"max({x})", f"map_values(histogram({x}, ?::double[]))"]
            parameters.append(list(column.edges) or [0.0])
    found = iter(_one(table, ", ".join(expressions), table.view, parameters))
    for column in columns:
        count = int(next(found))
        nulls = rows - count
        if column.kind == "withheld":
            yield Withheld(name=column.name, type=str(column.type), nulls=nulls, count=count)
        elif column.kind == "categorical":
            empty, listed = int(next(found)), next(found) or {}
            yield _categorical(column, count, nulls, empty, listed)
        else:
            ends = _ends(table, column, next(found), next(found))
            counts = [int(n) for n in next(found) or []]
            nans = _nans(table, column) if nulls else 0
            yield _ordered(column, nulls, nans, ends, counts, spliced=spliced)


def _ends(
    table: Table, column: _Bins, low: float | None, high: float | None
) -> tuple[float | None, float | None, int, int]:
    """The finite extremes, and how many values are −∞ and +∞."""
    if (low is None or isfinite(low)) and (high is None or isfinite(high)):
        return low, high, 0, 0
    x = quoted(column.name)
    finite = f"filter (where isfinite({x}))"
    infinite = (f"count(*) filter (where {x} = '{sign}infinity')" for sign in "-+")
    select = ", ".join([f"min({x}) {finite}", f"max({x}) {finite}", *infinite])
    low, high, under, over = _one(table, select, table.view)
    return low, high, int(under), int(over)


def _nans(table: Table, column: _Bins) -> int:
    if not pa.types.is_floating(column.type):
        return 0
    select = f"count(*) filter (where isnan({quoted(column.name)}))"
    return int(_one(table, select, table.raw_view)[0])


def _categorical(
    column: _Bins, count: int, nulls: int, empty: int, listed: Mapping[str, int]
) -> Categorical:
    top = tuple((v, empty if v == "" else int(listed.get(v, 0))) for v in column.values)
    if count - sum(n for _, n in top) > UNLISTED * count:
        top = ()  # identifiers or free text: of these no value is kept
    return Categorical(
        name=column.name, type=str(column.type), nulls=nulls, top=top,
        other=count - sum(n for _, n in top),
    )  # fmt: skip


def _ordered(
    column: _Bins,
    nulls: int,
    nans: int,
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
        type=str(column.type), nulls=nulls, nans=nans, low=low, high=high,
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
