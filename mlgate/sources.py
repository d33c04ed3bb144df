"""What a plan reads: where it lies, and the digest of its content.

A file's digest is the SHA-256 of its bytes. A folder's or a pattern's is the digest of the list of
its files. Digests of local files are remembered by size, time and inode, so that an unchanged file
is not read twice.
"""

import glob
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

from mlgate.digests import FileDigests, Mark, mark_of
from mlgate.errors import MissingPackage, StageError
from mlgate.evidence import canonical, digest_of
from mlgate.files import open_regular
from mlgate.stage import Input, Located

# As the stores behind fsspec call them: S3, GCS, Azure, HTTP, SFTP, local files, memory.
_VERSION_MARKS: Final = (
    "ETag",
    "etag",
    "VersionId",
    "generation",
    "md5Hash",
    "content_md5",
    "LastModified",
    "last_modified",
    "updated",
    "mtime",
    "created",
)
# `external_data` of a TensorProto: an entry with the key `location`, and its value's length.
_LENGTH: Final = rb"(?:[\x00-\x7f]|[\x80-\xff][\x00-\x7f])"
_LOCATION: Final = re.compile(
    rb"\x6a" + _LENGTH + rb"\x0a\x08location\x12(" + _LENGTH + rb")", re.DOTALL
)


def location(source: Input, folder: Path) -> str:
    """An absolute path, pattern or URL. `folder` is the spec's."""
    assert source.path is not None
    if _is_url(source.path):
        return source.path
    plain = os.path.normpath(folder / Path(source.path).expanduser())
    if glob.has_magic(source.path) and not os.path.lexists(plain):
        # Only what the spec says is a pattern, not a bracket in the name of its folder.
        return os.path.normpath(Path(glob.escape(str(folder)), source.path))
    return plain


def _refuse_other_kind(source: Input, path: Path) -> None:
    """Raise `StageError` for a folder where one file is asked for, and for a file of no bytes."""
    if source.kind in ("file", "model") and path.is_dir():
        raise StageError(f"{path} is a folder, and a file is asked for", hint="name the file in it")
    if path.is_file() and path.stat().st_size == 0:
        raise StageError(
            f"{path} is empty (0 bytes)", hint="was the job that writes it interrupted?"
        )


def files(location: str, *, model: bool = False) -> tuple[Path, ...]:
    """The local files behind a location, sorted. Raises `StageError` where there are none.

    `model`: it is read as a model, whatever it is called, so its weights belong to it.
    """
    try:
        return _files(location, model=model)
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise StageError(f"{location[:200]} cannot be read: {error.strerror}") from None


def _files(location: str, *, model: bool) -> tuple[Path, ...]:
    if glob.has_magic(location) and not Path(location).exists():
        found = [Path(name) for name in glob.glob(location, recursive=True)]
        found = [path for path in found if path.is_file()]
        if not found:
            raise StageError(f"no file matches {location}", hint="is the pattern right?")
        return tuple(sorted(found))
    path = Path(location)
    if path.is_dir():
        found = [f for f in path.rglob("*") if f.is_file() and not _hidden(f.relative_to(path))]
        if not found:
            raise StageError(f"the folder {location} holds no files")
        return tuple(sorted(found))
    if not path.exists():
        hint = _fetched_by(path) or "is the path relative to mlgate.yaml?"
        raise StageError(f"{location} does not exist", hint=hint)
    if not path.is_file():  # reading a pipe or a device may never end
        raise StageError(f"{location} is no regular file")
    is_model = model or path.suffix == ".onnx"
    return (path, *(sorted(_external_data(path)) if is_model else ()))


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _external_data(path: Path) -> Iterator[Path]:
    """The files beside an ONNX model that hold its weights: as it names them, and as exporters do.

    Raises `StageError` for one that is not there, or that lies outside the model's folder.
    """
    named: set[str] = set()
    if path.stat().st_size:
        # Weights that lie beside a model are not in it, but one without any beside may be large.
        with open_regular(path) as file, mmap(file.fileno(), 0, access=ACCESS_READ) as graph:
            named = set(_locations(graph))
    for name in sorted(named):
        yield _weights(path, name)
    for name in (f"{path.name}.data", f"{path.name}_data"):
        if name not in named and path.with_name(name).is_file():
            yield _weights(path, name)


def _weights(model: Path, name: str) -> Path:
    file = Path(os.path.normpath(model.parent / name))
    folders = {model.parent.resolve(), model.resolve().parent}
    inside = model.parent in file.parents and not Path(name).is_absolute()
    if not inside or (file.exists() and not folders & set(file.resolve().parents)):
        raise StageError(
            f"{model.name} takes its weights from {name!r}, which is outside its folder",
            hint="store them beside the model: onnx.save(…, save_as_external_data=True)",
        )
    if not file.is_file():
        raise StageError(
            f"{model.name} takes its weights from {name!r}, which does not exist",
            hint=_fetched_by(file) or "put the model's external data file beside the model",
        )
    return file


def _locations(model: bytes | mmap) -> Iterator[str]:
    """Where the tensors of a serialised model say that their values lie.

    A `StringStringEntryProto` is its key and its value, each a tag, a length and the text
    (onnx.proto, TensorProto.external_data, field 13).
    """
    for match in _LOCATION.finditer(model):
        length = match[1][0] & 0x7F
        if len(match[1]) == 2:
            length |= match[1][1] << 7
        yield model[match.end() : match.end() + length].decode("utf-8", "surrogateescape")


