"""Does a dataset keep its contract? Its schema from footers; nulls, repeats and enums from rows."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

import pyarrow as pa

from mlgate.data.footers import footers
from mlgate.data.table import Table, quoted, reading
from mlgate.stages.validate.contracts.compatibility import Change, compare
from mlgate.stages.validate.contracts.contract import Column, Contract

_TEXT_FORMATS = ("csv", "jsonl")


def check_data(contract: Contract, schema: pa.Schema, *, named: bool = True) -> tuple[Change, ...]:
    """The changes from what the contract says to what the data's schema is; sorted by path.

    The contract is the old version, so FORWARD asks whether those who rely on it can read the
    data. What a schema does not say (required, unique, enum) is left to `check_values`.
    """
    declared = {column.name: column for column in contract.columns}
    columns = tuple(_as_stored(field, declared.get(field.name)) for field in schema)
    data = contract.model_copy(update={"columns": columns})
    former = {name: column.name for column in contract.columns for name in column.was}
    added = [c.name for c in columns if c.name not in declared]
    return tuple(_hinted(change, former, added) for change in compare(contract, data, named=named))


def check_values(contract: Contract, table: Table) -> tuple[Change, ...]:
    """Where the rows break what the contract says of a column's values; sorted by path.

    Nulls in required columns (NaN is null), repeated values in unique ones, values outside an
    enum, and, for CSV and JSON lines, values that do not fit the column's type. Each breaks every
    reader. Counts only: no value leaves.
    """
    return tuple(sorted(_check_values(contract, table), key=lambda c: (c.path, c.kind)))


def check_table(contract: Contract, table: Table) -> tuple[Change, ...]:
    """`check_data` and `check_values` of one table.

    CSV and JSON lines carry no types, only what a reader makes of them: there a column of a type
    that can be converted is no change, and whether every value converts is checked instead.
    """
    changes = check_data(contract, table.schema)
    if table.format in _TEXT_FORMATS:
        changes = tuple(c for c in changes if not (c.kind == "type" and _is_converted(contract, c)))
    return tuple(sorted(changes + check_values(contract, table), key=lambda c: (c.path, c.kind)))


def _as_stored(field: pa.Field, declared: Column | None) -> Column:
    # Nested types keep their own nullability only where the contract's type says something of it.
    if declared is None:
        return Column.model_construct(name=field.name, type=str(field.type))
    return declared.model_copy(update={"type": _like(declared.arrow, field.type)})


def _like(declared: pa.DataType, stored: pa.DataType) -> str:
    """`stored`, laid out and nullable inside as `declared` is, for writers do not keep that."""
    return str(_relaxed(declared, stored))


def _relaxed(declared: pa.DataType, stored: pa.DataType) -> pa.DataType:
    t = pa.types
    if t.is_struct(declared) and t.is_struct(stored):
        known = {f.name: f for f in declared}
        fields = [
            pa.field(f.name, _relaxed(known[f.name].type, f.type), known[f.name].nullable)
            if f.name in known
            else pa.field(f.name, f.type)
            for f in stored
        ]
        return pa.struct(fields)
    if t.is_dictionary(declared) and declared.value_type == stored:
        return declared
    if _has_items(declared) and _has_items(stored):
        inner = declared.value_field
        child = pa.field(inner.name, _relaxed(inner.type, stored.value_type), inner.nullable)
        return pa.list_(child, stored.list_size if t.is_fixed_size_list(stored) else -1)
    if t.is_map(declared) and t.is_map(stored):
        inner = declared.item_field
        item = pa.field(inner.name, _relaxed(inner.type, stored.item_type), inner.nullable)
        return pa.map_(_relaxed(declared.key_type, stored.key_type), item)
    return stored


def _has_items(type_: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_list(type_) or t.is_large_list(type_) or t.is_fixed_size_list(type_))


def _hinted(change: Change, former: dict[str, str], added: list[str]) -> Change:
    """A missing column with the name that it probably has in the data."""
    if change.kind != "dropped" or "." in change.path:
        return change
    under = next((name for name, now in former.items() if now == change.path and name in added), "")
    near = under or next(iter(get_close_matches(change.path, added, n=1)), "")
    if not near:
        return change
    what = "its former name" if under else "another name?"
    why = f"{change.why}; the data has {near!r} ({what})"
    return Change(change.path, change.kind, change.old, change.new, change.backward,
                  change.forward, why, change.read_by_model, change.since)  # fmt: skip


def _is_converted(contract: Contract, change: Change) -> bool:
    column = contract.column(change.path)
    return column is not None and _sql_type(column.arrow) is not None


def _check_values(contract: Contract, table: Table) -> Iterator[Change]:
    columns = {c.name: c for c in contract.columns if c.name in table.schema.names}
    every = list(columns.values())
    for name, wrong in _nulls(table, [c for c in every if c.required]).items():
        yield from _broken(columns[name], "required", "nulls", wrong)
    for name, wrong in _outside_enum(table, [c for c in every if c.enum is not None]).items():
        yield from _broken(columns[name], "enum", "values outside the enum", wrong)
    for column in every:
        if column.unique:
            repeated = _repeated(table, column.name)
            yield from _broken(column, "unique", "rows repeat a value", repeated)
    if table.format in _TEXT_FORMATS:
        for name, wrong in _unconvertible(table, every).items():
            what = f"values do not fit {columns[name].type}"
            yield from _broken(columns[name], "type", what, wrong)


_SENTENCES: Final = {
    "required": "{name} is required, and {rows} without it",
    "enum": "{name} is one of a list of values, and {rows} with another",
    "unique": "{name} is unique, and {rows} with a value that another has, too",
    "type": "{name} is {type}, and {rows} with what is none",
}


def _rows(count: int) -> str:
    return "there is 1 row" if count == 1 else f"there are {count:,} rows"


def _broken(column: Column, kind: str, what: str, rows: int) -> Iterator[Change]:
    if rows:
        found = f"{rows} {what}"
        why = _SENTENCES[kind].format(name=column.name, type=column.type, rows=_rows(rows))
        yield Change(column.name, kind, kind, found, True, True, why, column.read_by_model)


def _nulls(table: Table, columns: list[Column]) -> dict[str, int]:
    """Nulls per column: from Parquet's footers where they say so, else from the rows."""
    known = _nulls_in_footers(table)
    open_ = [c.name for c in columns
             if c.name not in known or pa.types.is_floating(table.schema.field(c.name).type)]  # fmt: skip
    found = {c.name: known[c.name] for c in columns if c.name not in open_}
    return found | _counts(table, {n: f"count(*) - count({quoted(n)})" for n in open_})


