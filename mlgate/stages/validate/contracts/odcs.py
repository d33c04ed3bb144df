"""Contracts in the Open Data Contract Standard (ODCS) version 3, as `mlgate/contract/v1`.

https://bitol-io.github.io/open-data-contract-standard/latest/schema/

Read are, per property: `name`, `physicalType` or `logicalType`, `required`, `unique`, `primaryKey`,
`enum` (3.2), the library quality rule `invalidValues`, `classification`, nested `properties`,
`items` and `map`; and of `customProperties`: `arrowType`, `readByModel`, `was`, `pii`, `default`.
All else of the standard says nothing about what a reader of the columns meets.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import pyarrow as pa

from mlgate.data import arrow_types

Path = tuple[str | int, ...]
Problem = tuple[Path, str]

_PERSONAL: Final = {"pii", "personal", "personal data", "sensitive", "confidential pii"}
_DEEPEST: Final = 32

# Types as databases spell them. Sizes of text (VARCHAR(20)) are no Arrow types and left out.
_PHYSICAL: Final[dict[str, str]] = {
    "tinyint": "int8", "smallint": "int16", "int2": "int16", "int": "int32", "integer": "int32",
    "int4": "int32", "mediumint": "int32", "bigint": "int64", "int8": "int64", "long": "int64",
    "utinyint": "uint8", "usmallint": "uint16", "uinteger": "uint32", "ubigint": "uint64",
    "real": "float", "float4": "float", "double": "double", "double precision": "double",
    "float8": "double", "boolean": "bool", "bool": "bool", "bit": "bool",
    "varchar": "string", "char": "string", "character varying": "string", "character": "string",
    "nvarchar": "string", "nchar": "string", "text": "string", "string": "string",
    "clob": "string", "uuid": "extension<arrow.uuid>", "json": "string", "jsonb": "string",
    "varbinary": "binary", "bytea": "binary", "blob": "binary", "bytes": "binary",
    "date": "date32[day]", "time": "time64[us]", "datetime": "timestamp[us]",
    "timestamp": "timestamp[us]", "timestamp_ntz": "timestamp[us]",
    "timestamp without time zone": "timestamp[us]", "timestamp_tz": "timestamp[us, tz=UTC]",
    "timestamptz": "timestamp[us, tz=UTC]", "timestamp with time zone": "timestamp[us, tz=UTC]",
    "timestamp_ltz": "timestamp[us, tz=UTC]",
}  # fmt: skip
_LOGICAL: Final[dict[str, str]] = {
    "string": "string",
    "integer": "int64",
    "number": "double",
    "boolean": "bool",
    "date": "date32[day]",
    "time": "time64[us]",
    "timestamp": "timestamp[us]",
}


def read(
    document: Mapping[str, object], *, table: str | None
) -> tuple[dict[str, object], Path, list[Problem]]:
    """An ODCS document as the plain values of an `mlgate/contract/v1`.

    Also returns where the columns stand in the document, and what is wrong with it; with any
    problem the values are incomplete. `table` picks a schema object by name.
    """
    if document.get("kind", "DataContract") != "DataContract":
        return {}, (), [(("kind",), f"kind {document['kind']!r} is not DataContract")]
    version = str(document.get("apiVersion", ""))
    if not re.match(r"v?3\.", version):
        what = f"apiVersion {version or 'missing'}: only ODCS version 3 is read"
        return {}, (), [(("apiVersion",), what)]
    objects = [(i, o) for i, o in enumerate(_list(document.get("schema"))) if isinstance(o, dict)]
    if not objects:
        return {}, (), [(("schema",), "`schema` lists no table")]
    names = [str(o.get("name")) for _, o in objects]
    chosen = [(i, o) for i, o in objects if table is None or o.get("name") == table]
    if not chosen:
        return {}, (), [(("schema",), f"no table {table!r}; there are: {', '.join(names)}")]
    if len(chosen) > 1:
        what = f"several tables: {', '.join(names)}; a dataset's contract must have one"
        return {}, (), [(("schema",), what)]
    index, entry = chosen[0]
    at: Path = ("schema", index, "properties")
    problems: list[Problem] = []
    columns = [_column(p, (*at, i), problems)
               for i, p in enumerate(_list(entry.get("properties")))]  # fmt: skip
    if not columns:
        problems.append((at, f"table {names[0]!r} has no properties"))
    value: dict[str, object] = {
        "schema": "mlgate/contract/v1",
        "name": str(document.get("name") or entry.get("name") or document.get("id") or "contract"),
        "version": str(document.get("version", "1")),
        "columns": columns,
    }
    return value, at, problems


def _column(entry: object, at: Path, problems: list[Problem]) -> dict[str, object]:
    if not isinstance(entry, dict):
        problems.append((at, "not a property: it must be an object with a name"))
        return {}
    custom = {
        str(c.get("property")): c.get("value")
        for c in _list(entry.get("customProperties"))
        if isinstance(c, dict)
    }
    key = entry.get("primaryKey") is True
    column: dict[str, object] = {
        "name": entry.get("physicalName") or entry.get("name") or "",
        "required": entry.get("required") is True or key,
        "unique": entry.get("unique") is True or (key and not _composite(entry)),
        "pii": custom.get("pii") is True
        or str(entry.get("classification", "")).lower() in _PERSONAL,
        "read_by_model": custom.get("readByModel") is True,
    }
    if "was" in custom:
        was = custom["was"]
        column["was"] = [was] if isinstance(was, str) else was
    if "default" in custom:
        column["default"] = custom["default"]
    values = list(_enum(entry))
    if values:
        column["enum"] = values
    try:
        declared = custom.get("arrowType")
        found = arrow_types.parse(str(declared)) if declared else _type(entry, 0)
        column["type"] = str(found)
    except ValueError as error:
        problems.append((at, f"{column['name'] or 'a property'}: {error}"))
    return column


def _composite(entry: Mapping[str, object]) -> bool:
    """Whether the property is one of several that make the key, and so not unique by itself."""
    position = entry.get("primaryKeyPosition")
    return isinstance(position, int) and position > 1


def _enum(entry: Mapping[str, object]) -> Iterator[object]:
    for value in _list(entry.get("enum")):
        yield value.get("value") if isinstance(value, dict) else value
    for rule in _list(entry.get("quality")):
        if not isinstance(rule, dict) or rule.get("metric", rule.get("rule")) != "invalidValues":
            continue
        arguments = rule.get("arguments")
        if isinstance(arguments, dict) and rule.get("mustBe", 0) == 0:
            yield from _list(arguments.get("validValues"))


def _type(entry: Mapping[str, object], depth: int) -> pa.DataType:
    if depth > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST}")
    logical = str(entry.get("logicalType", "")).lower()
    if logical == "object" or (not logical and "properties" in entry):
        children = [p for p in _list(entry.get("properties")) if isinstance(p, dict)]
        if not children:
            raise ValueError("an object without properties has no Arrow type")
        return pa.struct([_child(str(p.get("name", "")), p, depth) for p in children])
    if logical == "array":
        items = entry.get("items")
        if not isinstance(items, dict):
            raise ValueError("an array needs `items`")
        return pa.list_(_child("item", items, depth))
    if logical == "map":
        parts = entry.get("map")
        key, value = (parts.get("key"), parts.get("value")) if isinstance(parts, dict) else (0, 0)
        if not isinstance(key, dict) or not isinstance(value, dict):
            raise ValueError("a map needs `map: {key, value}`")
        return pa.map_(_type(key, depth + 1), _child("value", value, depth))
    physical = str(entry.get("physicalType") or "").strip()
    found = _physical(physical) if physical else None
    if found is None and logical in _LOGICAL:
        found = _from_logical(logical, entry.get("logicalTypeOptions"))
    if found is None:
        named = physical or logical
        raise ValueError(
            f"its type {named!r} is not known" if named else "it has no physicalType or logicalType"
        )
    return found


def _child(name: str, entry: Mapping[str, object], depth: int) -> pa.Field:
    return pa.field(name, _type(entry, depth + 1), nullable=entry.get("required") is not True)


def _physical(text: str) -> pa.DataType | None:
    """A database's type or an Arrow type; None when it is neither.

    A database's reading comes first: `int8` is 8 bytes long. `arrowType` settles it.
    """
    lowered = re.sub(r"\s+", " ", text.lower())
    number = re.fullmatch(r"(?:decimal|numeric|number)\s*\((\d+)(?:,\s*(\d+))?\)", lowered)
    if number:
        return pa.decimal128(int(number[1]), int(number[2] or 0))
    bare = re.sub(r"\s*\([^)]*\)", "", lowered)
    if bare in _PHYSICAL:
        return arrow_types.parse(_PHYSICAL[bare])
    try:
        return arrow_types.parse(text)
    except ValueError:
        return None


def _from_logical(logical: str, options: object) -> pa.DataType:
    given = options if isinstance(options, dict) else {}
    if logical == "integer":
        sizes = {"i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
                 "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64"}  # fmt: skip
        return arrow_types.parse(sizes.get(str(given.get("format")), "int64"))
    if logical == "number":
        return pa.float32() if given.get("format") == "f32" else pa.float64()
    if logical == "timestamp" and given.get("timezone") is True:
        zone = given.get("defaultTimezone")
        return pa.timestamp("us", str(zone) if zone else "UTC")
    return arrow_types.parse(_LOGICAL[logical])


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
