"""The store: whole or not there, verified when read, healed when damaged."""

import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.errors import StoreError
from mlgate.evidence import Evidence, artifact, digest_of, measured
from mlgate.files import write_atomic
from mlgate.run.store import Store

KEY = "sha256:" + "0" * 64


def evidence(value: float = 1.0) -> Evidence:
    return Evidence(uses="t", inputs={}, measurements=(measured("m", value),))


@given(st.binary(max_size=100))
def test_what_is_put_is_got(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    digest = store.put(data)
    assert digest == digest_of(data)
    assert store.get(digest) == data


def test_what_was_altered_cut_or_lost_is_never_given(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.put(b"evidence")
    for damage in (b"forged!!", b"evid", b""):
        store.path(digest).write_bytes(damage)
        with pytest.raises(StoreError, match="was altered") as caught:
            store.get(digest)
        assert caught.value.hint is not None
    store.path(digest).unlink()
    with pytest.raises(StoreError, match="is not in the store"):
        store.get(digest)


def test_a_damaged_blob_heals_when_it_is_put_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.put(b"evidence")
    store.path(digest).write_bytes(b"forged!!")
    assert store.put(b"evidence") == digest
    assert store.get(digest) == b"evidence"


def test_what_is_no_evidence_is_said_to_be_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for data in (b"{}", b"[]", b"\xff", b'{"uses": "t", "inputs": {}, "more": 1}'):
        with pytest.raises(StoreError, match="is no evidence that this version reads"):
            store.evidence(store.put(data))


def test_a_key_leads_to_evidence_or_to_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.recall(KEY) is None
    digest = store.put(evidence().canonical())
    store.remember("a", KEY, {"options": {}}, digest)
    assert store.recall(KEY) == (digest, evidence())
    assert store.last_parts("a") == {"options": {}}
    entry = next((tmp_path / "cache").glob("*.json"))
    for damage in ("", "{", "[]", '"x"', '{"evidence": 5}', '{"evidence": "sha256:00"}'):
        entry.write_text(damage)
        assert store.recall(KEY) is None
    store.path(digest).unlink()
    assert store.recall(KEY) is None


@pytest.mark.parametrize("damage", ["", "{", "[]", "5"])
def test_damaged_parts_are_no_parts(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    (tmp_path / "cache" / "stages").mkdir(parents=True)
    (tmp_path / "cache" / "stages" / "a.json").write_text(damage)
    assert store.last_parts("a") is None


def test_evidence_whose_files_are_gone_is_not_recalled(tmp_path: Path) -> None:
    store = Store(tmp_path / "root")
    made = tmp_path / "made.bin"
    made.write_bytes(b"model")
    named = artifact(made)
    inode = made.stat().st_ino
    store.adopt(made, named)
    assert store.path(named.digest).stat().st_ino == inode  # moved, not copied
    assert not os.access(made, os.F_OK)
    assert store.verify(named)
    full = evidence().model_copy(update={"outputs": {"model": named}})
    digest = store.put(full.canonical())
    store.remember("a", KEY, {}, digest)
    assert store.recall(KEY) is not None
    store.path(named.digest).chmod(0o644)
    store.path(named.digest).write_bytes(b"mode")
    assert not store.verify(named)
    assert store.recall(KEY) is None


def test_a_file_that_is_not_what_was_named_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "root")
    made = tmp_path / "made.bin"
    made.write_bytes(b"model")
    named = artifact(made)
    made.write_bytes(b"models")
    with pytest.raises(StoreError, match="is not the file that the stage described"):
        store.adopt(made, named)
    made.unlink()
    with pytest.raises(StoreError, match="did not make it"):
        store.adopt(made, named)


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "f"
    write_atomic(target, b"old")
    target_folder = tmp_path / "folder"
    target_folder.mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        write_atomic(target_folder, b"new")
    with pytest.raises(StoreError, match="cannot be written"):
        write_atomic(target / "below", b"new")
    assert target.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "folder"]


def test_a_full_disk_has_a_hint(tmp_path: Path) -> None:
    import errno

    from mlgate.files import cannot_write

    error = cannot_write(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert "free some space" in (error.hint or "")
    denied = cannot_write(tmp_path, OSError(errno.EACCES, "Permission denied"))
    assert "writable" in (denied.hint or "")


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "f"
    contents = [bytes([65 + i]) * 10_000 for i in range(8)]
    threads = [threading.Thread(target=write_atomic, args=(target, c)) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() in contents
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_evidence_is_the_same_bytes_whatever_its_order(tmp_path: Path) -> None:
    one = Evidence(uses="t", inputs={"a": KEY, "b": KEY}, tools={"x": "1", "y": "2"})
    two = Evidence(uses="t", inputs={"b": KEY, "a": KEY}, tools={"y": "2", "x": "1"})
    assert one.canonical() == two.canonical()
    assert json.loads(one.canonical())["inputs"] == {"a": KEY, "b": KEY}
