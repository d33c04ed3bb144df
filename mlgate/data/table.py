"""A dataset as DuckDB views: files of one schema, filtered, with NaN as missing.

Three views over the same rows: `view` (NaN is NULL, as everywhere else in this stage), `raw_view`
(as stored, to count NaN) and `numbered_view` (`view` plus the row's position in the files).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads

from mlgate.data.location import Format, Location, locate, shown
from mlgate.data.readers import ROW, check_names, relation
from mlgate.data.reading import literal, quoted, reading
from mlgate.data.row_filter import checked
from mlgate.errors import StageError

__all__ = ["ROW", "Table", "connect", "open_table", "quoted", "reading"]


@dataclass(frozen=True)
class Table:
    """An opened dataset; nothing but headers and footers has been read of Parquet and Arrow."""

    location: str
    """As resolved: an absolute path, glob, folder, or a URL without secrets."""
    files: tuple[str, ...]
    """Sorted; never empty."""
    format: Format
    schema: pa.Schema
    """Equal in all files; logical types (no dictionaries, no large_ or view variants), without
    metadata; partition columns last."""
    partitions: tuple[str, ...]
    root: str
    """The folder below which the partition folders lie."""
    filter: str | None
    """As written."""
    connection: duckdb.DuckDBPyConnection
    view: str
    """Name of the view: `filter` applied, NaN is NULL, columns as in `schema`."""
    raw_view: str
    """The same rows and columns with NaN as stored."""
    numbered_view: str
    """`view` plus a last column `ROW`: zero-based position over all files, before the filter."""
    arrow: pads.Dataset | None = None
    """Registered as `<view>_arrow`: a cursor of the connection must be given it, too."""
    doubts: Mapping[str, str] = field(default_factory=dict)
    """Columns that are text for a few odd words, and what to do about them."""


def connect(*, memory: int | None, threads: int | None, spill: Path) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that uses at most `memory` bytes, then spills into the folder `spill`.

    It loads no extension from the network, keeps nothing in the home folder, and does not see
    Python variables as tables.
    """
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
            "python_enable_replacements": False,
            "preserve_insertion_order": True,
            "temp_directory": str(spill),
            "extension_directory": str(spill / "extensions"),
            **({"memory_limit": f"{memory}B"} if memory is not None else {}),
            **({"threads": threads} if threads is not None else {}),
        },
    )
    connection.execute("set global TimeZone = 'UTC'")
    connection.execute("set enable_progress_bar = false")
    return connection


def open_table(
    connection: duckdb.DuckDBPyConnection,
    location: str,
    *,
    view: str,
    filter: str | None = None,  # noqa: A002
) -> Table:
    """Create the views `view`, `view_raw` and `view_numbered` over the files at `location`.

    `location` is a file, a glob, a folder (hive `key=value` folders become columns) or a URL that
    fsspec knows; `filter` is one SQL condition over the columns, in which NaN is NULL. Raises
    `StageError` for everything that keeps the rows from being read.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", view):
        raise ValueError(f"not a plain view name: {view!r}")
    place = locate(location)
    if place.filesystem is not None and not _knows(connection, place):
        connection.register_filesystem(place.filesystem)
    with reading(place.location):
        found = relation(connection, place, f"{view}_arrow")
        schema, source = found.schema, found.source
        if not schema.names:
            raise StageError(f"{place.location} has no columns", hint="is it the right file?")
        check_names(place.location, schema.names)
        where = checked(connection, filter, schema.names) if filter is not None else "true"
        try:
            _create_views(connection, schema, source, view, where)
        except (duckdb.BinderException, duckdb.ConversionException) as error:
            if filter is None:
                raise
            raise StageError(
                f"filter {filter!r} does not fit the columns: {str(error).splitlines()[0]}",
                hint="compare numbers with numbers, text with text in single quotes",
            ) from None
    return Table(
        location=place.location,
        files=tuple(shown(f) for f in place.files),
        format=place.format,
        schema=schema,
        partitions=place.partitions,
        root=place.root,
        filter=filter,
        connection=connection,
        view=view,
        raw_view=f"{view}_raw",
        numbered_view=f"{view}_numbered",
        arrow=found.arrow,
        doubts=_doubts(connection, schema, source, place.format),
    )


def _knows(connection: duckdb.DuckDBPyConnection, place: Location) -> bool:
    protocol = place.filesystem.protocol if place.filesystem is not None else ()
    names = (protocol,) if isinstance(protocol, str) else tuple(protocol)
    return any(connection.filesystem_is_registered(name) for name in names)


def _create_views(
    connection: duckdb.DuckDBPyConnection, schema: pa.Schema, source: str, view: str, where: str
) -> None:
    names = [quoted(f.name) for f in schema]
    floating = {quoted(f.name) for f in schema if pa.types.is_floating(f.type)}
    clean = [f"case when isnan({n}) then null else {n} end as {n}" if n in floating else n
             for n in names]  # fmt: skip
    stored = [quoted(f"mlgate raw {i}") for i, _ in enumerate(names)]
    both = clean + [f"{n} as {s}" for n, s in zip(names, stored, strict=True) if n in floating]
    raw = [f"{s} as {n}" if n in floating else n for n, s in zip(names, stored, strict=True)]
    number = f"row_number() over () - 1 as {quoted(ROW)}"
    views = {
        view: f"select {', '.join(names)} from (select {', '.join(clean)} from {source})",
        f"{view}_raw": f"select {', '.join(raw)} from (select {', '.join(both)} from {source})",
        f"{view}_numbered": f"select * from (select {', '.join(clean)}, {number} from {source})",
    }
    for name, query in views.items():
        connection.execute(f"create or replace view {name} as {query} where {where}")


_NULL_WORDS: Final = (
    "NA",
    "N/A",
    "#N/A",
    "NaN",
    "nan",
    "NULL",
    "null",
    "None",
    "none",
    "-",
    "?",
    "",
)
_FIRST: Final = 1000  # rows that settle, mostly, that a column is text


def _doubts(
    connection: duckdb.DuckDBPyConnection, schema: pa.Schema, source: str, format_: Format
) -> dict[str, str]:
    """Columns of a text file that hold numbers, but for words that often mean "missing".

    They are read as text, in every stage alike; whoever needs numbers is told why there are none.
    """
    if format_ != "csv":
        return {}
    words = ", ".join(literal(word) for word in _NULL_WORDS)
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    for rows in (f"(select * from {source} limit {_FIRST})", source):
        found: dict[str, str] = {}
        for name in texts:
            column = quoted(name)
            is_word = f"trim({column}) in ({words})"
            query = (
                f"select count(*), count(*) filter ({is_word}), "
                f"count(*) filter (not {is_word} and try_cast({column} as double) is not null), "
                f"min({column}) filter ({is_word}) from {rows} where {column} is not null"
            )
            total, odd, numbers, word = connection.execute(query).fetchone() or (0, 0, 0, "")
            if odd + numbers == total and total:
                found[name] = (
                    f"{name} is text: {word!r} in {odd:,} of {total:,} rows"
                    if odd and numbers
                    else ""
                )
        texts = list(found)
    return {name: doubt for name, doubt in found.items() if doubt}
