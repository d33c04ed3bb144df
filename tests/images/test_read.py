"""Layouts and archives: what is chosen, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlgate.errors import StageError
from mlgate.images.read import read
from tests.images.made import archive, config, digest, layer, layout

HELLO = layer(("etc", None), ("etc/hello", "hello"))


def _index(folder: Path, entries: list[dict[str, Any]]) -> None:
    data = json.dumps({"manifests": entries}).encode()
    (folder / "blobs/sha256" / digest(data)[7:]).write_bytes(data)
    outer = {
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": digest(data),
        "size": len(data),
        "annotations": {"org.opencontainers.image.ref.name": "x:1"},
    }
    (folder / "index.json").write_text(json.dumps({"manifests": [outer]}))


def _with_attestation(folder: Path) -> Path:
    layout(folder, HELLO)
    image = json.loads((folder / "index.json").read_text())["manifests"][0]
    image["platform"] = {"os": "linux", "architecture": "amd64"}
    other = b'{"layers": []}'
    (folder / "blobs/sha256" / digest(other)[7:]).write_bytes(other)
    attestation = {
        "digest": digest(other),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    _index(folder, [image, attestation])
    return folder


def test_s8_an_attestation_is_dropped_and_that_is_said(tmp_path: Path) -> None:
    image = read(_with_attestation(tmp_path / "oci"), tmp_path, tag="1")
    assert image.platform == "linux/amd64"
    assert "describes other bytes" in image.notes[0]


def test_s8_a_platform_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="linux/arm64 is not in the index: linux/amd64"):
        read(_with_attestation(tmp_path / "oci"), tmp_path, platform="linux/arm64")


def test_an_archive_and_a_layout_hold_the_same_image(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one = read(layout(tmp_path / "oci", HELLO), tmp_path / "a")
    other = read(archive(tmp_path / "x.tar", HELLO), tmp_path / "b")
    assert one.config_digest == other.config_digest
    assert [l.diff_id for l in one.layers] == [l.diff_id for l in other.layers]


def test_an_altered_layer_is_refused(tmp_path: Path) -> None:
    folder = layout(tmp_path / "oci", HELLO, packing="plain")
    blob = folder / "blobs/sha256" / digest(HELLO)[7:]
    blob.write_bytes(HELLO.replace(b"hello", b"jello"))
    with pytest.raises(StageError, match="altered"):
        read(folder, tmp_path)


def test_a_layer_that_the_config_does_not_name_is_refused(tmp_path: Path) -> None:
    about = config([HELLO])
    about["rootfs"]["diff_ids"] = ["sha256:" + "0" * 64]
    listed = [{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["l.tar"]}]
    file = tmp_path / "x.tar"
    file.write_bytes(
        layer(
            ("c.json", json.dumps(about)), ("l.tar", HELLO), ("manifest.json", json.dumps(listed))
        )
    )
    with pytest.raises(StageError, match="not the one that the config names"):
        read(file, tmp_path)


def test_a_blob_that_is_a_link_out_of_the_layout_is_refused(tmp_path: Path) -> None:
    folder = layout(tmp_path / "oci", HELLO, packing="plain")
    blob = folder / "blobs/sha256" / digest(HELLO)[7:]
    (tmp_path / "outside").write_bytes(HELLO)
    blob.unlink()
    blob.symlink_to(tmp_path / "outside")
    with pytest.raises(StageError, match="leads out of the layout"):
        read(folder, tmp_path)


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "no whole archive"), (b"x" * 600, "no whole archive")]
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "x.tar"
    file.write_bytes(content)
    with pytest.raises(StageError, match=words):
        read(file, tmp_path)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    whole = archive(tmp_path / "x.tar", HELLO).read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(StageError):
        read(tmp_path / "x.tar", tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="does not exist"):
        read(tmp_path / "none.tar", tmp_path)
    with pytest.raises(StageError, match="neither"):
        read(tmp_path, tmp_path)
