"""How old the newest row of a table is: from Parquet's footers where they say so, else by a scan."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa
import pyarrow.parquet as pq

from mlgate.data.footers import footers
from mlgate.data.table import Table, quoted, reading
from mlgate.errors import StageError

_TOLERATED: Final = timedelta(minutes=1)
"""How far clocks may be apart before a time in the future is an error."""

_Newest = dict[tuple[str, ...], datetime | date]


@dataclass(frozen=True)
class Freshness:
    """Ages in seconds at the given `now`; never negative."""

    lag_s: float
    newest: datetime
    n: int
    """Rows of the table."""
    partitions: tuple[tuple[str, float], ...]
    """Age by partition, such as `country=DE/day=2026-01-31`, sorted; empty without partitions."""
    source: Literal["footers", "rows"]


def freshness(
    table: Table, column: str, *, now: datetime, timezone: str | None = None
) -> Freshness:
    """The age of the newest value of `column` at `now`, which must carry a zone.

    `timezone` is the zone of values that carry none; a date stands for its first moment there.
    Raises `StageError` when there is no such column, its type is no time, its values have no zone
    and none is given, every value is null, or the newest lies more than a minute in the future.
    """
    if now.tzinfo is None:
        raise ValueError("now carries no zone")
    zone = _zone(_type(table, column), column, timezone)
    in_footers = _newest_in_footers(table, column)
    found = _newest_in_rows(table, column) if in_footers is None else in_footers
    if not found:
        raise StageError(
            f"freshness: column {column!r} has no value in any row",
            hint="check the column, the path and the filter",
        )
    moments = {key: _moment(value, zone) for key, value in found.items()}
    newest = max(moments.values())
    if newest - now > _TOLERATED:
        raise StageError(
            f"freshness: the newest {column!r} lies {_span(newest - now)} in the future",
            hint="wrong zone or unit? set freshness.timezone to the zone the data was written in",
        )
    rows = _rows(table)
    lags = [("/".join(key), _lag(now, moment)) for key, moment in moments.items() if key]
    return Freshness(
        lag_s=_lag(now, newest),
        newest=newest,
        n=rows,
        partitions=tuple(sorted(lags)),
        source="rows" if in_footers is None else "footers",
    )


def _type(table: Table, column: str) -> pa.DataType:
    if column not in table.schema.names:
        near = get_close_matches(column, table.schema.names, n=1)
        raise StageError(
            f"freshness: there is no column {column!r}",
            hint=f"did you mean {near[0]!r}?" if near else None,
        )
    type_ = table.schema.field(column).type
    if not (pa.types.is_timestamp(type_) or pa.types.is_date(type_)):
        raise StageError(
            f"freshness: column {column!r} is {type_}, not a timestamp or a date",
            hint="store it as a timestamp, or name another column",
        )
    return type_


def _zone(type_: pa.DataType, column: str, name: str | None) -> tzinfo:
    if pa.types.is_timestamp(type_) and type_.tz is not None:
        return UTC
    if name is None:
        raise StageError(
            f"freshness: the values of column {column!r} carry no zone, so they are no moments",
            hint="set freshness.timezone, e.g. UTC",
        )
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise StageError(
            f"freshness: {name!r} is not a time zone", hint="e.g. UTC or Europe/Berlin"
        ) from None


def _newest_in_footers(table: Table, column: str) -> _Newest | None:
    """None when a row group with values lacks their extremes (old INT96 timestamps do)."""
    found = footers(table)
    if found is None or column in table.partitions:
        return None
    newest: _Newest = {}
    for file, footer in found.items():
        key = _partition(file, table)
        for value in _maxima(footer, column):
            if value is None:
                return None
            newest[key] = _later(newest.get(key), value)
    return newest


def _maxima(footer: pq.FileMetaData, column: str) -> Iterator[datetime | date | None]:
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            if chunk.path_in_schema != column:
                continue
            stats = chunk.statistics
            if stats is not None and stats.has_null_count and stats.null_count == group.num_rows:
                continue
            known = stats is not None and stats.has_min_max
            value = stats.max if known else None
            yield value if isinstance(value, date) else None


def _later(one: datetime | date | None, other: datetime | date) -> datetime | date:
    # All values of one column are of one type.
    return other if one is None else max(one, other)


def _partition(file: str, table: Table) -> tuple[str, ...]:
    """The `key=value` folders of a file."""
    wanted = set(table.partitions)
    folders = PurePosixPath(file).parts[:-1]
    return tuple(f for f in folders if "=" in f and f.split("=", 1)[0] in wanted)


def _newest_in_rows(table: Table, column: str) -> _Newest:
    keys = [quoted(key) for key in table.partitions if key != column]
    names = [key for key in table.partitions if key != column]
    select = ", ".join([*(f"{key}::varchar" for key in keys), _utc(table, column)])
    query = f"select {select} from {table.view} where {quoted(column)} is not null"
    query += f" group by {', '.join(keys)}" if keys else ""
    with reading(table.location):
        rows = table.connection.execute(query).fetchall()
    return {
        tuple(f"{name}={value}" for name, value in zip(names, row[:-1], strict=True)): row[-1]
        for row in rows
        if row[-1] is not None
    }


def _utc(table: Table, column: str) -> str:
    """Instants as naive UTC: DuckDB needs another library to give them with a zone."""
    newest = f"max({quoted(column)})"
    type_ = table.schema.field(column).type
    if pa.types.is_date(type_):
        return f"{newest}::date"
    return f"({newest} at time zone 'UTC')" if type_.tz is not None else f"{newest}::timestamp"


def _moment(value: datetime | date, zone: tzinfo) -> datetime:
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - its zone comes next
    placed = value if value.tzinfo is not None else value.replace(tzinfo=zone)
    return placed.astimezone(UTC)


def _lag(now: datetime, moment: datetime) -> float:
    return max(0.0, (now - moment).total_seconds())


def _span(difference: timedelta) -> str:
    seconds = difference.total_seconds()
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"


def _rows(table: Table) -> int:
    with reading(table.location):
        row = table.connection.execute(f"select count(*) from {table.view}").fetchone()
    return int(row[0]) if row else 0
