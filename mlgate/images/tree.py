"""What an image's layers make together, and what of their bytes nobody can see.

Whiteouts as in OCI image-spec, layer.md. A file's bytes are wasted when no visible name leads to
them: overwritten, or deleted with their folder, by a layer above or a later entry of the same one.
So `visible + wasted == total`, to the byte, hard links included.
"""

import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from mlgate.errors import StageError
from mlgate.images.read import Image, Layer

Kind = Literal["file", "folder", "symlink", "special"]
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_MOST_ENTRIES: Final = 5_000_000
_MOST_HOPS: Final = 40


@dataclass(frozen=True, slots=True)
class Entry:
    """One name. A file's bytes are at `offset` of layer `source`'s tar; hard links share them.

    `header` is the tar header that it came with: mode, owner, extended attributes. `target` is a
    symbolic link's. `layer` is the index of the one that wrote the name.
    """

    path: str
    kind: Kind
    size: int
    layer: int
    source: int
    offset: int
    target: str
    header: tarfile.TarInfo

    @property
    def content(self) -> tuple[int, int]:
        return self.source, self.offset


@dataclass(frozen=True)
class Waste:
    """Bytes that a layer wrote and a layer hid."""

    path: str
    size: int
    written: int
    hidden: int
    how: Literal["deleted", "overwritten"]


@dataclass
class Tree:
    """The merged file system of an image: `entries` by absolute path."""

    layers: tuple[Layer, ...]
    entries: dict[str, Entry] = field(default_factory=dict)
    waste: list[Waste] = field(default_factory=list)
    total: int = 0

    @property
    def visible(self) -> int:
        contents = {e.content: e.size for e in self.entries.values() if e.kind == "file"}
        return sum(contents.values())

    @property
    def wasted(self) -> int:
        return sum(waste.size for waste in self.waste)

    @property
    def efficiency(self) -> float:
        return self.visible / self.total if self.total else 1.0

    def resolve(self, path: str) -> str | None:
        """Where a path leads through symbolic links, as for a process whose root this is."""
        return self.walk(path)[0]

    def walk(self, path: str) -> tuple[str | None, tuple[str, ...]]:
        """Where a path leads (None: nowhere), and the symbolic links on the way."""
        waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        at = ""
        links: list[str] = []
        while waiting:
            part = waiting.pop()
            if part == "..":
                at = posixpath.dirname(at).rstrip("/")
                continue
            entry = self.entries.get(f"{at}/{part}")
            if entry is None:
                return None, tuple(links)
            if entry.kind != "symlink":
                at = entry.path
                continue
            links.append(entry.path)
            if len(links) > _MOST_HOPS:
                return None, tuple(links)
            if entry.target.startswith("/"):
                at = ""
            waiting += [p for p in reversed(entry.target.split("/")) if p not in ("", ".")]
        return at or "/", tuple(links)

    def read(self, path: str, limit: int = 64 << 20) -> bytes:
        """A file's content, its first `limit` bytes at most. Raises `KeyError` where none is."""
        real = self.resolve(path)
        entry = self.entries[real or path]
        if entry.kind != "file":
            return b""
        with self.layers[entry.source].file.open("rb") as file:
            file.seek(entry.offset)
            return file.read(min(entry.size, limit))

    def files(self) -> Iterator[Entry]:
        return (entry for entry in self.entries.values() if entry.kind == "file")


def merge(image: Image) -> Tree:
    """The tree of an image. Raises `StageError` for a layer that is no tar, or tries to get out."""
    tree = Tree(image.layers)
    names: dict[tuple[int, int], int] = {}
    for index, layer in enumerate(image.layers):
        try:
            with tarfile.open(layer.file, "r:") as archive:
                _apply(tree, names, index, archive)
        except tarfile.TarError as error:
            if layer.file.stat().st_size == 0:
                continue
            raise StageError(
                f"layer {index} ({layer.instruction[:80]}) is no tar: {error}"
            ) from None
    return tree


def _apply(
    tree: Tree, names: dict[tuple[int, int], int], index: int, archive: tarfile.TarFile
) -> None:
    for member in archive:
        path = _inside(member.name, index)
        folder, base = posixpath.split(path)
        if path == "/":
            continue
        if base == _OPAQUE:
            below = _below(tree, folder)
            _hide(
                tree, names, [p for p in below if tree.entries[p].layer < index], index, "deleted"
            )
        elif base.startswith(_WHITEOUT):
            gone = posixpath.join(folder, base[len(_WHITEOUT) :])
            victims = [gone] if gone in tree.entries else []
            _hide(tree, names, [*victims, *_below(tree, gone)], index, "deleted")
        else:
            _put(tree, names, index, path, member)
    if len(tree.entries) > _MOST_ENTRIES:
        raise StageError(f"the image has more than {_MOST_ENTRIES:,} entries")


