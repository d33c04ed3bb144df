"""An image's bytes out of an OCI layout or a docker-archive, as folder or tar; no daemon.

Specs: OCI image-spec 1.1 (image-layout, image-index, manifest, layer), and the `manifest.json` of
`docker save`. Every blob named by a digest is checked against it, and every layer against the
config's diff id, before a byte of it is believed.
"""

import gzip
import hashlib
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol, cast

from mlgate.errors import StageError
from mlgate.files import cannot_write

LARGEST_JSON: Final = 16 << 20  # bytes of a manifest, an index or a config
LARGEST_IMAGE: Final = 256 << 30  # bytes unpacked
MOST_LAYERS: Final = 1000
_CHUNK: Final = 1 << 20
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ATTESTATION: Final = "vnd.docker.reference.type"


class _Files(Protocol):
    def open(self, name: str) -> IO[bytes]: ...
    def has(self, name: str) -> bool: ...


@dataclass(frozen=True)
class Layer:
    """One layer, unpacked beside us: `file` is its plain tar, `diff_id` the digest of that.

    `stored_bytes` are those that it takes where it came from, packed or not. `instruction` is the
    line of the Dockerfile that made it, as the history tells it.
    """

    file: Path
    diff_id: str
    stored_bytes: int
    packing: str
    instruction: str


@dataclass(frozen=True)
class Image:
    """An image, read: its config, and its layers from the lowest up.

    `notes` say what was left behind on the way, in words. `manifest` is the manifest's digest,
    None for an archive that has none.
    """

    config: Mapping[str, Any]
    config_digest: str
    manifest: str | None
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()

    @property
    def platform(self) -> str:
        return platform_of(self.config)


def read(
    location: Path, scratch: Path, *, platform: str | None = None, tag: str | None = None
) -> Image:
    """Reads an image and unpacks its layers into `scratch`.

    `location` is an OCI layout or a docker-archive, a folder or a tar file. `platform`, such as
    `linux/amd64`, chooses within an index, `tag` among several images. Raises `StageError`.
    """
    with _opened(location) as files:
        if files.has("index.json"):
            return _of_layout(files, location, scratch, platform, tag)
        if files.has("manifest.json"):
            return _of_docker(files, location, scratch, tag)
    raise StageError(
        f"{location} is neither an OCI layout nor a docker-archive",
        hint="it has neither index.json nor manifest.json; docker save and buildah push make them",
    )


def platform_of(about: Mapping[str, Any]) -> str:
    """`os/architecture` or `os/architecture/variant`."""
    words = [about.get("os", "unknown"), about.get("architecture", "unknown"), about.get("variant")]
    return "/".join(str(word) for word in words if word)


class _Folder:
    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def open(self, name: str) -> IO[bytes]:
        path = self.root / name
        if not path.resolve().is_relative_to(self.root):
            raise StageError(f"{name} leads out of the layout {self.root}")
        if not path.is_file():
            raise StageError(f"{self.root} lacks {name}", hint="was it copied whole?")
        return path.open("rb")


class _Tar:
    def __init__(self, archive: tarfile.TarFile, location: Path) -> None:
        self.location = location
        self.archive = archive
        self.members = {member.name.removeprefix("./"): member for member in archive}

    def has(self, name: str) -> bool:
        return name in self.members

    def open(self, name: str) -> IO[bytes]:
        member = self.members.get(name)
        hops = 0
        while member is not None and (member.issym() or member.islnk()):
            # Old archives share a layer by a link to another's folder.
            base = name.rpartition("/")[0] if member.issym() else ""
            name = _joined(base, member.linkname, self.location)
            member = self.members.get(name)
            hops += 1
            if hops > 8:
                raise StageError(f"{self.location}: {name} is a link to itself")
        if member is None or not member.isfile():
            raise StageError(f"{self.location} lacks {name}", hint="was it copied whole?")
        return cast(IO[bytes], self.archive.extractfile(member))


def _joined(base: str, link: str, location: Path) -> str:
    parts = base.split("/") if base else []
    for part in link.split("/"):
        if part == "..":
            if not parts:
                raise StageError(f"{location}: the link {link} leads out of the archive")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


@contextmanager
def _opened(location: Path) -> Iterator[_Files]:
    if location.is_dir():
        yield _Folder(location)
        return
    if not location.is_file():
        raise StageError(f"{location} does not exist", hint="is the path relative to mlgate.yaml?")
    try:
        with tarfile.open(location) as archive:
            yield _Tar(archive, location)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise StageError(f"{location} is no whole archive: {error}") from None


