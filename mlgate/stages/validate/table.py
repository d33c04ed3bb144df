"""A dataset as DuckDB views: files of one schema, filtered, with NaN as missing.

Three views over the same rows: `view` (NaN is NULL, as everywhere else in this stage), `raw_view`
(as stored, to count NaN) and `numbered_view` (`view` plus the row's position in the files).
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mlgate.errors import StageError
from mlgate.stages.validate.location import Format, Location, locate, shown
from mlgate.stages.validate.row_filter import checked

ROW: Final = "mlgate row number"
_HEADER_BYTES: Final = 1 << 20


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
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("set enable_progress_bar = false")
    return connection


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def open_table(
    connection: duckdb.DuckDBPyConnection, location: str, *, view: str, filter: str | None = None
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
        match place.format:
            case "parquet":
                schema, source = _parquet(connection, place)
            case "arrow":
                schema, source = _arrow(connection, place, view)
            case "csv":
                schema, source = _csv(connection, place)
            case "jsonl":
                schema, source = _jsonl(connection, place)
        if not schema.names:
            raise StageError(f"{place.location} has no columns", hint="is it the right file?")
        _check_names(place.location, schema.names)
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
    )


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what DuckDB and Arrow raise while they read `what` into a `StageError`.

    Their messages may quote rows, so of them only the place (file, line, column) is kept.
    """
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise StageError(
            f"{what}: the memory limit is too small for this query",
            hint="raise `memory`, or leave room on the disk for what is spilled",
        ) from None
    except duckdb.Error as error:
        raise _from_duckdb(what, str(error)) from None
    except (pa.ArrowException, pa.ArrowKeyError) as error:
        raise StageError(
            f"{what} cannot be read: {without_values(str(error))}", hint="is the file whole?"
        ) from None


def _from_duckdb(what: str, text: str) -> StageError:
    file = re.search(r'file = (.+)|file ["\']([^"\']+)["\']', text)
    where = shown((file[1] or file[2]).strip()) if file else what
    line = re.search(r"(?:CSV Error on Line:|in line) (\d+)", text)
    where += f", line {line[1]}" if line else ""
    if "not utf-8 encoded" in text:
        return StageError(
            f"{where}: the text is not UTF-8",
            hint="convert it: iconv -f LATIN1 -t UTF-8 (or whichever encoding it has)",
        )
    if "CSV Error" in text:
        column = re.search(r'converting column "([^"]+)"', text)
        what_is_wrong = (
            f"a value of column {column[1]!r} does not fit its type"
            if column
            else "the row does not have the columns of the header"
        )
        return StageError(f"{where}: {what_is_wrong}", hint="look at that line")
    if "Error when sniffing file" in text:
        return StageError(
            f"{where}: not every row has the columns of the header",
            hint="every row must have as many fields as the first line names",
        )
    if "JSON" in text and ("Malformed" in text or "Invalid" in text):
        return StageError(f"{where}: not JSON", hint="each line must be one JSON object")
    return StageError(
        f"{where} cannot be read: {without_values(text)}",
        hint="is the file whole and of this format?",
    )


def without_values(text: str) -> str:
    """The first line of a library's message, without what it quotes (it may be data)."""
    line = text.strip().splitlines()[0] if text.strip() else "no reason given"
    return re.sub(r"'[^']*'|\"[^\"]*\"", "…", line)[:200]


def _knows(connection: duckdb.DuckDBPyConnection, place: Location) -> bool:
    protocol = place.filesystem.protocol if place.filesystem is not None else ()
    names = (protocol,) if isinstance(protocol, str) else tuple(protocol)
    return any(connection.filesystem_is_registered(name) for name in names)


def _parquet(connection: duckdb.DuckDBPyConnection, place: Location) -> tuple[pa.Schema, str]:
    found: dict[str, pa.Schema] = {}
    for file in place.files:
        with place.open(file) as stream:
            try:
                found[file] = logical(pq.read_schema(stream))
            except (pa.ArrowException, OSError) as error:
                raise StageError(
                    f"{shown(file)} is not a whole Parquet file ({without_values(str(error))})",
                    hint="was the job that writes it interrupted?",
                ) from None
    source = f"read_parquet({_listed(place.files)}{_hive(place)})"
    return _with_partitions(connection, place, _same(found), source), source