_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_WEB_PAGES: Final = (".html", ".htm", ".xhtml")
_HEAD_BYTES: Final = 512


def _refuse_stand_ins(found: tuple[Path, ...]) -> None:
    for path in found:
        try:
            with open_regular(path) as file:
                head = file.read(_HEAD_BYTES)
        except OSError as error:
            raise StageError(f"{path} cannot be read: {error.strerror}") from None
        refuse_stand_in(path, head)


def refuse_stand_in(path: Path, head: bytes) -> None:
    """Raise `StageError` when `head`, a file's first bytes, shows that the file is not the real one."""
    if head.startswith(_LFS_POINTER):
        raise StageError(
            f"{path} is a Git LFS pointer, and not the file itself",
            hint=f"git lfs pull --include {shlex.quote(path.name)}",
        )
    if head.startswith((b"/annex/objects/", b".git/annex/objects/")):
        raise StageError(
            f"{path} is a git-annex pointer, and not the file itself",
            hint=f"git annex get {shlex.quote(path.name)}",
        )
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")) and path.suffix.lower() not in _WEB_PAGES:
        raise StageError(
            f"{path} is a web page, and not the file itself",
            hint="a login page, perhaps: download it again with credentials",
        )


def _fetched_by(path: Path) -> str | None:
    """The command that fetches a file that a version control of data stands for."""
    if path.is_symlink() and "annex" in path.readlink().parts:
        return f"git annex get {shlex.quote(path.name)}"
    for place in (path, *path.parents[:-1]):
        tracked = place.parent / f"{place.name}.dvc"
        if tracked.is_file():
            return f"dvc pull {shlex.quote(str(tracked))}"
    return None


class DigestCache:
    """Digests of inputs, remembered in `memory` (a JSON file) between runs.

    `now_ns` and `fresh` are as `FileDigests` has them.
    """

    def __init__(self, memory: Path, now_ns: int, *, fresh: bool = False) -> None:
        self._digests = FileDigests(memory, now_ns, fresh=fresh)

    def located(self, source: Input, folder: Path) -> Located:
        """Where a source lies and its digest. Raises `StageError` when it cannot be read."""
        if source.path is None:
            return Located(location="", digest=None)
        where = location(source, folder)
        if _is_url(where):
            return Located(where, _of_url(where))
        found = files(where, model=source.kind == "model")
        _refuse_stand_ins(found)
        rows = [(path, *self._digests.of(path)) for path in found]
        marks = tuple((str(path), mark) for path, _, mark in rows)
        _refuse_other_kind(source, Path(where))
        if len(found) == 1 and found[0] == Path(where):
            return Located(where, rows[0][1], found, marks)
        root = Path(where) if Path(where).is_dir() else Path(where).parent
        listed = [[os.path.relpath(path, root), digest] for path, digest, _ in rows]
        return Located(where, digest_of(canonical(listed)), found, marks)

    def save(self) -> None:
        """Remember what was read."""
        self._digests.save()


def marks_now(located: Located) -> tuple[tuple[str, Mark], ...]:
    """Marks of the files that lie there now: equal to `located.marks` where nothing changed."""
    if not located.marks:  # a URL, a database
        return ()
    try:
        one = Path(located.location).is_file()
        found = located.files if one else files(located.location)
        return tuple((str(path), mark_of(path)) for path in found)
    except (StageError, OSError):
        return ()


def _is_url(where: str) -> bool:
    return "://" in where


def _of_url(url: str) -> str | None:
    """The store's own version of an object (an ETag, say); None where it has none."""
    try:
        import fsspec  # only specs with URLs pay for it
    except ImportError:
        raise MissingPackage("fsspec") from None
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        found = sorted(filesystem.glob(path) if glob.has_magic(path) else filesystem.find(path))
        if not found:
            raise StageError(f"nothing is at {without_secrets(url)}")
        rows = [[name, _version(filesystem.info(name))] for name in found]
    except StageError:
        raise
    except ImportError as error:
        raise missing_for(url, error) from None
    except Exception as error:  # noqa: BLE001  # every filesystem has errors of its own
        raise StageError(
            f"{without_secrets(url)} cannot be read: {type(error).__name__}",
            hint="are its credentials in the environment, and its fsspec package installed?",
        ) from None
    return None if any(version is None for _, version in rows) else digest_of(canonical(rows))


def missing_for(url: str, error: ImportError) -> MissingPackage:
    """What is not installed of the library that fsspec needs for a URL."""
    wanted = re.search(r"[Ii]nstall [\"'`]?([\w-]+)", str(error))
    package = wanted[1] if wanted else error.name
    return MissingPackage(_NEEDED.get(url.split("://")[0], package or "fsspec"))


# fsspec names these only in prose.
_NEEDED: Final = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}


def _version(info: Mapping[str, object]) -> list[str] | None:
    """What tells one content of a remote file from the next; None when the store tells nothing.

    Not fsspec's own `ukey`: for HTTP that is made of the URL alone, and a changed file would pass
    on what was measured of the old one.
    """
    marks = [f"{key}={info[key]}" for key in _VERSION_MARKS if info.get(key)]
    return [*marks, f"size={info.get('size')}"] if marks else None


def without_secrets(url: str) -> str:
    """A URL without the user, password and query that it may carry."""
    scheme, _, rest = url.partition("://")
    rest = rest.split("?", 1)[0]
    return f"{scheme}://{rest.rsplit('@', 1)[-1]}"
