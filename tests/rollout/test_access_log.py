"""The log and the labels: what is counted, with which share, and what a crash leaves."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlgate.rollout.batch import Batch
from mlgate.rollout.sources.access_log import AccessLog, AccessLogOptions
from mlgate.rollout.trigger import Trigger

ARMS = {"stable": "b_stable/s", "canary": "b_canary/c"}
EMPTY = Batch(seconds=1, asked=0.1)
P99 = Trigger(metric="latency_ms.p99", compared_to="stable", max_increase="20%")


def write(path: Path, *rows: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def row(arm: str, number: int, **more: Any) -> dict[str, Any]:
    server = {"b_stable": "s", "b_canary": "c"}.get(arm, "x")
    common = {"arm": arm, "server": server, "status": 200, "ms": 10, "retries": "0"}
    return {**common, "id": f"{arm}-{number}", "user": f"u{number}", **more}


def source(folder: Path, *, sticky: bool = False) -> AccessLog:
    options = AccessLogOptions(
        kind="access-log", path="log.jsonl", labels="labels.jsonl", sticky=sticky
    )
    return AccessLog(options, folder, ARMS, (P99,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "log.jsonl").touch()
    (tmp_path / "labels.jsonl").touch()
    return tmp_path


def test_what_a_line_says_is_counted_by_arm(folder: Path) -> None:
    log = source(folder)
    write(folder / "log.jsonl", row("b_stable", 1), row("b_canary", 1, status=503))
    write(folder / "log.jsonl", row("b_canary", 2, retries="+1"), row("b_canary", 3, ms=90))
    write(folder / "log.jsonl", row("b_canary", 4, server="s"), row("elsewhere", 1))
    write(folder / "log.jsonl", row("b_canary", 5, status=-1))
    write(folder / "log.jsonl", row("b_canary", 6, **{"class": "cat", "confidence": "0.97"}))
    batch, _ = log.read(EMPTY, {"p99": 80.0})
    assert (batch.canary.units, batch.stable.units) == (5, 1)
    assert batch.canary.events == {
        "error": 3,
        "slow:p99:1": 1,
        "class:cat": 1,
        "confidence:9": 1,
    }


def test_labels_count_with_the_share_of_their_request(folder: Path) -> None:
    log = source(folder)
    write(folder / "log.jsonl", row("b_canary", 1), *(row("b_stable", i) for i in range(3)))
    log.read(EMPTY, {})
    write(folder / "log.jsonl", row("b_canary", 2), row("b_stable", 9))
    write(folder / "labels.jsonl", {"request_id": "b_canary-1", "right": False})
    write(folder / "labels.jsonl", {"request_id": "b_stable-1", "right": True, "events": ["sold"]})
    write(folder / "labels.jsonl", {"request_id": "nobody", "right": True})
    write(folder / "labels.jsonl", {"request_id": "b_canary-1", "right": False})  # told twice
    batch, _ = log.read(EMPTY, {})
    (labelled,) = batch.labels
    assert labelled.share == 0.25
    assert (labelled.canary.units, labelled.canary.of("wrong")) == (1, 1)
    assert labelled.stable.events == {"sold": 1}
    assert batch.gauges == {"labels.unknown": 2.0}


def test_after_a_crash_labels_still_find_their_request(folder: Path) -> None:
    log = source(folder)
    batches, offsets = [], []
    for number in range(3):
        write(folder / "log.jsonl", row("b_canary", number), row("b_stable", number))
        batch, offset = log.read(EMPTY, {})
        batches.append(batch)
        offsets.append(offset)
    write(folder / "log.jsonl", row("b_canary", 7), row("b_stable", 7))  # nobody reads this
    write(folder / "labels.jsonl", {"request_id": "b_canary-0", "right": False})
    again = source(folder)
    again.resume(offsets, batches, {})
    batch, _ = again.read(EMPTY, {})
    assert (batch.canary.units, batch.stable.units) == (1, 1)
    (labelled,) = batch.labels
    assert labelled.canary.of("wrong") == 1
    assert labelled.share == 0.5


def test_of_a_sticky_user_only_the_first_bad_event_counts(folder: Path) -> None:
    log = source(folder, sticky=True)
    for _ in range(3):
        write(folder / "log.jsonl", row("b_canary", 1, status=500), row("b_stable", 2))
    batch, _ = log.read(EMPTY, {})
    assert batch.canary.units == 1
    assert batch.canary.of("error") == 1


def test_a_log_that_is_gone_or_garbled_is_no_data(folder: Path) -> None:
    log = source(folder)
    with (folder / "log.jsonl").open("a") as file:
        file.write("not json\n")
    assert log.read(EMPTY, {})[0].down == {"log": "1 lines are not JSON"}
    (folder / "log.jsonl").unlink()
    assert "No such file" in log.read(EMPTY, {})[0].down["log"]


def test_a_rotated_log_is_read_from_its_start_and_half_a_line_later(folder: Path) -> None:
    log = source(folder)
    write(folder / "log.jsonl", row("b_stable", 1))
    log.read(EMPTY, {})
    (folder / "log.jsonl").rename(folder / "log.jsonl.1")
    text = json.dumps(row("b_stable", 2))
    (folder / "log.jsonl").write_text(text[:20])
    assert log.read(EMPTY, {})[0].stable.units == 0
    (folder / "log.jsonl").write_text(text + "\n")
    assert log.read(EMPTY, {})[0].stable.units == 1


def test_thresholds_are_known_once_there_is_enough_of_stable(folder: Path) -> None:
    write(folder / "log.jsonl", *(row("b_stable", i, ms=i) for i in range(100)))
    assert source(folder).thresholds() is None
    write(folder / "log.jsonl", *(row("b_stable", i, ms=i) for i in range(100, 201)))
    found = source(folder).thresholds()
    assert found is not None
    assert found["p50"] == 100
