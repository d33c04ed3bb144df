"""Files as signatures see them: each read once, through one descriptor, and no link followed.

A folder is walked by descriptor (`openat`, `O_NOFOLLOW`), so that nothing can be exchanged for a
link between the look and the read. A file that changes while it is read is refused. Names are
refused that are two names, or no name, on another system.
"""

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlgate.evidence import canonical
from mlgate.provenance.reasons import Refused

MOST_FILES: Final = 1_000_000
_LONGEST_PATH: Final = 4096
_BLOCK: Final = 1 << 20
# Files up to this size are read in one go; larger ones are shared out among threads.
_SMALL: Final = 1 << 20
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_RESERVED: Final = re.compile(
    r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?|.*[. ]|.*[:<>\"|?*].*"
)

Tell = Callable[[int], None]


@dataclass(frozen=True, order=True)
class HashedFile:
    """A file of a tree: its path in it (`/` between parts), and what was read."""

    path: str
    size: int
    executable: bool
    sha256: str


@dataclass(frozen=True)
class Tree:
    """The files of a folder, ordered by path as code points; or one file, whose path is its name.

    `folder` tells them apart.
    """

    name: str
    folder: bool
    files: tuple[HashedFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def root(self) -> str:
        """OpenSSF model signing v1: SHA-256 of the files' digests in order. It binds no names."""
        return oms_root(file.sha256 for file in self.files)

    def dir_hash(self) -> str:
        """in-toto `dirHash`, which is Go's h1, in hexadecimal: binds names too."""
        lines = "".join(f"{file.sha256}  {file.path}\n" for file in self.files)
        return hashlib.sha256(lines.encode()).hexdigest()

    def manifest(self) -> str:
        """SHA-256 of the canonical list of path, size, executable and digest: binds all of it."""
        rows = [[file.path, file.size, file.executable, file.sha256] for file in self.files]
        return hashlib.sha256(canonical(rows)).hexdigest()

    def digests(self) -> dict[str, str]:
        """The digest set that stands for it as a subject."""
        if not self.folder:
            return {"sha256": self.files[0].sha256}
        return {
            "dirHash": self.dir_hash(),
            "mlgateTree": self.manifest(),
            "sha256": self.root(),
        }


def oms_root(digests: Iterable[str]) -> str:
    """SHA-256 over concatenated digests."""
    hashed = hashlib.sha256()
    for digest in digests:
        hashed.update(bytes.fromhex(digest))
    return hashed.hexdigest()


def hashed(
    path: Path,
    *,
    leave_out: Iterable[str] = (),
    threads: int = 2,
    tell: Tell = lambda _: None,
) -> Tree:
    """A file or a folder, hashed. `leave_out` are paths in the folder, of signatures say.

    `tell` is called with every number of bytes that was read. Raises `Refused`.
    """
    try:
        opened = os.open(path, _FLAGS)
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        mode = os.fstat(opened).st_mode
        if stat.S_ISREG(mode):
            name = _name(path.name)
            file = _hash_file(opened, name, tell)
            return Tree(name, False, (file,))
        if not stat.S_ISDIR(mode):
            raise Refused("tree-special", f"{path.name} is neither a file nor a folder")
        files = _hash_folder(opened, frozenset(leave_out), max(1, threads), tell)
        return Tree(path.absolute().name or "model", True, tuple(sorted(files)))
    finally:
        os.close(opened)


def _hash_folder(
    opened: int, leave_out: frozenset[str], threads: int, tell: Tell
) -> list[HashedFile]:
    small: list[HashedFile] = []
    with ThreadPoolExecutor(threads) as pool:
        large: list[Future[HashedFile]] = []
        for path, file in _walk(opened, "", leave_out):
            if len(small) + len(large) >= MOST_FILES:
                os.close(file)
                raise Refused("too-many-files", f"more than {MOST_FILES:,} files")
            if os.fstat(file).st_size > _SMALL:
                large.append(pool.submit(_closing, file, path, tell))
            else:
                small.append(_closing(file, path, tell))
        found = small + [job.result() for job in large]
    if not found:
        raise Refused("artifact-unreadable", "the folder holds no files")
    return found


def _closing(file: int, path: str, tell: Tell) -> HashedFile:
    try:
        return _hash_file(file, path, tell)
    finally:
        os.close(file)


def _walk(opened: int, above: str, leave_out: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Every file below an open folder, opened, and its path."""
    with os.scandir(opened) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    names = [_name(entry.name) for entry in entries]
    refuse_twins(names, above)
    if not names and above:
        raise Refused("tree-empty-folder", f"{above} is an empty folder")
    for entry, name in zip(entries, names, strict=True):
        path = f"{above}/{name}" if above else name
        if path in leave_out:
            continue
        if entry.is_symlink():
            hint = "copy what it leads to into the folder"
            raise Refused("tree-link", f"{path} is a symbolic link", hint=hint)
        if not entry.is_file(follow_symlinks=False) and not entry.is_dir(follow_symlinks=False):
            raise Refused("tree-special", f"{path} is a pipe, socket or device")
        yield from _entered(opened, name, path, leave_out)


def _entered(
    opened: int, name: str, path: str, leave_out: frozenset[str]
) -> Iterator[tuple[str, int]]:
    if len(path.encode()) > _LONGEST_PATH:
        raise Refused("path-too-long", f"{path[:80]}… is longer than {_LONGEST_PATH} bytes")
    try:
        inner = os.open(name, _FLAGS, dir_fd=opened)
    except OSError as error:
        raise _unreadable(Path(path), error) from None
    mode = os.fstat(inner).st_mode
    if stat.S_ISDIR(mode):
        try:
            yield from _walk(inner, path, leave_out)
        finally:
            os.close(inner)
    elif stat.S_ISREG(mode):
        yield path, inner
    else:
        os.close(inner)
        raise Refused("tree-special", f"{path} is a pipe, socket or device")


def _hash_file(file: int, path: str, tell: Tell) -> HashedFile:
    before = os.fstat(file)
    digest = hashlib.sha256()
    if before.st_size <= _SMALL:
        # One byte more than there should be: a file that grows is seen.
        data = os.read(file, before.st_size + 1)
        digest.update(data)
        size = len(data)
    else:
        size = _read_into(file, digest.update, tell)
    after = os.fstat(file)
    if size != before.st_size or _mark(before) != _mark(after):
        hint = "sign when nothing writes to it any more"
        raise Refused("file-changed", f"{path} changed while it was read", hint=hint)
    return HashedFile(path, size, bool(before.st_mode & 0o111), digest.hexdigest())


def _read_into(file: int, update: Callable[[memoryview], None], tell: Tell) -> int:
    block = memoryview(bytearray(_BLOCK))
    size = 0
    while count := os.readv(file, [block]):
        update(block[:count])
        size += count
        tell(count)
    return size


def _mark(seen: os.stat_result) -> tuple[int, int, int, int]:
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _unreadable(path: Path, error: OSError) -> Refused:
    if path.is_symlink():
        hint = "name what it leads to"
        return Refused("tree-link", f"{path} is a symbolic link", hint=hint)
    return Refused("artifact-unreadable", f"{path} cannot be read: {error.strerror}")


def _name(name: str) -> str:
    """A name as the file system gave it, that is one name everywhere."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused("path-not-utf8", f"the name {name!a} is not UTF-8") from None
    refuse_path(name)
    return name


def refuse_path(path: str) -> None:
    """Raise `Refused` for a path within a tree that does not mean one file everywhere."""
    if len(path.encode("utf-8", "surrogatepass")) > _LONGEST_PATH:
        raise Refused("path-too-long", f"{path[:80]}… is longer than {_LONGEST_PATH} bytes")
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in path):
        raise Refused("path-control", f"{path!a} holds a control character")
    if "\\" in path:
        raise Refused("path-backslash", f"{path} holds a backslash")
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        raise Refused("path-absolute", f"{path} is an absolute path")
    parts = path.split("/")
    if ".." in parts:
        raise Refused("path-escapes", f"{path} leads out of its folder")
    if any(part in ("", ".") for part in parts):
        raise Refused("path-empty-part", f"{path!r} has an empty part or a dot")
    if unicodedata.normalize("NFC", path) != path:
        raise Refused("path-not-normal", f"{path!a} is not in Unicode normal form C")
    for part in parts:
        if _RESERVED.fullmatch(part):
            raise Refused("path-reserved", f"{path} is no name on Windows")


def refuse_twins(paths: Iterable[str], above: str = "") -> None:
    """Raise `Refused` for two names that are one on a file system that ignores case."""
    seen: dict[str, str] = {}
    for path in paths:
        other = seen.setdefault(path.casefold(), path)
        if other != path:
            where = f" in {above}" if above else ""
            raise Refused("path-case-twins", f"{other} and {path}{where} differ only in case")
