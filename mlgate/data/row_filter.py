"""A row filter that a user wrote: one SQL condition over the columns, and nothing else.

The text is parsed by DuckDB itself and the tree is checked node by node against what is allowed,
so a filter can reach no file, no other table, no setting and no clock.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

import duckdb

from mlgate.errors import StageError

_ALLOWED: Final = {
    "BETWEEN",
    "CASE",
    "CAST",
    "COLLATE",
    "COLUMN_REF",
    "COMPARISON",
    "CONJUNCTION",
    "CONSTANT",
    "FUNCTION",
    "OPERATOR",
}
# DuckDB calls these consistent, but they read settings, the clock, or plan a query of their own.
_REFUSED_FUNCTIONS: Final = {
    "age",
    "current_localtime",
    "current_localtimestamp",
    "current_setting",
    "getvariable",
    "json_serialize_plan",
    "version",
}
# Macros that DuckDB defines in terms of plain functions only.
_MACROS: Final = {"date_add", "fmod", "list_append", "nullif", "round_even", "split_part"}


def checked(connection: duckdb.DuckDBPyConnection, text: str, columns: Sequence[str]) -> str:
    """`text` in parentheses, safe to put after WHERE; raises `StageError` when it is not."""
    shell, condition = _parse(connection, text)
    if shell != _parse(connection, "true")[0]:
        raise StageError(
            f"filter {text!r} is more than one condition",
            hint="write one SQL condition, such as: age >= 18 and country = 'DE'",
        )
    for node in _nodes(condition):
        _check(connection, node, text, columns)
    return f"({text}\n)"


def _parse(
    connection: duckdb.DuckDBPyConnection, text: str
) -> tuple[dict[str, object], dict[str, object]]:
    """The tree of `select 1 from t where (text)`: all but the condition, and the condition."""
    query = f"select 1 from t where ({text}\n)"
    row = connection.execute("select json_serialize_sql(?)", [query]).fetchone()
    tree = json.loads(row[0]) if row else {}
    if tree.get("error", True):
        raise StageError(
            f"filter {text!r} is not SQL: {tree.get('error_message', 'cannot be parsed')}",
            hint="write one SQL condition, such as: age >= 18 and country = 'DE'",
        )
    if len(tree["statements"]) != 1:
        return {"statements": len(tree["statements"])}, {}
    node = tree["statements"][0]["node"]
    condition = node.pop("where_clause", None) or {}
    return node, condition


def _nodes(tree: object) -> Iterator[Mapping[str, object]]:
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _check(
    connection: duckdb.DuckDBPyConnection,
    node: Mapping[str, object],
    text: str,
    columns: Sequence[str],
) -> None:
    kind = node["class"]
    if kind not in _ALLOWED:
        raise StageError(
            f"filter {text!r} uses a {str(kind).lower()}, which is not allowed there",
            hint="a filter is a condition over the columns of one row",
        )
    if kind == "COLUMN_REF":
        _check_column(node, text, columns)
    if kind == "FUNCTION":
        name = str(node["function_name"]).lower()
        if node.get("schema") or node.get("catalog") or not _is_pure(connection, name):
            raise StageError(
                f"filter {text!r} uses {name}(), which is not allowed there",
                hint="only functions that depend on nothing but their arguments; "
                "write dates as literals: ts < date '2026-01-31'",
            )


def _check_column(node: Mapping[str, object], text: str, columns: Sequence[str]) -> None:
    names = node["column_names"]
    name = str(names[0]) if isinstance(names, list) else ""
    known = {column.lower(): column for column in columns}
    if name.lower() in known:
        return
    near = get_close_matches(name.lower(), known, n=1)
    raise StageError(
        f"filter {text!r} names the column {name!r}, which is not there",
        hint=f"did you mean {known[near[0]]!r}?"
        if near
        else "text goes in single quotes, columns in double quotes or none",
    )


def _is_pure(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    if name in _REFUSED_FUNCTIONS:
        return False
    if name in _MACROS:
        return True
    stability = connection.execute(
        "select list(distinct stability) from duckdb_functions() "
        "where function_name = ? and schema_name = 'main' and internal and function_type = 'scalar'",
        [name],
    ).fetchone()
    return stability is not None and stability[0] == ["CONSISTENT"]
