"""Rows of a dataset as NumPy columns, batch by batch: what models are fed with.

The rows, their names, types and values are those of `table.open_table`, or the arrays of one
`.npz` file. So what one stage approved is what another reads.
"""

import tempfile
import weakref
import zipfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlgate.data.location import shown
from mlgate.data.table import Table, connect, open_table, quoted, reading
from mlgate.errors import StageError

Array = NDArray[Any]

_MEMORY: Final = 1 << 30  # bytes that the reader may hold; it spills beyond


class Rows(Protocol):
    """Columns by name, in file order; `count` rows."""

    names: tuple[str, ...]

    @property
    def count(self) -> int: ...

    def batches(self, columns: Sequence[str], size: int) -> Iterator[dict[str, Array]]:
        """Batches of at most `size` rows; a list column has one more dimension per level."""
        ...

    def doubt(self, column: str) -> str | None:
        """What is odd about the values of a column, for the message about one that does not fit."""
        ...


def open_rows(location: str, row_filter: str | None = None) -> Rows:
    """The rows at `location`: a file, a folder, a pattern or a URL. Raises `StageError`."""
    if location.lower().endswith(".npz"):
        return _NpzRows(location, row_filter)
    return _TableRows(location, row_filter)


def load_npz(location: str) -> dict[str, Array]:
    """The arrays of a local `.npz` file; never unpickles. Raises `StageError`."""
    name = shown(location)
    if "://" in location:
        raise StageError(f"{name} is not a local file", hint="fetch the .npz file before")
    try:
        with np.load(location, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise StageError(f"{name} does not exist") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StageError(f"{name} is not a readable .npz file: {error}") from None


class _NpzRows:
    def __init__(self, location: str, row_filter: str | None) -> None:
        if row_filter is not None:
            raise StageError(
                f"filter does not work on {shown(location)}",
                hint="use Parquet, or filter when writing",
            )
        self._arrays = load_npz(location)
        self.names = tuple(self._arrays)
        sizes = {name: len(array) if array.ndim else 0 for name, array in self._arrays.items()}
        if not sizes or len(set(sizes.values())) > 1:
            told = ", ".join(f"{name}: {size:,}" for name, size in sizes.items())
            raise StageError(f"the arrays of {shown(location)} differ in length ({told})")
        self._count = next(iter(sizes.values()))

    @property
    def count(self) -> int:
        return self._count

    def batches(self, columns: Sequence[str], size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, self.count, size):
            yield {name: self._arrays[name][start : start + size] for name in columns}

    def doubt(self, column: str) -> str | None:
        return None


class _TableRows:
    def __init__(self, location: str, row_filter: str | None) -> None:
        spill = tempfile.mkdtemp(prefix="mlgate-rows-")
        # One thread reads one batch ahead: what is held does not grow with the files.
        connection = connect(memory=_MEMORY, threads=1, spill=Path(spill))
        weakref.finalize(self, _closed, connection, spill)
        self._table = open_table(connection, location, view="data", filter=row_filter)
        self.names = tuple(self._table.schema.names)

    @cached_property
    def count(self) -> int:
        with reading(self._table.location):
            row = self._table.connection.execute("select count(*) from data").fetchone()
        return int(row[0]) if row is not None else 0

    def batches(self, columns: Sequence[str], size: int) -> Iterator[dict[str, Array]]:
        wanted = list(dict.fromkeys(columns))
        with reading(self._table.location):
            for batch in _record_batches(self._table, wanted, size):
                for start in range(0, batch.num_rows, size):
                    part = batch.slice(start, size)
                    yield {name: _numpy(part.column(name), name) for name in wanted}

    def doubt(self, column: str) -> str | None:
        return self._table.doubts.get(column)


def _record_batches(table: Table, columns: list[str], size: int) -> Iterator[pa.RecordBatch]:
    """On a connection of their own: another batch of the same rows may be half read."""
    with table.connection.cursor() as cursor:
        if table.arrow is not None:
            cursor.register(f"{table.view}_arrow", table.arrow)
        names = ", ".join(quoted(name) for name in columns)
        query = f"select {names} from {table.view}"
        yield from cursor.execute(query).to_arrow_reader(size)


def _closed(connection: duckdb.DuckDBPyConnection, spill: str) -> None:
    import shutil  # noqa: PLC0415  # at the end of the process, when modules may be gone

    connection.close()
    shutil.rmtree(spill, ignore_errors=True)


def _numpy(column: pa.Array, name: str) -> Array:
    """A column as an array; lists of one length become further dimensions. Nulls are NaN."""
    shape = [len(column)]
    while _is_list(column.type):
        if column.null_count:
            raise StageError(f"column {name} has rows without a list")
        flat = column.flatten()
        length, rest = divmod(len(flat), max(len(column), 1))
        lengths = pa.compute.list_value_length(column)
        if rest or any(n != length for n in lengths.unique().to_pylist()):
            raise StageError(f"the lists of column {name} have different lengths")
        shape.append(length)
        column = flat
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if column.null_count and not pa.types.is_floating(column.type):
        raise StageError(
            f"column {name} holds nulls", hint='filter them: filter: "... is not null"'
        )
    values = column.to_numpy(zero_copy_only=False)
    return np.asarray(values).reshape(shape)


def _is_list(type_: pa.DataType) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(type_) for is_kind in kinds)