def _nulls_in_footers(table: Table) -> dict[str, int]:
    """Without columns of which a row group does not say how many nulls it has."""
    total: dict[str, int] = {}
    unknown: set[str] = set()
    for footer in (footers(table) or {}).values():
        for group in map(footer.row_group, range(footer.num_row_groups)):
            for chunk in map(group.column, range(group.num_columns)):
                name, stats = chunk.path_in_schema, chunk.statistics
                if stats is None or not stats.has_null_count:
                    unknown.add(name)
                else:
                    total[name] = total.get(name, 0) + stats.null_count
    return {name: n for name, n in total.items() if name not in unknown}


def _outside_enum(table: Table, columns: list[Column]) -> dict[str, int]:
    if not columns:
        return {}
    counts = {}
    values: list[object] = []
    for column in columns:
        values.append(list(column.enum or ()))
        name = quoted(column.name)
        counts[column.name] = f"count(*) filter (where not list_contains(?, {name}))"
    return _counts(table, counts, values)


def _repeated(table: Table, name: str) -> int:
    """Rows whose value another row has too, less one for each such value."""
    column = quoted(name)
    query = (
        f"select coalesce(sum(n - 1), 0)::bigint from (select count(*) as n from {table.view} "
        f"where {column} is not null group by {column})"
    )
    with reading(table.location):
        row = table.connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _unconvertible(table: Table, columns: list[Column]) -> dict[str, int]:
    counts = {}
    for column in columns:
        target = _sql_type(column.arrow)
        stored = table.schema.field(column.name).type
        if target is None or stored == column.arrow:
            continue
        name = quoted(column.name)
        changed = f"try_cast({name} as {target}) is null"
        if pa.types.is_integer(column.arrow) and not pa.types.is_string(stored):
            changed += f" or try_cast({name} as {target}) <> {name}"
        counts[column.name] = f"count(*) filter (where {name} is not null and ({changed}))"
    return _counts(table, counts)


def _counts(
    table: Table, expressions: dict[str, str], values: list[object] | None = None
) -> dict[str, int]:
    if not expressions:
        return {}
    query = f"select {', '.join(expressions.values())} from {table.view}"
    with reading(table.location):
        row = table.connection.execute(query, values or []).fetchone()
    return dict(zip(expressions, map(int, row or ()), strict=True))


def _sql_type(type_: pa.DataType) -> str | None:
    """DuckDB's name of a type; None for those that text files cannot hold in a field."""
    t = pa.types
    if t.is_dictionary(type_):
        return _sql_type(type_.value_type)
    if t.is_decimal(type_):
        return f"decimal({type_.precision}, {type_.scale})" if type_.precision <= 38 else None
    if t.is_timestamp(type_):
        return "timestamp" if type_.tz is None else "timestamptz"
    names = {
        "bool": "boolean", "int8": "tinyint", "int16": "smallint", "int32": "integer",
        "int64": "bigint", "uint8": "utinyint", "uint16": "usmallint", "uint32": "uinteger",
        "uint64": "ubigint", "halffloat": "float", "float": "float", "double": "double",
        "string": "varchar", "large_string": "varchar", "string_view": "varchar",
        "date32[day]": "date", "date64[ms]": "date",
    }  # fmt: skip
    return names.get(str(type_))
