"""Where inputs lie, and digests that say when they changed."""

import json
import os
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import onnx
import pytest

from mlgate.errors import EXTRAS, StageError
from mlgate.sources import DigestCache, files, location, marks_now, missing_for, without_secrets
from mlgate.stage import DataInput, Located, ModelInput
from mlgate.stages.benchmark import provider
from mlgate.stages.benchmark.target import Target
from mlgate.stages.quantize.graph import size_on_disk
from tests.projects import tree

NOW_NS = 2_000_000_000_000_000_000


def source(path: str) -> DataInput:
    return DataInput.model_validate(path)


def digest(folder: Path, path: str, memory: Path | None = None) -> str | None:
    digests = DigestCache(memory or folder.parent / "memory.json", NOW_NS)
    found = digests.located(source(path), folder).digest
    digests.save()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tree(tmp_path / "project", {"a.txt": "a", "d/1.txt": "1", "d/2.txt": "2"})


def test_a_file_a_folder_and_a_pattern(folder: Path) -> None:
    found = {digest(folder, path) for path in ("a.txt", "d", "d/1.txt")}
    assert len(found) == 3
    assert digest(folder, "d") == digest(folder, "d/*.txt") == digest(folder, "d/**")
    assert digest(folder, "./d/../a.txt") == digest(folder, str(folder / "a.txt"))


def test_a_digest_changes_with_content_names_and_number_and_not_with_time(folder: Path) -> None:
    before = digest(folder, "d")
    os.utime(folder / "d" / "1.txt", (1, 1))
    assert digest(folder, "d") == before
    (folder / "d" / "1.txt").rename(folder / "d" / "3.txt")
    renamed = digest(folder, "d")
    tree(folder, {"d/4.txt": ""})
    more = digest(folder, "d")
    tree(folder, {"d/2.txt": "x"})
    assert len({before, renamed, more, digest(folder, "d")}) == 4


def test_swapped_contents_are_a_change(folder: Path) -> None:
    before = digest(folder, "d")
    tree(folder, {"d/1.txt": "2", "d/2.txt": "1"})
    assert digest(folder, "d") != before


def test_hidden_files_are_no_part_of_a_folder(folder: Path) -> None:
    before = digest(folder, "d")
    tree(folder, {"d/.DS_Store": "x", "d/_temporary/0.txt": "x"})
    assert digest(folder, "d") == before


def test_the_weights_beside_a_model_count(folder: Path) -> None:
    tree(folder, {"m.onnx": "graph"})
    before = digest(folder, "m.onnx")
    tree(folder, {"m.onnx.data": "weights"})
    beside = digest(folder, "m.onnx")
    tree(folder, {"m.onnx.data": "other"})
    assert len({before, beside, digest(folder, "m.onnx")}) == 3


@pytest.mark.parametrize("name", ["weights.bin", "parts/é.bin", "m.onnx.data", "n" * 127])
def test_weights_count_whatever_a_model_calls_their_file(folder: Path, name: str) -> None:
    weights = onnx.numpy_helper.from_array(np.arange(600, dtype=np.float32), "w")
    graph = onnx.helper.make_graph([], "g", [], [], [weights])
    (folder / name).parent.mkdir(exist_ok=True)
    onnx.save_model(
        onnx.helper.make_model(graph), folder / "m.onnx", save_as_external_data=True, location=name
    )
    assert folder / name in files(str(folder / "m.onnx"))
    before = digest(folder, "m.onnx")
    (folder / name).write_bytes(bytes(2400))
    assert digest(folder, "m.onnx") != before


@pytest.mark.parametrize("name", ["../a.txt", "/etc/passwd", "", ".", "gone", "x\0y"])
def test_what_a_model_names_outside_its_folder_is_not_read(folder: Path, name: str) -> None:
    entry = onnx.StringStringEntryProto(key="location", value=name).SerializeToString()
    (folder / "m.onnx").write_bytes(entry + b"\x0a\x08location\x12")
    tree(folder.parent, {"a.txt": "not mine"})
    assert files(str(folder / "m.onnx")) == (folder / "m.onnx",)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("gone.txt", "does not exist"),
        ("gone*.txt", "no file matches"),
        ("empty", "holds no files"),
        ("hidden", "holds no files"),
        ("pipe", "is no regular file"),
        ("loop", "does not exist"),
        ("a.txt/b", "does not exist"),
        ("a" * 5000, "cannot be read: File name too long"),
        ("a\0b", "does not exist"),
        ("/dev/zero", "is no regular file"),
        ("/proc/self/mem", "cannot be read"),
    ],
)
def test_what_cannot_be_read_says_so(folder: Path, path: str, says: str) -> None:
    (folder / "empty").mkdir()
    tree(folder, {"hidden/.x": ""})
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    with pytest.raises(StageError, match=says) as caught:
        digest(folder, path)
    assert len(caught.value.message) < 400


