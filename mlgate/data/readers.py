"""Files of each format as one DuckDB relation with one schema; files that differ are refused."""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mlgate.data.location import Location, shown
from mlgate.data.reading import literal, quoted, reading, without_values
from mlgate.errors import StageError

ROW: Final = "mlgate row number"
_HEADER_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Relation:
    """`schema` of all files, partition columns last; `source` is what stands after FROM.

    `arrow` is what was registered on the connection: another one must be given it, too.
    """

    schema: pa.Schema
    source: str
    arrow: ds.Dataset | None = None


def relation(connection: duckdb.DuckDBPyConnection, place: Location, name: str) -> Relation:
    """All files as one relation. Raises `StageError`."""
    match place.format:
        case "parquet":
            return Relation(*_parquet(connection, place))
        case "arrow":
            return _arrow(connection, place, name)
        case "csv":
            return Relation(*_csv(connection, place))
        case "jsonl":
            return Relation(*_jsonl(connection, place))


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


def _arrow(connection: duckdb.DuckDBPyConnection, place: Location, name: str) -> Relation:
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
    whole = ds.dataset(parts) if len(parts) > 1 else parts[0]
    connection.register(name, whole)
    return Relation(schema, name, whole)


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
    outside = re.sub(r'"[^"]*("|$)', "", first)  # a quoted name may hold any of them
    delimiter = max(",;\t|", key=outside.count)
    names = next(csv.reader(io.StringIO(text), delimiter=delimiter))
    check_names(shown(file), names)
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


def check_names(what: str, names: Sequence[str]) -> None:
    """Raise `StageError` for names that SQL cannot tell apart."""
    seen = {ROW: ROW}
    for name in names:
        if name.lower() in seen:
            raise StageError(
                f"{what}: the column names {seen[name.lower()]!r} and {name!r} cannot be told "
                "apart",
                hint="rename one: SQL does not distinguish upper and lower case",
            )
        seen[name.lower()] = name


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
