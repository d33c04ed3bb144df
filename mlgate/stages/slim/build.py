"""The slim image out of what stays: three layers, so that a new model pushes only the last."""

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mlgate.errors import StageError
from mlgate.images.tree import Tree
from mlgate.images.write import Item, Packed, Written, assemble, write_layer
from mlgate.stages.slim.keep import Kept
from mlgate.stages.slim.packages import STATUS, Package, shortened, status_of, still_there

_SITE: Final = re.compile(r"/(site|dist)-packages(/|$)")
_NAMES: Final = ("system", "packages", "application")


def build(
    tree: Tree,
    config: Mapping[str, Any],
    kept: Kept,
    packages: Mapping[str, Package],
    first_party: tuple[str, ...],
    folder: Path,
) -> Written:
    """Writes the image's parts below `folder`. Raises `StageError` when nothing stays."""
    if not any(tree.entries[path].kind == "file" for path in kept.why):
        raise StageError("no file stays: the trace saw nothing", hint="is the entrypoint right?")
    there = still_there(packages, kept.paths)
    layers: dict[str, list[Item]] = {name: [] for name in _NAMES}
    for path in kept.why:
        entry = tree.entries[path]
        data = None
        if path == STATUS:
            data = status_of(tree, there)
        elif entry.kind == "file":
            data = shortened(tree, path, kept.paths)
        layers[_layer(path, first_party)].append(Item(path, entry, data))
    written = []
    for name, items in layers.items():
        if items:
            items += _folders_of(tree, items)
            written.append((name, write_layer(tree, items, folder / name)))
    notes = tuple(f"mlgate slim: {name}" for name, _ in written)
    packed: tuple[Packed, ...] = tuple(layer for _, layer in written)
    return assemble(config, packed, notes)


def _layer(path: str, first_party: tuple[str, ...]) -> str:
    if any(path == own or path.startswith(own.rstrip("/") + "/") for own in first_party):
        return "application"
    return "packages" if _SITE.search(path) else "system"


def _folders_of(tree: Tree, items: list[Item]) -> list[Item]:
    """Folders above a layer's entries, with their owners: a layer stands alone."""
    there = {item.path for item in items}
    found = {}
    for item in items:
        folder = posixpath.dirname(item.path)
        while folder != "/" and folder not in there and folder not in found:
            if folder in tree.entries:
                found[folder] = Item(folder, tree.entries[folder])
            folder = posixpath.dirname(folder)
    return list(found.values())
