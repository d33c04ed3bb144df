"""Where a dataset is: a path, glob, folder or URL becomes a sorted list of files of one format."""

import glob
import io
import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, Literal

from mlgate.errors import MissingPackage, StageError
from mlgate.sources import missing_for

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Format = Literal["parquet", "csv", "jsonl", "arrow"]

_FORMATS: Final[dict[str, Format]] = {
    ".parquet": "parquet",
    ".parq": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_COMPRESSED: Final = (".gz", ".zst")
_KNOWN: Final = ", ".join(sorted(_FORMATS))
_URL = re.compile(r"^([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


@dataclass(frozen=True)
class Location:
    """The files behind one `dataset:`; `filesystem` is None for local paths."""

    location: str
    root: str
    """The folder below which `key=value` folders count; the file itself when it is one file."""
    files: tuple[str, ...]
    format: Format
    partitions: tuple[str, ...]
    filesystem: "AbstractFileSystem | None"

    def open(self, file: str) -> AbstractContextManager[IO[bytes]]:
        """One of `files`, as stored (still compressed); raises `StageError` when it is unreadable."""
        try:
            if self.filesystem is None:
                return open(file, "rb")
            return io.BufferedReader(self.filesystem.open(file, "rb"))
        except PermissionError:
            raise _unreadable(file) from None
        except OSError as error:
            raise StageError(
                f"{shown(file)} cannot be opened: {error.strerror}", hint="is it a plain file?"
            ) from None


def shown(location: str) -> str:
    """`location` as it may appear in messages: without user, password and query of a URL."""
    if not _URL.match(location):
        return location
    scheme, rest = location.split("://", 1)
    host, slash, path = rest.split("?", 1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def locate(location: str) -> Location:
    """Resolve `location`; every way of finding nothing is a `StageError` with a hint."""
    scheme = _URL.match(location)
    if scheme and scheme[1].lower() == "file":
        location, scheme = location.split("://", 1)[1], None
    if scheme:
        root, files, filesystem = _remote(location)
    else:
        root, files, filesystem = *_local(location), None
    formats = {file: _format_of(file) for file in files}
    kinds = sorted(set(formats.values()))
    if len(kinds) > 1:
        one, other = (next(f for f in files if formats[f] == kind) for kind in kinds[:2])
        raise StageError(
            f"{shown(root)} holds files of two formats: {shown(one)} and {shown(other)}",
            hint="name one of them with a glob, such as data/*.parquet",
        )
    fixed = _fixed(root)
    partitions = _partitions(fixed, files)
    return Location(root, fixed, tuple(files), kinds[0], partitions, filesystem)


def _local(location: str) -> tuple[str, list[str]]:
    # `..` goes, links stay: a key=value folder may be one.
    path = os.path.abspath(Path(location).expanduser())  # noqa: PTH100
    if Path(path).is_dir():
        files = _in_folder(path)
    elif Path(path).exists():
        files = [path]
    elif glob.has_magic(location):
        files = sorted(f for f in glob.glob(path, recursive=True) if Path(f).is_file())
        if not files:
            raise StageError(
                f"{location} matched no file", hint="check the pattern; ** goes into folders"
            )
    else:
        raise StageError(f"{location} does not exist", hint=_nearby(Path(path)))
    for file in files:
        if not os.access(file, os.R_OK):
            raise _unreadable(file)
        if Path(file).stat().st_size == 0:
            raise _empty(file)
    return path, files


def _in_folder(folder: str) -> list[str]:
    """Every data file below a folder, sorted. Raises `StageError` for what would be left out."""

    def refuse(error: OSError) -> None:
        raise _unreadable(str(error.filename)) from None

    _refuse_table_format(Path(folder))
    found = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if name not in _JUNK]
        for name in folders:
            if Path(parent, name).is_symlink():
                raise StageError(
                    f"{Path(parent, name)} is a link to a folder: its files would be left out",
                    hint="name it with a pattern, such as data/*/*.parquet, or copy the folder",
                )
        for name in names:
            path = Path(parent, name)
            if _ending(name) not in _FORMATS or name.startswith("._"):  # macOS' own
                continue
            if not _is_data(os.path.relpath(path, folder)):
                raise StageError(
                    f"{path} would be left out: a name begins with . or _",
                    hint="rename it, move it out of the folder, or name the files with a pattern",
                )
            found.append(str(path))
    if not found:
        raise StageError(
            f"{folder} is a folder without data files", hint=f"endings that are read: {_KNOWN}"
        )
    return sorted(found)


# What programs leave behind in a folder of data, and nobody takes for data.
_JUNK: Final = {
    ".git",
    ".dvc",
    ".cache",
    ".ipynb_checkpoints",
    ".Trashes",
    "__MACOSX",
    "_temporary",
}


def _refuse_table_format(folder: Path) -> None:
    """Raise `StageError` for a table whose log says which of its files count."""
    formats = {
        "Delta": folder / "_delta_log",
        "Iceberg": folder / "metadata" / "version-hint.text",
        "Hudi": folder / ".hoodie",
    }
    has_metadata = any((folder / "metadata").glob("*.metadata.json"))
    for name, mark in formats.items():
        if mark.exists() or (name == "Iceberg" and has_metadata):
            raise StageError(
                f"{folder} is a {name} table: its log says which files count, and its files alone "
                "would be read wrongly",
                hint="write the version to check as Parquet, with the table's own library",
            )


def _remote(location: str) -> tuple[str, list[str], "AbstractFileSystem"]:
    try:
        import fsspec  # noqa: PLC0415 - optional: only URLs need it
    except ImportError:
        raise MissingPackage("fsspec") from None
    name = shown(location)
    try:
        filesystem, path = fsspec.core.url_to_fs(location)
        if glob.has_magic(path):
            paths = [p for p in filesystem.glob(path) if filesystem.isfile(p)]
        elif filesystem.isdir(path):
            paths = [p for p in filesystem.find(path) if _is_data(_below(path, p))]
        else:
            paths = [path] if filesystem.exists(path) else []
        sizes = {p: filesystem.size(p) for p in paths}
    except ImportError as error:
        raise missing_for(location, error) from None
    except ValueError:
        scheme = location.split("://")[0]
        raise StageError(
            f"{scheme}:// is not a kind of storage that is known here",
            hint="fsspec must know it: s3://, gs://, az://, memory://, file://, …",
        ) from None
    except Exception as error:  # noqa: BLE001 - each storage library has its own exceptions
        raise StageError(
            f"{name} cannot be listed ({type(error).__name__})",
            hint="check the address and the credentials in the environment",
        ) from None
    if not paths:
        raise StageError(f"{name} matched no file", hint=f"endings that are read: {_KNOWN}")
    for p in paths:
        if sizes[p] == 0:
            raise _empty(p)
    return name, sorted(filesystem.unstrip_protocol(p) for p in paths), filesystem


def _below(root: str, path: str) -> str:
    return path[len(root) :].strip("/")


def _is_data(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return not any(p.startswith((".", "_")) for p in parts) and _ending(path) in _FORMATS


def _ending(path: str) -> str:
    name = path.lower()
    for packed in _COMPRESSED:
        name = name.removesuffix(packed)
    return PurePosixPath(name).suffix


def _format_of(file: str) -> Format:
    if (ending := _ending(file)) in _FORMATS:
        return _FORMATS[ending]
    raise StageError(
        f"{shown(file)}: the ending does not say which format it is",
        hint=f"endings that are read: {_KNOWN}; CSV and JSON lines also with .gz or .zst",
    )


def _fixed(root: str) -> str:
    """The part of a path or pattern before its first wildcard, cut at a folder."""
    fixed = root.split("*")[0].split("?")[0].split("[")[0]
    return fixed if fixed == root else fixed.rpartition("/")[0]


def _partitions(root: str, files: Sequence[str]) -> tuple[str, ...]:
    """Names of the `key=value` folders below `root` that every file lies in."""
    found: dict[tuple[str, ...], str] = {}
    for file in files:
        folders = PurePosixPath(file[len(root) :]).parts[:-1] if file != root else ()
        found.setdefault(tuple(f.split("=", 1)[0] for f in folders if "=" in f), file)
    if len(found) > 1:
        one, other = list(found.values())[:2]
        raise StageError(
            f"{shown(one)} and {shown(other)} lie in different partition folders",
            hint="every file must lie under the same key=value folders",
        )
    return next(iter(found))


def _nearby(path: Path) -> str | None:
    parent = path.parent
    if not parent.is_dir():
        return f"the folder {parent} does not exist either"
    names = sorted(p.name for p in parent.iterdir() if _is_data(p.name))[:5]
    return f"in that folder there are: {', '.join(names)}" if names else None


def _unreadable(path: str) -> StageError:
    return StageError(
        f"{shown(path)} may not be read", hint="check the permissions of the file and its folder"
    )


def _empty(path: str) -> StageError:
    return StageError(
        f"{shown(path)} is empty (0 bytes)", hint="was the job that writes it interrupted?"
    )