def _inside(name: str, index: int) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise StageError(
            f"layer {index} holds {name!r}, a path that escapes the image",
            hint="no builder writes that: do not use the image",
        )
    return "/" + "/".join(parts)


def _put(
    tree: Tree, names: dict[tuple[int, int], int], index: int, path: str, member: tarfile.TarInfo
) -> None:
    _ensure_folders(tree, index, path)
    entry = _entry(tree, index, path, member)
    before = tree.entries.get(path)
    if before is not None and not (before.kind == entry.kind == "folder"):
        below = _below(tree, path) if before.kind == "folder" else []
        _hide(tree, names, [path, *below], index, "overwritten")
    tree.entries[path] = entry
    if entry.kind == "file":
        if entry.content not in names:
            tree.total += entry.size
        names[entry.content] = names.get(entry.content, 0) + 1


def _ensure_folders(tree: Tree, index: int, path: str) -> None:
    """Folders that a layer goes without naming."""
    folder = posixpath.dirname(path)
    while folder != "/" and folder not in tree.entries:
        header = tarfile.TarInfo(folder[1:])
        header.type, header.mode = tarfile.DIRTYPE, 0o755
        tree.entries[folder] = Entry(folder, "folder", 0, index, index, -1, "", header)
        folder = posixpath.dirname(folder)


def _entry(tree: Tree, index: int, path: str, member: tarfile.TarInfo) -> Entry:
    def made(kind: Kind, size: int, source: int, offset: int) -> Entry:
        return Entry(path, kind, size, index, source, offset, member.linkname, member)

    if member.islnk():
        wanted = _inside(member.linkname, index)
        target = tree.entries.get(wanted)
        if target is None or target.kind == "folder":
            raise StageError(
                f"layer {index}: {path} is a hard link to {wanted}, which is not there"
            )
        if target.kind != "file":
            return Entry(path, target.kind, 0, index, index, -1, target.target, target.header)
        return Entry(
            path, "file", target.size, index, target.source, target.offset, "", target.header
        )
    if member.isdir():
        return made("folder", 0, index, -1)
    if member.issym():
        return made("symlink", 0, index, -1)
    if member.issparse():
        raise StageError(f"layer {index}: {path} is stored as a sparse file, which is not read")
    if member.isfile():
        return made("file", member.size, index, member.offset_data)
    return made("special", 0, index, -1)


def _below(tree: Tree, folder: str) -> list[str]:
    prefix = folder.rstrip("/") + "/"
    return [path for path in tree.entries if path.startswith(prefix)]


def _hide(
    tree: Tree,
    names: dict[tuple[int, int], int],
    paths: list[str],
    by: int,
    how: Literal["deleted", "overwritten"],
) -> None:
    for path in paths:
        entry = tree.entries.pop(path)
        if entry.kind != "file":
            continue
        names[entry.content] -= 1
        if names[entry.content] == 0:
            tree.waste.append(Waste(path, entry.size, entry.source, by, how))


def waste_by_cause(tree: Tree) -> list[tuple[int, str, int, int]]:
    """Wasted bytes, how, the layer that wrote and the one that hid them; the largest first."""
    sums: dict[tuple[str, int, int], int] = {}
    for waste in tree.waste:
        key = (waste.how, waste.written, waste.hidden)
        sums[key] = sums.get(key, 0) + waste.size
    rows = [(size, how, written, hidden) for (how, written, hidden), size in sums.items()]
    return sorted(rows, key=lambda row: (-row[0], row[1:]))


def duplicates(tree: Tree, digests: Mapping[tuple[int, int], str]) -> int:
    """Bytes of files whose content another visible file has too; `digests` by content."""
    seen: set[str] = set()
    spare = 0
    sizes = {e.content: e.size for e in tree.files()}
    for content, digest in sorted(digests.items()):
        if digest in seen:
            spare += sizes.get(content, 0)
        seen.add(digest)
    return spare


def spooled(tree: Tree, entry: Entry) -> tuple[Path, int]:
    """Where a file's bytes lie: the layer's tar, and the offset in it."""
    return tree.layers[entry.source].file, entry.offset