def _arrow(
    connection: duckdb.DuckDBPyConnection, place: Location, view: str
) -> tuple[pa.Schema, str]:
    if place.partitions:
        raise StageError(
            f"{place.location}: key=value folders are not read for Arrow files",
            hint="write the dataset as Parquet",
        )
    parts: list[ds.Dataset] = []
    found: dict[str, pa.Schema] = {}
    for file in place.files:
        try:
            part = _arrow_file(place, file)
        except (pa.ArrowException, OSError) as error:
            raise StageError(
                f"{shown(file)} is not a whole Arrow file ({without_values(str(error))})",
                hint="it must be an Arrow IPC file or stream (Feather version 2)",
            ) from None
        found[file] = logical(part.schema)
        parts.append(part)
    schema = _same(found)
    name = f"{view}_arrow"
    connection.register(name, ds.dataset(parts) if len(parts) > 1 else parts[0])
    return schema, name


def _arrow_file(place: Location, file: str) -> ds.Dataset:
    """Files are scanned where they are; streams are mapped (local) or read (remote)."""
    with place.open(file) as stream:
        is_file = stream.read(6) == b"ARROW1"
    if is_file and place.filesystem is None:
        return ds.dataset(file, format="ipc")
    source = pa.memory_map(file) if place.filesystem is None else pa.py_buffer(_whole(place, file))
    reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
    return ds.dataset(reader.read_all())


def _whole(place: Location, file: str) -> bytes:
    with place.open(file) as stream:
        return stream.read()


def _csv(connection: duckdb.DuckDBPyConnection, place: Location) -> tuple[pa.Schema, str]:
    heads = {file: _header(place, file) for file in place.files}
    names = {file: head for file, (_, head) in heads.items()}
    _same_names(names)
    delimiters = {delimiter for delimiter, _ in heads.values()}
    if len(delimiters) > 1:
        raise StageError(
            f"{place.location}: the files have different separators: {sorted(delimiters)}",
            hint="write all of them with one separator",
        )
    # Skipping and padding off: else DuckDB takes a later row as header when an earlier one is odd.
    source = (
        f"read_csv({_listed(place.files)}, header = true, skip = 0, sample_size = -1, "
        f"delim = {literal(delimiters.pop())}, quote = '\"', escape = '\"', comment = '', "
        f"null_padding = false, strict_mode = true, union_by_name = true{_hive(place)})"
    )
    schema = _described(connection, source, place)
    header = names[place.files[0]]
    given = [n for n in schema.names if n not in place.partitions]
    wrong = [n for n, h in zip(given, header, strict=False) if h and n.lower() != h.lower()]
    if wrong or len(given) != len(header):
        raise StageError(
            f"{shown(place.files[0])}: its rows do not have the {len(header)} columns of the "
            "first line",
            hint="the first line must be the header, and every row must have as many fields",
        )
    return schema, source


def _header(place: Location, file: str) -> tuple[str, list[str]]:
    """The separator and the column names of a CSV file, from its first record."""
    with place.open(file) as stream:
        packed = {"gz": "gzip", "zst": "zstd"}.get(file.rsplit(".", 1)[-1].lower())
        try:
            start = pa.input_stream(stream, compression=packed).read(_HEADER_BYTES)
        except OSError:
            raise StageError(
                f"{shown(file)} is not whole: it cannot be unpacked",
                hint="was the job that writes it interrupted?",
            ) from None
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise StageError(
            f"{shown(file)}: the text is UTF-16, not UTF-8",
            hint="convert it: iconv -f UTF-16 -t UTF-8",
        )
    text = start.decode("utf-8-sig", errors="replace")
    first = text.splitlines()[0] if text.strip() else ""
    if not first.strip():
        raise StageError(
            f"{shown(file)} has no header", hint="the first line must name the columns"
        )
    delimiter = max(",;\t|", key=first.count)
    names = next(csv.reader(io.StringIO(text), delimiter=delimiter))
    _check_names(shown(file), names)
    return delimiter, names


def _jsonl(connection: duckdb.DuckDBPyConnection, place: Location) -> tuple[pa.Schema, str]:
    options = "format = 'newline_delimited', sample_size = -1"
    found: dict[str, list[str]] = {}
    for file in place.files:
        with reading(shown(file)):
            one = _described(connection, f"read_json({_listed([file])}, {options})", None)
        if one.names == ["json"]:
            raise StageError(
                f"{shown(file)}: its lines are not JSON objects",
                hint='each line must be one object: {"column": value, …}',
            )
        found[file] = sorted(one.names)
    _same_names(found)
    source = f"read_json({_listed(place.files)}, {options}, union_by_name = true{_hive(place)})"
    return _described(connection, source, place), source