def test_brackets_in_the_name_of_a_folder_are_no_pattern(tmp_path: Path) -> None:
    folder = tree(tmp_path / "p[1]*", {"a.txt": "a", "b[1].txt": "b", "b1.txt": "c"})
    assert files(location(source("*.txt"), folder)) == tuple(sorted(folder.iterdir()))
    assert files(location(source("a.txt"), folder)) == (folder / "a.txt",)
    assert files(location(source("b[1].txt"), folder)) == (folder / "b[1].txt",)
    (folder / "b[1].txt").unlink()
    assert files(location(source("b[1].txt"), folder)) == (folder / "b1.txt",)


def test_what_is_remembered_is_not_read_again(folder: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory.json"
    before = digest(folder, "a.txt", memory)
    stat = (folder / "a.txt").stat()
    known = json.loads(memory.read_text())
    known[str(folder / "a.txt")][-1] = "sha256:remembered"
    memory.write_text(json.dumps(known))
    assert digest(folder, "a.txt", memory) == "sha256:remembered"
    (folder / "a.txt").write_text("b")  # as long as before, at the same time
    os.utime(folder / "a.txt", ns=(stat.st_mtime_ns + 1, stat.st_mtime_ns + 1))
    assert digest(folder, "a.txt", memory) not in (before, "sha256:remembered")


def test_a_file_that_was_just_written_is_not_remembered(folder: Path, tmp_path: Path) -> None:
    now = (folder / "a.txt").stat().st_mtime_ns + 1_000_000_000
    digests = DigestCache(tmp_path / "memory.json", now)
    digests.located(source("a.txt"), folder)
    digests.save()
    assert not (tmp_path / "memory.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 5}', '{"x": [1]}', "\x00"])
def test_a_damaged_memory_costs_time_and_not_truth(
    folder: Path, tmp_path: Path, content: str
) -> None:
    memory = tmp_path / "memory.json"
    expected = digest(folder, "a.txt")
    memory.write_text(content)
    assert digest(folder, "a.txt", memory) == expected


def test_marks_tell_of_changes(folder: Path, tmp_path: Path) -> None:
    digests = DigestCache(tmp_path / "memory.json", NOW_NS)
    read = digests.located(source("d"), folder)
    assert marks_now(read) == read.marks != ()
    tree(folder, {"d/3.txt": "3"})
    assert marks_now(read) != read.marks
    gone = digests.located(source("a.txt"), folder)
    (folder / "a.txt").unlink()
    assert marks_now(gone) == ()
    assert marks_now(Located("s3://bucket/a", None)) == ()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a", "s3://bucket/a"),
        ("https://me:secret@host/a", "https://host/a"),
        ("https://host/a?token=secret", "https://host/a"),
        ("https://me:se@cret@host/a?b", "https://host/a"),
    ],
)
def test_secrets_are_left_out_of_urls(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def test_files_behind_a_url_have_a_digest_that_follows_them(folder: Path) -> None:
    url = f"file://{folder}/d"
    before = digest(folder, url)
    assert before is not None
    tree(folder, {"d/9.txt": "9"})
    assert digest(folder, url) != before
    with pytest.raises(StageError, match=r"nothing is at|cannot be read"):
        digest(folder, f"file://me:secret@{folder}/gone")


class Shelf(fsspec.AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """A store like HTTP's: it tells a size, and an ETag only if it has one. Names are the ETags."""

    protocol = "shelf"

    def info(self, path: str, **_: object) -> dict[str, object]:
        name = self._strip_protocol(path)
        tag = {} if name.startswith("bare") else {"ETag": name}
        return {"name": name, "size": 1, "type": "file", **tag}

    def find(self, path: str, **_: object) -> list[str]:
        return [self._strip_protocol(path)]


def test_a_remote_file_without_a_version_has_no_digest(tmp_path: Path) -> None:
    """Its URL alone would keep what was measured of another content."""
    fsspec.register_implementation("shelf", Shelf, clobber=True)
    digests = DigestCache(tmp_path / "memory", NOW_NS)
    bare, one, two = (
        digests.located(DataInput(path=f"shelf://{name}"), tmp_path).digest
        for name in ("bare", "one", "two")
    )
    assert bare is None
    assert one is not None
    assert one != two


def test_a_remote_file_that_changed_has_another_digest(tmp_path: Path) -> None:
    source, digests = DataInput(path="memory://inputs/d.csv"), DigestCache(tmp_path / "m", NOW_NS)
    found = []
    for text in (b"a\n1\n", b"a\n2\n"):
        fsspec.filesystem("memory").pipe("/inputs/d.csv", text)
        found.append(digests.located(source, tmp_path).digest)
    assert None not in found
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("content", "said", "hint"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "Git LFS pointer",
            "git lfs pull --include m.parquet",
        ),
        (b"/annex/objects/SHA256E-s9--00.parquet\n", "git-annex pointer", "git annex get"),
        (b"<!DOCTYPE html>\n<title>Sign in</title>", "is a web page", "download it again"),
        (b"", "is empty", "interrupted"),
    ],
)
def test_what_stands_for_a_file_is_not_taken_for_it(
    folder: Path, content: bytes, said: str, hint: str
) -> None:
    (folder / "m.parquet").write_bytes(content)
    with pytest.raises(StageError, match=said) as caught:
        digest(folder, "m.parquet")
    assert hint in (caught.value.hint or "")


