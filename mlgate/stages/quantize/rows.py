"""Rows of a dataset as NumPy columns, batch by batch: Parquet, CSV, Arrow or `.npz`."""

import glob
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
from numpy.typing import NDArray

from mlgate.errors import StageError

Array = NDArray[Any]

_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".jsonl": "json",
}


class Rows(Protocol):
    """Columns by name, in file order; `count` rows."""

    names: tuple[str, ...]
    count: int

    def batches(self, columns: Sequence[str], size: int) -> Iterator[dict[str, Array]]:
        """Batches of at most `size` rows; a list column has one more dimension per level."""
        ...


def open_rows(location: str, row_filter: str | None) -> Rows:
    """The rows at `location`: a file, a folder, a pattern or a URL. Raises `StageError`."""
    # Arrow's own allocator keeps what is freed; what is held must not grow with the rows.
    pa.set_memory_pool(pa.system_memory_pool())
    if location.endswith(".npz"):
        return _Npz(location, row_filter)
    return _Arrow(location, row_filter)


def shown(location: str) -> str:
    """`location` as a message may show it: a URL without user, password and query."""
    parts = urlsplit(location)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}" if "://" in location else location


def load_npz(path: str) -> dict[str, Array]:
    """The arrays of an `.npz` file; never unpickles. Raises `StageError`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise StageError(f"{path} does not exist") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StageError(f"{path} is not a readable .npz file: {error}") from None


class _Npz:
    def __init__(self, location: str, row_filter: str | None) -> None:
        if row_filter is not None:
            raise StageError(
                f"filter does not work on {location}", hint="use Parquet, or filter when writing"
            )
        self._arrays = load_npz(location)
        self.names = tuple(self._arrays)
        sizes = {name: len(array) if array.ndim else 0 for name, array in self._arrays.items()}
        if not sizes or len(set(sizes.values())) > 1:
            raise StageError(f"the arrays of {location} have different lengths: {sizes}")
        self.count = next(iter(sizes.values()))

    def batches(self, columns: Sequence[str], size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, self.count, size):
            yield {name: self._arrays[name][start : start + size] for name in columns}


class _Arrow:
    def __init__(self, location: str, row_filter: str | None) -> None:
        self._dataset = _dataset(location)
        self._filter = row_filter
        self._shown = shown(location)
        self.names = tuple(self._dataset.schema.names)
        try:
            self.count = self._count()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _unreadable(self._shown, error) from None

    def batches(self, columns: Sequence[str], size: int) -> Iterator[dict[str, Array]]:
        wanted = list(dict.fromkeys(columns))
        try:
            for batch in self._record_batches(wanted, size):
                for start in range(0, batch.num_rows, size):
                    part = batch.slice(start, size)
                    yield {name: _numpy(part.column(name), name) for name in wanted}
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self._shown, error) from None

    def _count(self) -> int:
        if self._filter is None:
            return int(self._dataset.count_rows())
        return sum(batch.num_rows for batch in self._record_batches(list(self.names[:1]), 1 << 16))

    def _record_batches(self, columns: list[str], size: int) -> Iterator[pa.RecordBatch]:
        if self._filter is None:
            # Read ahead one batch, not 16, by one thread: what is held must not grow with files.
            yield from self._dataset.to_batches(
                columns=columns,
                batch_size=size,
                batch_readahead=1,
                fragment_readahead=1,
                use_threads=False,
                fragment_scan_options=_scan(self._dataset),
            )
        else:
            yield from _filtered(self._dataset, self._filter, columns, size)


def _dataset(location: str) -> pads.Dataset:
    if "://" in location and not location.startswith("file://"):
        source: str | list[str] = location
        first = urlsplit(location).path
    elif Path(location).is_dir():
        inside = (p.relative_to(location) for p in Path(location).rglob("*"))
        found = sorted(
            str(Path(location, p)) for p in inside if p.suffix in _FORMATS and not _hidden(p)
        )
        source, first = found, found[0] if found else location
    else:
        found = sorted(glob.glob(location, recursive=True)) or [location]
        source, first = found, found[0]
    suffix = Path(first).suffix
    if not source or (isinstance(source, list) and not Path(first).exists()):
        raise StageError(f"{shown(location)} matches no file")
    if suffix not in _FORMATS:
        known = ", ".join([*_FORMATS, ".npz"])
        raise StageError(f"{shown(location)}: {suffix or 'no suffix'} is not one of {known}")
    try:
        return pads.dataset(source, format=_FORMATS[suffix])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(shown(location), error) from None


def _hidden(path: Path) -> bool:
    """Whether a file is no part of a folder, as its digest has it."""
    return any(part.startswith((".", "_")) for part in path.parts)


def _scan(dataset: pads.Dataset) -> pads.FragmentScanOptions | None:
    """For Parquet: read row group by row group, not a whole file ahead."""
    parquet = isinstance(dataset.format, pads.ParquetFileFormat)
    return pads.ParquetFragmentScanOptions(pre_buffer=False) if parquet else None


def _filtered(
    dataset: pads.Dataset, condition: str, columns: list[str], size: int
) -> Iterator[pa.RecordBatch]:
    connection = duckdb.connect()
    try:
        connection.register("data", dataset)
        # The condition sees this table and nothing else: no files, no settings.
        connection.execute("set enable_external_access = false; set lock_configuration = true")
        wanted = ", ".join(_quoted(name) for name in columns)
        # The condition is SQL by design; names are quoted.
        query = f"select {wanted} from data where ({condition}\n)"  # noqa: S608
        if len(connection.extract_statements(query)) != 1:
            raise StageError(f"filter {condition!r} is more than one condition")
        yield from connection.sql(query).to_arrow_reader(size)
    except duckdb.Error as error:
        line = str(error).splitlines()[0]
        raise StageError(f"filter {condition!r} cannot be applied: {line}") from None
    finally:
        connection.close()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _numpy(column: pa.Array, name: str) -> Array:
    """A column as an array; lists of one length become further dimensions. Nulls are NaN."""
    shape = [len(column)]
    while (
        pa.types.is_list(column.type)
        or pa.types.is_large_list(column.type)
        or (pa.types.is_fixed_size_list(column.type))
    ):
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
    if column.null_count and not pa.types.is_floating(column.type):
        raise StageError(
            f"column {name} holds nulls", hint='filter them: filter: "... is not null"'
        )
    values = column.to_numpy(zero_copy_only=False)
    return np.asarray(values).reshape(shape)


def _unreadable(location: str, error: Exception) -> StageError:
    return StageError(f"{location} cannot be read: {str(error).splitlines()[0][:200]}")