def _described(
    connection: duckdb.DuckDBPyConnection, source: str, place: Location | None
) -> pa.Schema:
    """The types DuckDB gives; of the folders' keys only those below the dataset's root."""
    keys = ", ".join(quoted(key) for key in place.partitions) if place else ""
    select = f"* exclude ({keys}), {keys}" if keys else "*"
    query = f"select {select} from {source} limit 0"
    return logical(connection.execute(query).to_arrow_table().schema)


def _with_partitions(
    connection: duckdb.DuckDBPyConnection, place: Location, schema: pa.Schema, source: str
) -> pa.Schema:
    both = [key for key in place.partitions if key in schema.names]
    if both:
        raise StageError(
            f"{place.location}: {both[0]!r} is both a folder's key and a column in the files",
            hint="drop the column from the files, or rename the folders",
        )
    if not place.partitions:
        return schema
    keys = ", ".join(quoted(key) for key in place.partitions)
    found = connection.execute(f"select {keys} from {source} limit 0").to_arrow_table().schema
    return pa.schema([*schema, *logical(found)])


def _hive(place: Location) -> str:
    return f", hive_partitioning = {'true' if place.partitions else 'false'}"


def _listed(files: Sequence[str]) -> str:
    return "[" + ", ".join(literal(file) for file in files) + "]"


def _same(found: dict[str, pa.Schema]) -> pa.Schema:
    """The one schema of all files, or a `StageError` that names two files and their difference."""
    (first, schema), *others = found.items()
    for file, other in others:
        if other.equals(schema):
            continue
        _same_names({first: schema.names, file: other.names})
        differ = [
            f"{n} ({schema.field(n).type} and {other.field(n).type})"
            for n in schema.names
            if schema.field(n).type != other.field(n).type
        ]
        what = f"other types: {', '.join(differ)}" if differ else "the columns in another order"
        raise StageError(
            f"{shown(file)} has another schema than {shown(first)}: {what}",
            hint="write all files with one schema, or name those that have the same with a glob",
        )
    return schema


def _same_names(found: dict[str, list[str]]) -> None:
    (first, names), *others = found.items()
    for file, other in others:
        missing = [n for n in names if n not in other]
        added = [n for n in other if n not in names]
        if missing or added:
            parts = [f"without {', '.join(missing)}"] if missing else []
            parts += [f"with {', '.join(added)}"] if added else []
            raise StageError(
                f"{shown(file)} has another schema than {shown(first)}: {' and '.join(parts)}",
                hint="write all files with one schema, or name those that have the same "
                "with a glob",
            )


def _check_names(what: str, names: Sequence[str]) -> None:
    seen = {ROW: ROW}
    for name in names:
        if name.lower() in seen:
            raise StageError(
                f"{what}: the column names {seen[name.lower()]!r} and {name!r} cannot be told "
                "apart",
                hint="rename one: SQL does not distinguish upper and lower case",
            )
        seen[name.lower()] = name


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


def logical(schema: pa.Schema) -> pa.Schema:
    """`schema` without metadata, nullability and encodings, which depend on who wrote the file."""
    return pa.schema([pa.field(f.name, _logical_type(f.type)) for f in schema])


def _logical_type(type_: pa.DataType) -> pa.DataType:
    t = pa.types
    if t.is_dictionary(type_):
        return _logical_type(type_.value_type)
    if t.is_large_string(type_) or t.is_string_view(type_):
        return pa.string()
    if t.is_large_binary(type_) or t.is_binary_view(type_):
        return pa.binary()
    if t.is_fixed_size_list(type_):
        return pa.list_(_logical_type(type_.value_type), type_.list_size)
    if t.is_list(type_) or t.is_large_list(type_):
        return pa.list_(_logical_type(type_.value_type))
    if t.is_struct(type_):
        return pa.struct([pa.field(f.name, _logical_type(f.type)) for f in type_])
    if t.is_map(type_):
        return pa.map_(_logical_type(type_.key_type), _logical_type(type_.item_type))
    return type_
