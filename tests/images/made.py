"""Small images of every shape, made byte by byte."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zstandard

# (name, content): text is a file, None a folder, ("->", target) a link, ("=", target) a hard link.
Member = tuple[str, str | bytes | tuple[str, str] | None]


def layer(*members: Member) -> bytes:
    """A layer's plain tar."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            body = b""
            if content is None:
                header.type, header.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, tuple):
                header.type = tarfile.SYMTYPE if content[0] == "->" else tarfile.LNKTYPE
                header.linkname = content[1]
            else:
                body = content if isinstance(content, bytes) else content.encode()
            header.size = len(body)
            archive.addfile(header, io.BytesIO(body))
    return data.getvalue()


def config(layers: Iterable[bytes], **about: Any) -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": about,
        "rootfs": {"type": "layers", "diff_ids": [digest(data) for data in layers]},
        "history": [{"created_by": f"/bin/sh -c step {n}"} for n, _ in enumerate(layers)],
    }


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layout(folder: Path, *layers: bytes, packing: str = "gzip", **about: Any) -> Path:
    """An OCI layout."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict[str, Any]:
        (blobs / digest(data)[7:]).write_bytes(data)
        return {"digest": digest(data), "size": len(data)}

    def pack(data: bytes) -> bytes:
        if packing == "gzip":
            return gzip.compress(data)
        return zstandard.ZstdCompressor().compress(data) if packing == "zstd" else data

    manifest = {
        "schemaVersion": 2,
        "config": put(json.dumps(config(layers, **about)).encode()),
        "layers": [put(pack(data)) for data in layers],
    }
    index = {"manifests": [put(json.dumps(manifest).encode())]}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def archive(file: Path, *layers: bytes, **about: Any) -> Path:
    """A docker-archive."""
    members: list[Member] = [("config.json", json.dumps(config(layers, **about)))]
    members += [(f"{n}/layer.tar", data) for n, data in enumerate(layers)]
    names = [f"{n}/layer.tar" for n, _ in enumerate(layers)]
    listed = [{"Config": "config.json", "RepoTags": ["made:1"], "Layers": names}]
    file.write_bytes(layer(*members, ("manifest.json", json.dumps(listed))))
    return file
