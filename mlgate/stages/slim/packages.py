"""Which package a file belongs to, and package databases that say what is really there.

Debian's dpkg (`/var/lib/dpkg`) and Python's `*.dist-info/RECORD` (PEP 376, 627).
"""

import csv
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlgate.images.tree import Tree

_INFO: Final = "/var/lib/dpkg/info/"
STATUS: Final = "/var/lib/dpkg/status"
# What a package has beside what it does.
_PAPER: Final = re.compile(r"^/usr/share/(doc|man|info|locale|lintian|bug)/|\.dist-info/")


@dataclass
class Package:
    """A package as the image has it; `files` are real paths."""

    kind: str
    name: str
    version: str
    files: set[str] = field(default_factory=set)
    database: set[str] = field(default_factory=set)

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.name}"

    @property
    def code(self) -> set[str]:
        return {path for path in self.files if not _PAPER.search(path)}


def packages_of(tree: Tree) -> dict[str, Package]:
    """Every package of the image by id, sorted."""
    found: dict[str, Package] = {}
    for package in (*_debian(tree), *_python(tree)):
        found[package.id] = package
    return dict(sorted(found.items()))


def owners(packages: Mapping[str, Package]) -> dict[str, str]:
    """The package that a path belongs to; the first in sorted order."""
    found: dict[str, str] = {}
    for name, package in packages.items():
        for path in package.files:
            found.setdefault(path, name)
    return found


def still_there(packages: Mapping[str, Package], kept: set[str]) -> dict[str, Package]:
    """Packages of which code is kept. One without code at all stays with its paper."""
    return {
        name: package
        for name, package in packages.items()
        if package.code & kept or (not package.code and package.files & kept)
    }


def status_of(tree: Tree, there: Mapping[str, Package]) -> bytes:
    """dpkg's status with the records of the packages that are there."""
    kept = [record for name, _, record in _records(tree) if f"deb:{name}" in there]
    return "".join(record + "\n\n" for record in kept).encode("utf-8", "surrogateescape")


def shortened(tree: Tree, path: str, kept: set[str]) -> bytes | None:
    """A package's list of files without those that are gone; None for what is no such list."""
    if path.startswith(_INFO) and path.endswith(".list"):
        lines = _text(tree, path).splitlines()
        return "".join(f"{line}\n" for line in lines if _is_kept(tree, line, kept)).encode()
    if path.startswith(_INFO) and path.endswith(".md5sums"):
        rows = [row for row in _text(tree, path).splitlines() if "  " in row]
        left = [row for row in rows if _is_kept(tree, "/" + row.split("  ", 1)[1], kept)]
        return "".join(f"{row}\n" for row in left).encode()
    if path.endswith(".dist-info/RECORD"):
        base = posixpath.dirname(posixpath.dirname(path))
        lines = [line for line in _text(tree, path).splitlines() if line]
        left = [line for line in lines if _recorded(base, line) in kept]
        return "".join(f"{line}\n" for line in left).encode()
    return None


def bill(packages: Iterable[Package], name: str, digest: str, platform: str) -> dict[str, Any]:
    """A CycloneDX 1.6 bill of materials of packages, sorted; no times."""
    components = []
    for package in packages:
        kind = "deb/debian" if package.kind == "deb" else "pypi"
        components.append(
            {
                "type": "library",
                "name": package.name,
                "version": package.version,
                "purl": f"pkg:{kind}/{package.name}@{package.version}",
            }
        )
    about = {"type": "container", "name": name, "version": digest}
    properties = [{"name": "mlgate:platform", "value": platform}]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": about, "properties": properties},
        "components": components,
    }


def _debian(tree: Tree) -> Iterator[Package]:
    lists = [path for path in tree.entries if path.startswith(_INFO)]
    by_name: dict[str, list[str]] = {}
    for path in lists:
        by_name.setdefault(posixpath.basename(path).split(":")[0].rsplit(".", 1)[0], []).append(
            path
        )
    for name, version, _ in _records(tree):
        package = Package("deb", name, version)
        package.database = set(by_name.get(name, ()))
        for path in package.database:
            if path.endswith(".list"):
                package.files |= set(_real(tree, _text(tree, path).splitlines()))
        yield package


def _records(tree: Tree) -> Iterator[tuple[str, str, str]]:
    """Name, version and text of each record of dpkg's status."""
    if tree.resolve(STATUS) is None:
        return
    for record in re.split(r"\n{2,}", _text(tree, STATUS).strip()):
        name = re.search(r"^Package: (\S+)$", record, re.MULTILINE)
        version = re.search(r"^Version: (\S+)$", record, re.MULTILINE)
        if name and version:
            yield name[1], version[1], record


def _python(tree: Tree) -> Iterator[Package]:
    for path in sorted(tree.entries):
        if not path.endswith(".dist-info/METADATA"):
            continue
        folder = posixpath.dirname(path)
        head = _text(tree, path).split("\n\n", 1)[0]
        name = re.search(r"^Name: *(\S+)", head, re.MULTILINE)
        version = re.search(r"^Version: *(\S+)", head, re.MULTILINE)
        package = Package("pypi", name[1] if name else "unknown", version[1] if version else "0")
        package.database = {p for p in tree.entries if p.startswith(folder + "/")}
        record = f"{folder}/RECORD"
        if record in tree.entries:
            lines = [line for line in _text(tree, record).splitlines() if line]
            paths = [_recorded(posixpath.dirname(folder), line) for line in lines]
            package.files = {path for path in paths if path in tree.entries}
        package.files |= package.database
        yield package


def _recorded(base: str, line: str) -> str:
    first = next(csv.reader([line]))[0]
    return posixpath.normpath(posixpath.join(base, first))


def _real(tree: Tree, paths: Iterable[str]) -> Iterator[str]:
    """Real paths of files that are there: dpkg says /lib/x where the file is /usr/lib/x."""
    folders: dict[str, str | None] = {}
    for path in paths:
        folder, base = posixpath.split(path)
        if folder not in folders:
            folders[folder] = tree.resolve(folder)
        real = posixpath.join(folders[folder] or folder, base)
        entry = tree.entries.get(real)
        if entry is not None and entry.kind != "folder":
            yield real


def _is_kept(tree: Tree, path: str, kept: set[str]) -> bool:
    folder, base = posixpath.split(path)
    return posixpath.join(tree.resolve(folder) or folder, base) in kept or path in ("/.", "/")


def _text(tree: Tree, path: str) -> str:
    return tree.read(path).decode("utf-8", "surrogateescape")