def _json(files: _Files, name: str, digest: str | None = None) -> Any:
    with files.open(name) as file:
        data = file.read(LARGEST_JSON + 1)
    if len(data) > LARGEST_JSON:
        raise StageError(f"{name} is larger than {LARGEST_JSON >> 20} MiB")
    if digest is not None and _sha256(data) != digest:
        raise StageError(f"{name} was altered: its content has another digest")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StageError(f"{name} is not JSON: {error}") from None
    return value


def _blob(descriptor: Any) -> tuple[str, str]:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
        raise StageError(f"{digest!r} is not a sha256 digest")
    return "blobs/" + digest.replace(":", "/"), digest


def _of_layout(
    files: _Files, location: Path, scratch: Path, platform: str | None, tag: str | None
) -> Image:
    notes: list[str] = []
    index = _json(files, "index.json")
    descriptor = _chosen(files, index, platform, tag, notes, depth=0)
    name, digest = _blob(descriptor)
    manifest = _json(files, name, digest)
    layers = manifest.get("layers") if isinstance(manifest, dict) else None
    if not isinstance(layers, list) or not isinstance(manifest.get("config"), dict):
        raise StageError(f"{location}: {digest} is no image manifest")
    config_name, config_digest = _blob(manifest["config"])
    config = _json(files, config_name, config_digest)
    if platform is not None and not _fits(platform, config):
        raise StageError(f"{platform} is not in the image: it is {platform_of(config)}")
    blobs = [_blob(layer) for layer in layers]
    unpacked = _layers(files, config, blobs, scratch)
    return Image(config, config_digest, digest, unpacked, tuple(notes))


def _chosen(
    files: _Files,
    index: Any,
    platform: str | None,
    tag: str | None,
    notes: list[str],
    depth: int,
) -> dict[str, Any]:
    """The descriptor of the one image that is meant, through nested indexes."""
    listed = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(listed, list) or depth > 4:
        raise StageError("the image index lists no manifests")
    images = []
    for descriptor in listed:
        about = descriptor.get("annotations") or {}
        if _ATTESTATION in about or (
            platform_of(descriptor.get("platform") or {}) == "unknown/unknown"
            and descriptor.get("platform")
        ):
            notes.append(
                f"the attestation {descriptor.get('digest')} of the source was dropped: "
                "it describes other bytes"
            )
            continue
        named = about.get("org.opencontainers.image.ref.name")
        if depth == 0 and tag is not None and named is not None and not _same_tag(named, tag):
            continue
        images.append(descriptor)
    fitting = [
        descriptor
        for descriptor in images
        if platform is None
        or not descriptor.get("platform")
        or _fits(platform, descriptor["platform"])
    ]
    if not fitting:
        there = ", ".join(sorted(platform_of(i["platform"]) for i in images if i.get("platform")))
        if platform is not None and there:
            raise StageError(f"{platform} is not in the index: {there}")
        raise StageError("the index holds no such image", hint="is the tag right?")
    if len({descriptor.get("digest") for descriptor in fitting}) > 1:
        there = ", ".join(_called(descriptor) for descriptor in fitting)
        raise StageError(
            f"there are {len(fitting)} images: {there}", hint="give platform: or a tag"
        )
    descriptor = fitting[0]
    if descriptor.get("mediaType") in _INDEXES:
        name, digest = _blob(descriptor)
        return _chosen(files, _json(files, name, digest), platform, tag, notes, depth + 1)
    return cast(dict[str, Any], descriptor)


def _called(descriptor: Mapping[str, Any]) -> str:
    named = (descriptor.get("annotations") or {}).get("org.opencontainers.image.ref.name")
    return str(named or platform_of(descriptor.get("platform") or {}))


def _same_tag(named: str, tag: str) -> bool:
    return named == tag or named.rpartition(":")[2] == tag


def _fits(wanted: str, about: Mapping[str, Any]) -> bool:
    there = platform_of(about)
    return there == wanted or there.startswith(wanted + "/")


def _of_docker(files: _Files, location: Path, scratch: Path, tag: str | None) -> Image:
    listed = _json(files, "manifest.json")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise StageError(f"{location}: manifest.json lists no images")
    fitting = [item for item in listed if tag is None or tag in (item.get("RepoTags") or ())]
    if len(fitting) != 1:
        names = ", ".join(str(name) for item in listed for name in item.get("RepoTags") or ())
        raise StageError(f"{location} holds {len(listed)} images: {names}", hint="name one of them")
    name = str(fitting[0].get("Config"))
    with files.open(name) as file:
        digest = _sha256(file.read(LARGEST_JSON + 1))
    config = _json(files, name)
    blobs = [(str(layer), None) for layer in fitting[0].get("Layers") or ()]
    return Image(config, digest, None, _layers(files, config, blobs, scratch))