def test_a_file_that_dvc_tracks_is_fetched_by_dvc(folder: Path) -> None:
    tree(folder, {"x.parquet.dvc": "outs: []", "d.dvc": "outs: []"})
    with pytest.raises(StageError, match="does not exist") as caught:
        digest(folder, "x.parquet")
    assert (caught.value.hint or "").startswith("dvc pull ")
    with pytest.raises(StageError) as caught:
        digest(folder, "d/9.parquet")
    assert (caught.value.hint or "").endswith("d.dvc")


def test_a_folder_is_no_model(folder: Path) -> None:
    with pytest.raises(StageError, match="is a folder, and a file is asked for"):
        DigestCache(folder / "memory", NOW_NS).located(ModelInput(path="d"), folder)


def test_a_tilde_is_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert location(source("~/a.txt"), Path("/elsewhere")) == str(folder / "a.txt")


def _model(folder: Path, location: str, seed: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    values = np.random.default_rng(seed).normal(size=4096).astype(np.float32)
    weights = onnx.numpy_helper.from_array(values, "w")
    graph = onnx.helper.make_graph([], "g", [], [], [weights])
    model = onnx.helper.make_model(graph)
    onnx.save(
        model,
        folder / "m.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    del model.graph.initializer[0].external_data[:]
    path = folder / "m.onnx"
    if location != "weights.bin":
        loaded = onnx.load(path, load_external_data=False)
        next(
            entry for entry in loaded.graph.initializer[0].external_data if entry.key == "location"
        ).value = location
        path.write_bytes(loaded.SerializeToString())
    return path


def test_g6_one_rule_says_which_files_a_model_has(tmp_path: Path) -> None:
    one, other = (_model(tmp_path / name, "weights.bin", seed) for seed, name in enumerate("ab"))
    assert one.read_bytes() == other.read_bytes()
    whole = one.stat().st_size + 4096 * 4
    runtime = provider.Runtime("tensorrt", {"trt_engine_cache_path": str(tmp_path / "kept")})
    caches = set()
    for path in (one, other):
        assert files(str(path)) == (path, path.with_name("weights.bin"))
        assert size_on_disk(path) == whole
        assert Target.model_bytes(SimpleNamespace(path=path)) == whole  # type: ignore[arg-type]
        caches.add(str(provider.providers_of(runtime, path)[0]))
    assert len(caches) == 2


@pytest.mark.parametrize("place", ["../weights.bin", "/etc/hostname", "x/../../weights.bin"])
def test_weights_outside_the_models_folder_are_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "weights.bin").write_bytes(b"0" * 16384)
    with pytest.raises(StageError, match="outside its folder"):
        files(str(_model(tmp_path / "m", place)))


def test_weights_that_are_a_link_out_of_the_folder_or_gone_are_refused(tmp_path: Path) -> None:
    path = _model(tmp_path / "m", "weights.bin")
    weights = path.with_name("weights.bin")
    weights.rename(tmp_path / "elsewhere.bin")
    with pytest.raises(StageError, match=r"'weights\.bin', which does not exist"):
        files(str(path))
    weights.symlink_to(tmp_path / "elsewhere.bin")
    with pytest.raises(StageError, match="outside its folder"):
        files(str(path))


def test_a_note_called_location_is_no_file(tmp_path: Path) -> None:
    path = _model(tmp_path / "m", "weights.bin")
    model = onnx.load(path, load_external_data=False)
    model.metadata_props.add(key="location", value="/Berlin")
    path.write_bytes(model.SerializeToString())
    assert len(files(str(path))) == 2


def test_g9_every_extra_that_a_hint_names_exists() -> None:
    root = Path(__file__).parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    known = set(project["optional-dependencies"])
    named = set(EXTRAS.values())
    for path in [*(root / "mlgate").rglob("*.py"), *(root / "docs").rglob("*.md")]:
        named |= set(re.findall(r"mlgate\[([a-z0-9-]+)\]", path.read_text()))
    assert named <= known
    wanted = {
        package
        for extra in known - {"test"}
        for line in project["optional-dependencies"][extra]
        for package in re.findall(r"^[\w-]+", line)
    }
    assert set(EXTRAS) - {"aiohttp"} <= wanted  # aiohttp is what fsspec[http] brings


def test_d31_a_url_names_the_package_that_it_needs() -> None:
    error = missing_for("https://host/x.csv", ImportError("HTTPFileSystem requires more packages"))
    assert error.message == "aiohttp is not installed"
    assert error.hint == "pip install 'mlgate[remote]'"


def test_d1_nothing_is_watched_for_a_database() -> None:
    assert marks_now(Located("", None)) == ()
