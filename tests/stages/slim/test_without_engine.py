"""A layout where no engine is: the static level, and nothing claimed of answers."""

import json
from pathlib import Path

import pytest

from mlgate.errors import StageError
from mlgate.images.read import read
from mlgate.images.tree import merge
from mlgate.stages.slim.run import measure
from tests.images.made import Member, layer, layout
from tests.stages.slim.jobs import job

_STATUS = """Package: used
Version: 1.0

Package: docs-only
Version: 2.0
"""
FILES: list[Member] = [
    ("usr", None), ("usr/bin", None), ("usr/bin/serve", "#!/bin/sh"),
    ("usr/share", None), ("usr/share/doc", None), ("usr/share/doc/x", "words" * 100),
    ("var/lib/dpkg/status", _STATUS),
    ("var/lib/dpkg/info/used.list", "/usr\n/usr/bin/serve\n/usr/share/doc/x\n"),
    ("var/lib/dpkg/info/docs-only.list", "/usr/share/doc/x\n"),
    ("srv", None), ("srv/model.onnx", "model"), ("waste", "x" * 1000),
]  # fmt: skip


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    whiteout = layer((".wh.waste", ""))
    return layout(tmp_path / "oci", layer(*FILES), whiteout, WorkingDir="/srv", Cmd=["serve"])


@pytest.mark.usefixtures("no_engine")
def test_the_static_level_is_built_and_answers_are_not_claimed(tmp_path: Path, image: Path) -> None:
    said = measure(job(tmp_path, f"oci:{image}"))
    by_name = {m.name: m for m in said.measurements if not m.labels}
    assert by_name["wasted_bytes"].value == 1000
    compared = [m for m in said.measurements if m.name == "replay.mismatches"]
    assert len(compared) == 4
    assert all(m.value is None and "no Docker Engine" in str(m.reason) for m in compared)
    assert said.details["left_out"] == ["trace", "verify"]

    made = read(tmp_path / "work" / "image.oci.tar", tmp_path)
    tree = merge(made)
    assert "/usr/share/doc/x" not in tree.entries
    assert "/waste" not in tree.entries
    assert tree.read("/srv/model.onnx") == b"model"
    assert made.manifest == said.outputs["image"].digest


@pytest.mark.usefixtures("no_engine")
def test_s11_package_databases_say_what_is_there(tmp_path: Path, image: Path) -> None:
    said = measure(job(tmp_path, f"oci:{image}"))
    tree = merge(read(tmp_path / "work" / "image.oci.tar", tmp_path))
    assert b"Package: used" in tree.read("/var/lib/dpkg/status")
    assert b"docs-only" not in tree.read("/var/lib/dpkg/status")
    assert tree.read("/var/lib/dpkg/info/used.list") == b"/usr\n/usr/bin/serve\n"
    sbom = json.loads((tmp_path / "work" / said.outputs["sbom"].name).read_text())
    assert [c["name"] for c in sbom["components"]] == ["used"]


@pytest.mark.usefixtures("no_engine")
def test_the_same_bytes_every_time(tmp_path: Path, image: Path) -> None:
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        said = measure(job(tmp_path / name, f"oci:{image}"))
        made.append({port: made_.digest for port, made_ in said.outputs.items()})
    assert made[0] == made[1]


@pytest.mark.usefixtures("no_engine")
def test_an_engine_that_is_not_there_is_an_error_for_an_image_of_it(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no Docker Engine answers") as caught:
        measure(job(tmp_path, "digits:fat"))
    assert "oci:FOLDER" in str(caught.value.hint)


@pytest.mark.usefixtures("no_engine")
def test_a_probe_without_requests_is_an_error(tmp_path: Path, image: Path) -> None:
    with pytest.raises(StageError, match="holds no requests"):
        measure(job(tmp_path, f"oci:{image}", requests=[]))


@pytest.mark.usefixtures("no_engine")
def test_the_model_inside_is_the_gated_one(tmp_path: Path, image: Path) -> None:
    (tmp_path / "model.onnx").write_text("other")
    with pytest.raises(StageError, match="does not hold the gated model"):
        measure(job(tmp_path, f"oci:{image}", model=str(tmp_path / "model.onnx")))
