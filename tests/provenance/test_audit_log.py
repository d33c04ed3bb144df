import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.provenance import merkle
from mlgate.provenance.audit_log import AuditLog
from mlgate.provenance.reasons import Refused

_NOW = datetime(2026, 11, 28, tzinfo=UTC)


@given(st.integers(1, 70), st.data())
def test_proofs_hold_for_every_tree_and_no_other(size: int, data: st.DataObject) -> None:
    leaves = [merkle.leaf(bytes([n])) for n in range(size)]
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion(index, leaves)
    root = merkle.root(leaves)
    assert merkle.included(index, size, leaves[index], proof) == root
    assert merkle.included(index, size, merkle.leaf(b"other"), proof) != root
    earlier = data.draw(st.integers(1, size))
    old = merkle.root(leaves[:earlier])
    steps = merkle.consistency(earlier, leaves)
    assert merkle.consistent((earlier, size), (old, root), steps)
    assert not merkle.consistent((earlier, size), (merkle.leaf(b"other"), root), steps)


def _made(folder: Path, count: int = 6) -> AuditLog:
    log = AuditLog(folder)
    for number in range(count):
        log.decide({"outcome": "pass", "number": number}, _NOW)
    return log


def test_a_log_that_was_not_touched(tmp_path: Path) -> None:
    log = _made(tmp_path)
    seen = (tmp_path / "checkpoint").read_text()
    log.decide({"outcome": "fail", "forced": True, "by": "ann", "reason": "hotfix"}, _NOW)
    assert log.verify(seen=seen).size == 7
    assert [row["decision"].get("by") for row in log.decisions()] == [None] * 6 + ["ann"]


@pytest.mark.parametrize("how", ["edit", "remove", "reorder", "insert"])
def test_a_log_that_was_rewritten(how: str, tmp_path: Path) -> None:
    log = _made(tmp_path)
    path = tmp_path / "entries.jsonl"
    lines = path.read_text().splitlines()
    if how == "edit":
        lines[2] = lines[2].replace("pass", "fail")
    elif how == "remove":
        del lines[2]
    elif how == "reorder":
        lines[2], lines[3] = lines[3], lines[2]
    else:
        lines.insert(2, json.dumps({}))
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(Refused) as refused:
        log.verify()
    assert refused.value.reason == ("log-truncated" if how == "remove" else "log-edited")
    with pytest.raises(Refused):
        log.decide({}, _NOW)


def test_a_log_that_was_cut_short_with_its_checkpoint(tmp_path: Path) -> None:
    log = _made(tmp_path)
    earlier = (tmp_path / "checkpoint").read_text(), (tmp_path / "entries.jsonl").read_bytes()
    log.decide({}, _NOW)
    seen = (tmp_path / "checkpoint").read_text()
    (tmp_path / "checkpoint").write_text(earlier[0])
    (tmp_path / "entries.jsonl").write_bytes(earlier[1])
    log.verify()  # nothing is wrong with it in itself
    with pytest.raises(Refused) as refused:
        log.verify(seen=seen)
    assert refused.value.reason == "log-rewound"


def test_a_log_with_another_history(tmp_path: Path) -> None:
    log = _made(tmp_path)
    seen = (tmp_path / "checkpoint").read_text()
    (tmp_path / "checkpoint").unlink()
    (tmp_path / "entries.jsonl").unlink()
    for number in random.Random(1).sample(range(100), 8):
        log.decide({"number": number}, _NOW)
    with pytest.raises(Refused) as refused:
        log.verify(seen=seen)
    assert refused.value.reason == "log-history"


def test_a_checkpoint_by_another_key(tmp_path: Path) -> None:
    log = _made(tmp_path / "one")
    other = _made(tmp_path / "other")
    with pytest.raises(Refused) as refused:
        log.verify(log=other.key())
    assert refused.value.reason == "log-checkpoint"