def _layers(files: _Files, config: Any, blobs: list[Any], scratch: Path) -> tuple[Layer, ...]:
    if not isinstance(config, dict) or config.get("os", "linux") != "linux":
        raise StageError("only images for Linux are read")
    ids = (config.get("rootfs") or {}).get("diff_ids")
    if not isinstance(ids, list) or len(ids) != len(blobs) or len(ids) > MOST_LAYERS:
        raise StageError("the image's config does not name its layers")
    lines = [_instruction(row) for row in config.get("history") or () if not row.get("empty_layer")]
    left = LARGEST_IMAGE
    found = []
    for index, ((name, digest), diff_id) in enumerate(zip(blobs, ids, strict=True)):
        file = scratch / f"layer-{index}.tar"
        stored, packing = _unpack(files, name, digest, diff_id, file, left)
        left -= file.stat().st_size
        line = lines[index] if index < len(lines) else "unknown"
        found.append(Layer(file, diff_id, stored, packing, line))
    return tuple(found)


def _unpack(
    files: _Files, name: str, digest: str | None, diff_id: str, to: Path, limit: int
) -> tuple[int, str]:
    """Writes a layer's plain tar; its stored bytes and how it was packed."""
    packed = hashlib.sha256()
    plain = hashlib.sha256()
    stored = written = 0
    with files.open(name) as source:
        head = source.read(4)
        source.seek(0)
        packing = "gzip" if head.startswith(_GZIP) else "zstd" if head == _ZSTD else "plain"
        counted = _Counted(source, packed)
        try:
            with to.open("wb") as out:
                for chunk in _chunks(counted, packing):
                    plain.update(chunk)
                    written += len(chunk)
                    if written > limit:
                        raise StageError(f"the image is larger than {LARGEST_IMAGE >> 30} GiB")
                    out.write(chunk)
            counted.drain()
        except OSError as error:
            if isinstance(error, gzip.BadGzipFile) or error.errno is None:
                raise StageError(f"the layer {name} cannot be unpacked: {error}") from None
            raise cannot_write(to, error) from None
        except (EOFError, zlib.error) as error:
            raise StageError(f"the layer {name} cannot be unpacked: {error}") from None
    stored = counted.count
    if digest is not None and f"sha256:{packed.hexdigest()}" != digest:
        raise StageError(f"the layer {name} was altered: its content has another digest")
    if f"sha256:{plain.hexdigest()}" != diff_id:
        raise StageError(f"the layer {name} is not the one that the config names ({diff_id})")
    return stored, packing


class _Counted:
    """A stream that hashes and counts what is read of it."""

    def __init__(self, source: IO[bytes], into: Any) -> None:
        self.source = source
        self.into = into
        self.count = 0

    def read(self, size: int = _CHUNK) -> bytes:
        data = self.source.read(size)
        self.into.update(data)
        self.count += len(data)
        return data

    def drain(self) -> None:
        while self.read():
            pass


def _chunks(source: _Counted, packing: str) -> Iterator[bytes]:
    if packing == "gzip":
        stream: Any = gzip.GzipFile(fileobj=cast(Any, source))
    elif packing == "zstd":
        stream = _zstd(source)
    else:
        stream = source
    while chunk := stream.read(_CHUNK):
        yield chunk


def _zstd(source: _Counted) -> Any:
    try:
        import zstandard  # noqa: PLC0415  # only layers packed with it pay for it
    except ModuleNotFoundError:
        raise StageError(
            "a layer is packed with zstd, and zstandard is not installed",
            hint="pip install 'mlgate[slim]'",
        ) from None
    return zstandard.ZstdDecompressor().stream_reader(cast(Any, source), read_across_frames=True)


def _instruction(row: Mapping[str, Any]) -> str:
    """A line of the history as a Dockerfile has it."""
    text = " ".join(str(row.get("created_by") or row.get("comment") or "unknown").split())
    text = re.sub(r"^/bin/sh -c #\(nop\)\s*", "", text)
    text = re.sub(r"^/bin/sh -c ", "RUN ", text)
    return text.removesuffix(" # buildkit")[:300]


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
