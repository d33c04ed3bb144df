"""The first rows of a dataset, as columns: files, folders, patterns and URLs.

Of one format: Parquet, CSV, JSON lines, Arrow, or one `.npz` file whose arrays are the columns.
"""

import glob
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from mlgate.errors import MissingPackage, StageError
from mlgate.stages.benchmark.session import Array

MOST: Final = 4096
_FORMATS: Final = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".arrow": "ipc",
    ".feather": "ipc",
}
_PACKED: Final = (".gz", ".zst")


@dataclass(frozen=True)
class Rows:
    """At most `MOST` rows: the columns' names in file order, and each column as Python values."""

    names: tuple[str, ...]
    columns: Mapping[str, Array | Sequence[object]]

    def column(self, name: str, dtype: np.dtype[np.generic]) -> Array:
        """A column as an array. Raises `ValueError` or `TypeError` for what is no such number."""
        return np.asarray(self.columns[name], dtype=dtype)


def read_rows(location: str) -> Rows:
    """The first rows at `location`. Raises `StageError` when there are none or none can be read."""
    rows = _arrays(location) if location.endswith(".npz") else _table(location)
    if not rows.columns or not len(next(iter(rows.columns.values()))):
        raise StageError(f"{shown(location)} has no rows", hint="a benchmark needs at least one")
    return rows


def load_npz(location: str) -> dict[str, Array]:
    """The arrays of a local `.npz` file; never unpickles. Raises `StageError`."""
    name = shown(location)
    if "://" in location:
        raise StageError(f"{name} is not a local file", hint="fetch the .npz file before")
    try:
        with np.load(location, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise StageError(f"{name} does not exist") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StageError(f"{Path(location).name} is not a readable .npz file: {error}") from None


def shown(location: str) -> str:
    """`location` as a message may show it: a URL without user, password and query."""
    scheme, separator, rest = location.partition("://")
    if not separator:
        return Path(location).name or location
    host, slash, path = rest.split("?", 1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _arrays(location: str) -> Rows:
    arrays = load_npz(location)
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name}: {n:,}" for name, n in lengths.items())
        raise StageError(f"the arrays of {shown(location)} differ in length ({told})")
    return Rows(tuple(arrays), {name: array[:MOST] for name, array in arrays.items()})


def _table(location: str) -> Rows:
    # Lazy: most benchmarks need no rows, and pyarrow takes memory beside what is measured.
    from pyarrow import ArrowException, csv  # noqa: PLC0415
    from pyarrow import dataset as pads  # noqa: PLC0415

    files, filesystem = _remote(location) if "://" in location else (_local(location), None)
    kind = _kind(location, files)
    kinds: Any = kind
    if kind == "tsv":
        kinds = pads.CsvFileFormat(parse_options=csv.ParseOptions(delimiter="\t"))
    try:
        table = pads.dataset(files, format=kinds, filesystem=filesystem).head(MOST)
    except (ArrowException, OSError, ValueError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise StageError(f"{shown(location)} cannot be read: {why}") from None
    names = tuple(table.column_names)
    return Rows(names, {name: table[name].to_pylist() for name in names})


def _local(location: str) -> list[str]:
    path = Path(location)
    if path.is_dir():
        inside = (p.relative_to(path) for p in path.rglob("*") if p.is_file())
        files = [str(path / p) for p in inside if not _hidden(p) and _format(p.name)]
    elif path.is_file():
        files = [location]
    else:
        files = [name for name in glob.glob(location, recursive=True) if Path(name).is_file()]
    if not files:
        raise StageError(f"{location} holds no rows", hint="check the path in mlgate.yaml")
    return sorted(files)


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _remote(url: str) -> tuple[list[str], Any]:
    """Paths and the file system that fsspec has for the URL."""
    try:
        import fsspec  # noqa: PLC0415  # only URLs pay for it
    except ImportError:
        raise MissingPackage("fsspec", extra="remote") from None
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        found = filesystem.glob(path) if glob.has_magic(path) else filesystem.find(path)
        files = sorted(str(name) for name in found if _format(PurePosixPath(str(name)).name))
    except Exception as error:  # noqa: BLE001  # every file system has errors of its own
        raise StageError(
            f"{shown(url)} cannot be read: {type(error).__name__}",
            hint="are its credentials in the environment, and its fsspec package installed?",
        ) from None
    if not files:
        raise StageError(f"{shown(url)} holds no rows", hint=f"endings: {', '.join(_FORMATS)}")
    return files, filesystem


def _format(name: str) -> str | None:
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return _FORMATS.get(PurePosixPath(name).suffix.lower())


def _kind(location: str, files: Sequence[str]) -> str:
    kinds = {_format(Path(name).name) for name in files}
    if len(kinds) > 1:
        raise StageError(
            f"{shown(location)} holds files of several formats",
            hint="name those of one, such as data/*.parquet",
        )
    (kind,) = kinds
    if kind is None:
        raise StageError(
            f"{shown(location)} is not a file of rows that the benchmark reads",
            hint=f"endings: {', '.join(_FORMATS)}, .npz",
        )
    return kind
