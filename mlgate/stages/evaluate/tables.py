"""Rows of a file as Arrow columns, with what the evaluation says of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlgate.data.table import connect, open_table, reading
from mlgate.errors import StageError
from mlgate.stages.evaluate.spec import Rows

Array = NDArray[Any]


@dataclass(frozen=True)
class Truth:
    """The evaluated rows: keys [n] as text, labels, slices, units, queries, and the rows themselves."""

    keys: pa.Array
    table: pa.Table
    labels: Array | None
    slices: dict[str, Array] = field(default_factory=dict)
    clusters: NDArray[np.intp] | None = None
    queries: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return int(self.table.num_rows)


def read_table(location: str, workdir: Path, row_filter: str | None = None) -> pa.Table:
    """All rows of a dataset, in the order of its files. Raises `StageError`."""
    connection = connect(memory=None, threads=1, spill=workdir)
    try:
        opened = open_table(connection, location, view="rows", filter=row_filter)
        with reading(opened.location):
            table = connection.sql("from rows").to_arrow_table()
    finally:
        connection.close()
    if not table.num_rows:
        raise StageError(
            f"{opened.location} has no rows that are kept", hint="an empty dataset proves nothing"
        )
    return table


def read_truth(rows: Rows, location: str, workdir: Path) -> Truth:
    """The rows that decide. Raises `StageError` for columns that are missing or repeated keys."""
    table = read_table(location, workdir, rows.filter)
    labels = None
    if rows.label is not None:
        labels = values_of(column(table, rows.label), rows.label)
    keys = keys_of(table, rows.key)
    _refuse_repeats(keys, rows.key, "the evaluation rows")
    clusters = None
    if rows.group is not None:
        clusters = codes_of(column(table, rows.group))
    return Truth(
        keys=keys,
        table=table,
        labels=labels,
        slices={name: text_of(column(table, name)) for name in rows.slices},
        clusters=clusters,
        queries=None if rows.query is None else codes_of(column(table, rows.query)),
    )


def keys_of(table: pa.Table, name: str | None) -> pa.Array:
    """Keys [n] as text: of a column, or the row's number."""
    if name is None:
        numbers = pa.array(np.arange(table.num_rows))
        return pc.cast(numbers, pa.string())
    found = column(table, name)
    if found.null_count:
        raise StageError(f"{found.null_count} rows have no {name}, which is their key")
    return pc.cast(found, pa.string())


def joined(keys: pa.Array, wanted: pa.Array, whose: str, missing: str) -> NDArray[np.intp]:
    """The place among `keys` of each of the `wanted` [n]; −1 where `missing` lets it be absent.

    Raises `StageError` for keys that are repeated, unknown, or absent.
    """
    _refuse_repeats(keys, None, whose)
    unknown = keys.filter(pc.invert(pc.is_in(keys, value_set=wanted)))
    if len(unknown):
        raise StageError(
            f"{whose} answer {len(unknown):,} keys that no evaluation row has, "
            f"the first is {unknown[0].as_py()!r}",
            hint="are key and filter the same for both?",
        )
    places = pc.fill_null(pc.index_in(wanted, value_set=keys), -1)
    absent = wanted.filter(pc.equal(places, -1))
    if len(absent) and (missing == "refuse" or len(absent) == len(wanted)):
        raise StageError(
            f"{whose} have no answer for {len(absent):,} of {len(wanted):,} rows, "
            f"the first is {absent[0].as_py()!r}",
            hint="missing: abstain counts them as no answer",
        )
    return np.asarray(places.to_numpy(zero_copy_only=False), dtype=np.intp)


def column(table: pa.Table, name: str) -> pa.Array:
    """A column as one array. Raises `StageError` when there is none of that name."""
    if name not in table.column_names:
        raise StageError(
            f"there is no column {name!r}", hint=f"columns: {', '.join(table.column_names[:20])}"
        )
    found = table.column(name).combine_chunks()
    return found.cast(found.type.value_type) if pa.types.is_dictionary(found.type) else found


def values_of(found: pa.Array, name: str) -> Array:
    """A column's values [n]: numbers, or text. Raises `StageError` for empty cells."""
    if found.null_count:
        raise StageError(
            f"{found.null_count} rows have no {name}", hint="leave them out with filter:"
        )
    if pa.types.is_boolean(found.type):
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)
    if pa.types.is_integer(found.type) or pa.types.is_floating(found.type):
        return np.asarray(found.to_numpy(zero_copy_only=False))
    return text_of(found)


def text_of(found: pa.Array) -> Array:
    """A column as text [n]; an empty cell is the text `null`."""
    if pa.types.is_boolean(found.type):
        found = pc.cast(found, pa.int8())
    text = pc.fill_null(pc.cast(found, pa.string()), "null").dictionary_encode()
    names = np.asarray(text.dictionary.to_pylist(), dtype=np.str_)
    return np.asarray(names[text.indices.to_numpy(zero_copy_only=False)])


def codes_of(found: pa.Array) -> NDArray[np.intp]:
    """The distinct values of a column, numbered from 0 in order of appearance [n]."""
    text = pc.fill_null(pc.cast(found, pa.string()), "null").dictionary_encode()
    return np.asarray(text.indices.to_numpy(zero_copy_only=False), dtype=np.intp)


def _refuse_repeats(keys: pa.Array, name: str | None, whose: str) -> None:
    if pc.count_distinct(keys).as_py() == len(keys):
        return
    counted = keys.value_counts()
    most = max(counted.to_pylist(), key=lambda entry: entry["counts"])
    column_ = f" in column {name}" if name else ""
    raise StageError(
        f"{whose} have the key {most['values']!r} {most['counts']} times{column_}",
        hint="a key names one row; several rows of one unit are a group:",
    )
