"""What stays, each path with its reason.

The rules beside the trace are what programs need without opening it in a probe. Each of them is a
breakage that was met: a shell that onnxruntime opens at import, links that a tracer resolves, the
metadata that `importlib.metadata` reads, libraries that the loader wants.
"""

import fnmatch
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlgate.images.tree import Tree
from mlgate.stages.slim.elf import needs
from mlgate.stages.slim.packages import Package, owners
from mlgate.stages.slim.spec import Level

JUNK: Final = (
    "/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*",
    "/usr/share/lintian/*", "/usr/share/bash-completion/*", "/var/lib/apt/lists/*",
    "/var/cache/*", "/var/log/*", "*/.cache/*", "/usr/include/*",
    "*.a", "*.la", "*.pyi", "*.c", "*.h", "*.hpp", "*.pyx", "*.pxd", "*/site-packages/*/tests/*",
    "*/dist-packages/*/tests/*", "/usr/lib/python3*/test/*", "*/__pycache__/*.opt-?.pyc",
    "*/pip/*", "*/pip-*", "*/setuptools/*", "*/setuptools-*", "*/wheel/*", "*/wheel-*",
    "*/pkg_resources/*", "*/ensurepip/*",
)  # fmt: skip
# Paths that the runtime, the C library or Python want of any image, where they are.
_ALWAYS: Final = {
    "/etc/passwd": "user names", "/etc/group": "group names", "/etc/nsswitch.conf": "name service",
    "/etc/hosts": "name service", "/etc/resolv.conf": "name service",
    "/etc/ld.so.cache": "the loader's", "/etc/ld.so.conf": "the loader's",
    "/etc/ld.so.conf.d/*": "the loader's", "/etc/os-release": "what system this is",
    "/usr/lib/os-release": "what system this is", "/etc/debian_version": "what system this is",
    "/etc/localtime": "local time", "/usr/share/zoneinfo/UTC": "local time",
    "/usr/share/zoneinfo/Etc/UTC": "local time", "/etc/ssl/certs/ca-certificates.crt": "TLS",
    "/etc/ssl/openssl.cnf": "TLS", "/usr/lib/ssl/openssl.cnf": "TLS",
    "*/libnss_files.so*": "name service", "*/libnss_dns.so*": "name service",
    "*/libresolv.so*": "name service",
}  # fmt: skip
_PYTHON: Final = ("/usr/lib/python3*/os.py", "/usr/local/lib/python3*/os.py", "*/pyvenv.cfg",
                  "*/lib/python3*/lib-dynload")  # fmt: skip
_CACHED: Final = re.compile(r"^(.*)/__pycache__/([^/]+)\.(cpython-\d+)\.pyc$")
_SITE: Final = re.compile(r"^(.*/(?:site|dist)-packages)/")
# Code that stays → (what it needs, why).
_WANTS: Final = (
    ("*/onnxruntime/capi/*", ("/bin/sh", "/etc/machine-id"), "onnxruntime needs it"),
    ("*/triton/*", ("/usr/bin/gcc*", "/usr/bin/cc", "/usr/bin/ld*", "/usr/bin/as",
                    "/usr/lib/gcc/**", "/usr/libexec/gcc/**"), "triton compiles with it"),
)  # fmt: skip
_GPU: Final = (
    ("*/libonnxruntime_providers_*.so", "provider library"),
    ("*/nvidia/*/lib/*.so*", "CUDA library of a provider"),
)


@dataclass
class Kept:
    """Paths that stay and why; `gone` are files that do not, with their sizes."""

    why: dict[str, str] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)

    @property
    def paths(self) -> set[str]:
        return set(self.why)


