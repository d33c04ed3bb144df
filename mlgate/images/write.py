"""Images as bytes that are the same wherever they are written: layers, config, manifest, layouts.

Layers are PAX tars in sorted order. Owners, modes, extended attributes (file capabilities are
among them) and modification times are the source's: Python takes a compiled module for stale when
its source's time changes. Nothing tells when or where an image was written.
"""

import copy
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlgate.files import cannot_write
from mlgate.images.tree import Entry, Tree

_EPOCH: Final = "1970-01-01T00:00:00Z"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_GZIP_LEVEL: Final = 6
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Blob:
    """A file known by its content."""

    file: Path
    digest: str
    size: int


@dataclass(frozen=True)
class Packed:
    """A layer, plain and gzipped. `bytes` are those of the files in it."""

    plain: Blob
    gzipped: Blob
    bytes: int


@dataclass(frozen=True)
class Written:
    """An image, written: its parts, by digest."""

    config: bytes
    manifest: bytes
    layers: tuple[Packed, ...]

    @property
    def config_digest(self) -> str:
        return _sha256(self.config)

    @property
    def manifest_digest(self) -> str:
        return _sha256(self.manifest)

    @property
    def size_bytes(self) -> int:
        return sum(layer.bytes for layer in self.layers)

    @property
    def compressed_bytes(self) -> int:
        return sum(layer.gzipped.size for layer in self.layers)


@dataclass(frozen=True)
class Item:
    """One entry of a layer: where it is, and its bytes where they are not the source's."""

    path: str
    entry: Entry
    data: bytes | None = None


def write_layer(tree: Tree, items: Iterable[Item], to: Path) -> Packed:
    """Writes a layer beside `to`: `to` with .tar and .tar.gz. Raises `StoreError`."""
    plain, packed = to.with_suffix(".tar"), to.with_suffix(".tar.gz")
    total = 0
    first_names: dict[tuple[int, int], str] = {}
    try:
        with tarfile.open(plain, "w", format=tarfile.PAX_FORMAT) as archive:
            for item in sorted(items, key=lambda item: item.path):
                total += _add(archive, tree, item, first_names)
        _gzip(plain, packed)
    except OSError as error:
        raise cannot_write(plain, error) from None
    return Packed(_blob(plain), _blob(packed), total)


def _add(
    archive: tarfile.TarFile, tree: Tree, item: Item, first_names: dict[tuple[int, int], str]
) -> int:
    """Adds one entry; the bytes of it that are new."""
    entry = item.entry
    header = copy.copy(entry.header)
    header.name = item.path[1:]
    header.mtime = int(entry.header.mtime)
    header.pax_headers = {
        name: value
        for name, value in entry.header.pax_headers.items()
        if name.startswith("SCHILY.xattr.")
    }
    header.linkname = entry.target if entry.kind == "symlink" else ""
    header.size = 0
    if entry.kind != "file":
        archive.addfile(header)
        return 0
    header.type = tarfile.REGTYPE
    if item.data is not None:
        header.size = len(item.data)
        archive.addfile(header, io.BytesIO(item.data))
        return header.size
    first = first_names.setdefault(entry.content, header.name)
    if first != header.name:
        header.type = tarfile.LNKTYPE
        header.linkname = first
        archive.addfile(header)
        return 0
    header.size = entry.size
    with tree.layers[entry.source].file.open("rb") as file:
        file.seek(entry.offset)
        archive.addfile(header, file)
    return entry.size


def assemble(
    source: Mapping[str, Any], layers: tuple[Packed, ...], notes: tuple[str, ...]
) -> Written:
    """Config and manifest around layers; all that the source's config says stays as it is.

    `notes` are the history, a line for each layer.
    """
    about = {k: v for k, v in source.items() if k not in ("history", "rootfs", "created")}
    # What a build leaves of itself: it names a container that nobody has.
    for left in ("container", "container_config", "docker_version", "id", "parent"):
        about.pop(left, None)
    config = {
        **about,
        "created": _EPOCH,
        "rootfs": {"type": "layers", "diff_ids": [layer.plain.digest for layer in layers]},
        "history": [{"created": _EPOCH, "created_by": note} for note in notes],
    }
    config_bytes = _dumped(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _descriptor(_CONFIG, config_bytes),
        "layers": [
            {"mediaType": _LAYER, "digest": layer.gzipped.digest, "size": layer.gzipped.size}
            for layer in layers
        ],
    }
    return Written(config_bytes, _dumped(manifest), layers)


def write_layout(image: Written, folder: Path, tag: str) -> None:
    """An OCI layout in a new folder; layers are moved there by hard link where that goes."""
    blobs = folder / "blobs" / "sha256"
    try:
        blobs.mkdir(parents=True)
        for data in (image.config, image.manifest):
            (blobs / _sha256(data)[7:]).write_bytes(data)
        for layer in image.layers:
            to = blobs / layer.gzipped.digest[7:]
            if not to.exists():
                to.hardlink_to(layer.gzipped.file)
        about = json.loads(image.config)
        descriptor = _descriptor(_MANIFEST, image.manifest)
        descriptor["platform"] = {
            name: about[name] for name in ("architecture", "os", "variant") if name in about
        }
        descriptor["annotations"] = {"org.opencontainers.image.ref.name": tag}
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [descriptor]}
        (folder / "oci-layout").write_bytes(_dumped({"imageLayoutVersion": "1.0.0"}))
        # Last: a layout without it is none.
        (folder / "index.json").write_bytes(_dumped(index))
    except OSError as error:
        raise cannot_write(folder, error) from None


def write_archive(image: Written, file: Path, tag: str) -> None:
    """A docker-archive, as `docker load` and every older tool reads it."""
    config_name = image.config_digest[7:] + ".json"
    names = [layer.plain.digest[7:] + "/layer.tar" for layer in image.layers]
    listed = [{"Config": config_name, "RepoTags": [tag], "Layers": names}]
    written = set()
    try:
        with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
            _add_bytes(archive, config_name, image.config)
            for name, layer in zip(names, image.layers, strict=True):
                if name in written:
                    continue
                written.add(name)
                header = tarfile.TarInfo(name)
                header.size = layer.plain.size
                with layer.plain.file.open("rb") as data:
                    archive.addfile(header, data)
            _add_bytes(archive, "manifest.json", _dumped(listed))
    except OSError as error:
        file.unlink(missing_ok=True)
        raise cannot_write(file, error) from None


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    archive.addfile(header, io.BytesIO(data))


def _gzip(plain: Path, packed: Path) -> None:
    with (
        plain.open("rb") as source,
        packed.open("wb") as out,
        gzip.GzipFile("", "wb", _GZIP_LEVEL, out, mtime=0) as zipped,
    ):
        while chunk := source.read(_CHUNK):
            zipped.write(chunk)


def _blob(file: Path) -> Blob:
    with file.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    return Blob(file, f"sha256:{digest}", file.stat().st_size)


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _sha256(data), "size": len(data)}


def _dumped(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