class Keeper:
    """Collects what stays of one tree."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.why: dict[str, str] = {}
        self.searched = _library_folders(tree)

    def add(self, path: str, reason: str) -> str | None:
        """Keeps a path and the symbolic links on the way to it; where it really is."""
        real, links = self.tree.walk(path)
        for link in links:
            self.why.setdefault(link, f"link: {reason}")
        if real is None or real == "/":
            return None
        self.why.setdefault(real, reason)
        return real

    def add_matching(self, patterns: Iterable[str], reason: str) -> None:
        for path in matching(self.tree, patterns):
            self.add(path, reason)

    def sources_and_caches(self) -> None:
        """The source of every compiled module, which the finder looks at, and the other way."""
        for path in sorted(self.why):
            cached = _CACHED.match(path)
            if cached:
                self.add(f"{cached[1]}/{cached[2]}.py", "source of a compiled module")
            elif path.endswith(".py"):
                folder, base = posixpath.split(path)
                for entry in _caches(self.tree, folder, base):
                    self.add(entry, "compiled module")

    def libraries(self) -> None:
        """The loader and the libraries of everything that is kept, and theirs."""
        waiting = sorted(self.why)
        seen: set[str] = set()
        while waiting:
            path = waiting.pop()
            entry = self.tree.entries.get(path)
            if path in seen or entry is None or entry.kind != "file" or entry.size < 64:
                continue
            seen.add(path)
            if self.tree.read(path, 4) != b"\x7fELF":
                continue
            wanted = needs(self.tree.read(path, 1 << 30))
            if wanted.interpreter and (found := self.add(wanted.interpreter, "loader")):
                waiting.append(found)
            for name in wanted.libraries:
                if found := self._library(name, wanted.paths, posixpath.dirname(path)):
                    waiting.append(found)

    def links_into(self) -> None:
        """Links that lead to what is kept: tracers tell where they lead, programs use them."""
        folders = {posixpath.dirname(path) for path in self.why}
        for path, entry in self.tree.entries.items():
            if entry.kind == "symlink" and path not in self.why:
                real = self.tree.resolve(path)
                if real in self.why or real in folders:
                    self.why[path] = "link to what is kept"

    def parents(self) -> None:
        for path in list(self.why):
            folder = posixpath.dirname(path)
            while folder != "/" and folder not in self.why:
                if folder in self.tree.entries:
                    self.why[folder] = "folder"
                folder = posixpath.dirname(folder)

    def _library(self, name: str, paths: tuple[str, ...], origin: str) -> str | None:
        own = [p.replace("$ORIGIN", origin).replace("${ORIGIN}", origin) for p in paths]
        for folder in (*own, *self.searched):
            path = posixpath.normpath(f"{folder}/{name}")
            if self.tree.resolve(path) is not None:
                return self.add(path, "library")
        return None


def choose(
    tree: Tree,
    config: Mapping[str, Any],
    packages: Mapping[str, Package],
    used: set[str],
    level: Level,
    *,
    keep: tuple[str, ...] = (),
    drop: tuple[str, ...] = (),
    first_party: tuple[str, ...] = (),
    gpus: bool = False,
) -> Kept:
    """What stays at a level. `used` are the paths of the trace; `drop` outranks everything."""
    keeper = Keeper(tree)
    for path in sorted(used):
        keeper.add(path, "used")
    if level == "static":
        junk = set(matching(tree, JUNK))
        for path, entry in tree.entries.items():
            if path not in junk or entry.kind == "folder":
                keeper.why.setdefault(path, "not junk")
    elif level == "package":
        _widen(keeper, packages)
    _needed_anyway(keeper, config, first_party)
    if gpus:
        for pattern, reason in _GPU:
            keeper.add_matching((pattern,), reason)
    keeper.add_matching(keep, "keep")
    for pattern, wants, reason in _WANTS:
        if any(fnmatch.fnmatchcase(path, pattern) for path in keeper.why):
            keeper.add_matching(wants, reason)
    keeper.sources_and_caches()
    _metadata(keeper, packages)
    keeper.libraries()
    keeper.links_into()
    for path in matching(tree, drop):
        keeper.why.pop(path, None)
    keeper.parents()
    sizes = {e.path: e.size for e in tree.files()}
    gone = {path: size for path, size in sorted(sizes.items()) if path not in keeper.why}
    return Kept(dict(sorted(keeper.why.items())), gone)


def matching(tree: Tree, patterns: Iterable[str]) -> list[str]:
    """Paths of the tree that fit a pattern; `*` fits across `/` too, and `**` is the same."""
    rules = [re.compile(fnmatch.translate(p.replace("**", "*"))) for p in patterns]
    literal = {p for p in patterns if not re.search(r"[*?\[]", p)}
    found = [path for path in tree.entries if any(rule.match(path) for rule in rules)]
    return sorted({*found, *(path for path in literal if tree.resolve(path) is not None)})


def _needed_anyway(keeper: Keeper, config: Mapping[str, Any], first_party: tuple[str, ...]) -> None:
    tree, about = keeper.tree, config.get("config") or {}
    for pattern, reason in _ALWAYS.items():
        keeper.add_matching((pattern,), reason)
    keeper.add_matching(_PYTHON, "Python looks for it")
    health = (about.get("Healthcheck") or {}).get("Test") or ()
    if health and health[0] == "CMD-SHELL":
        keeper.add("/bin/sh", "the health check's shell")
    for words in (about.get("Entrypoint"), about.get("Cmd"), health[1:]):
        for word in words or ():
            if word.startswith("/"):
                keeper.add(word, "named by the image's config")
    for path, entry in tree.entries.items():
        if entry.kind == "folder" and (entry.header.mode & 0o1000 or path == "/run"):
            keeper.add(path, "folder for temporary files")
    for path in (*_homes(tree, about), about.get("WorkingDir") or "/"):
        keeper.add(path, "home or working directory")
    for path in about.get("Volumes") or ():
        keeper.add(path, "volume")
    for folder in first_party:
        junk = set(matching(tree, (f"{folder}/*/__pycache__/*.opt-?.pyc", f"{folder}/*/.cache/*")))
        for path in tree.entries:
            if path.startswith(folder.rstrip("/") + "/") and path not in junk:
                keeper.add(path, "first-party")


def _widen(keeper: Keeper, packages: Mapping[str, Package]) -> None:
    """Everything of each package of which code is used, but junk."""
    by_path = owners(packages)
    junk = set(matching(keeper.tree, JUNK))
    used = {by_path[path] for path in keeper.why if path in by_path and ".dist-info/" not in path}
    for name in sorted(used):
        for path in sorted(packages[name].files - junk):
            keeper.add(path, f"of {name}")


def _metadata(keeper: Keeper, packages: Mapping[str, Package]) -> None:
    """The metadata of packages of which code stays, and no other: its scan opens them all."""
    for name, package in packages.items():
        if package.kind != "pypi":
            continue
        if not package.code & keeper.why.keys():
            for path in package.database:
                keeper.why.pop(path, None)
            continue
        for path in sorted(package.database):
            keeper.add(path, f"metadata of {name}")
    sites = {match[1] for path in keeper.why if (match := _SITE.match(path))}
    keeper.add_matching((f"{site}/*.pth" for site in sorted(sites)), "paths of Python")
    keeper.add("/var/lib/dpkg/status", "packages, for scanners")
    for package in packages.values():
        if package.kind == "deb" and package.code & keeper.why.keys():
            for path in package.database:
                if path.endswith((".list", ".md5sums")):
                    keeper.add(path, "packages, for scanners")


def _homes(tree: Tree, about: Mapping[str, Any]) -> list[str]:
    user = str(about.get("User") or "0").split(":")[0]
    homes = []
    if tree.resolve("/etc/passwd") is not None:
        for line in tree.read("/etc/passwd").decode(errors="replace").splitlines():
            words = line.split(":")
            if len(words) == 7 and (words[2] == "0" or user in (words[0], words[2])):
                homes.append(words[5])
    return homes


def _caches(tree: Tree, folder: str, base: str) -> list[str]:
    stem = base.removesuffix(".py")
    found = [f"{folder}/__pycache__/{stem}.cpython-3{minor}.pyc" for minor in range(8, 20)]
    return [path for path in found if path in tree.entries]


def _library_folders(tree: Tree) -> tuple[str, ...]:
    """Where the loader looks: its configuration's folders, then its own."""
    found = []
    for path in sorted(tree.entries):
        if path == "/etc/ld.so.conf" or path.startswith("/etc/ld.so.conf.d/"):
            for line in tree.read(path).decode(errors="replace").splitlines():
                if line.startswith("/"):
                    found.append(line.strip())
    found += [path for path in tree.entries if re.fullmatch(r"(/usr)?/lib/\w+-linux-\w+", path)]
    found += ["/usr/local/lib", "/lib64", "/usr/lib64", "/lib", "/usr/lib"]
    return tuple(dict.fromkeys(found))
