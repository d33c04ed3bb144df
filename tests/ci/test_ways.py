"""Laptop, GitHub and Tekton: one verdict, to the byte, whatever it is."""

import json
from pathlib import Path

import pytest

from tests.ci.ways import spec_of, verdicts
from tests.fakes.hostile import HOSTILE


@pytest.mark.parametrize(
    ("data", "int8", "other", "outcome"),
    [
        ("fail", "pass", "pass", "fail"),
        ("broken", "fail", "warn", "error"),
        ("pass", "inconclusive", "fail", "fail"),
        ("pass", "broken", "inconclusive", "error"),
        ("unmeasured", "pass", "pass", "error"),
        ("warn", "pass", "warn", "warn"),
        ("pass", "pass", "pass", "pass"),
    ],
)
def test_every_way_gives_one_verdict(
    tmp_path: Path, forked: Path, data: str, int8: str, other: str, outcome: str
) -> None:
    said, green, _ = verdicts(tmp_path / "run", spec_of(data, int8, other), forked)
    assert len(said) == 4
    assert set(said.values()) == {said["local"]}
    assert set(green.values()) == {outcome in ("pass", "warn")}
    verdict = json.loads(said["local"])
    assert verdict["outcome"] == outcome
    independent = next(stage for stage in verdict["stages"] if stage["id"] == "other")
    assert independent["outcome"] == other  # it ran, whatever became of the chain


# What a folder takes for a name, and mlgate for no parameter of the spec.
_NAMES = [text for text in HOSTILE if "/" not in text and len(text) < 250 and "${" not in text]


@pytest.mark.slow
def test_hostile_file_names_are_names_on_every_way(tmp_path: Path, forked: Path) -> None:
    lines = ["version: 1", "name: digits", "stages:"]
    for index, name in enumerate(_NAMES):
        file = json.dumps(f"data/{name}", ensure_ascii=False)
        lines.append(
            f"  s{index}: {{uses: weigh, file: {file}, gates: [{{metric: bytes, max: 9}}]}}"
        )
    files = {f"data/{name}": b"hello" for name in _NAMES}
    said, green, _ = verdicts(tmp_path / "run", "\n".join(lines) + "\n", forked, files)
    assert set(said.values()) == {said["local"]}
    stages = json.loads(said["local"])["stages"]
    assert len(stages) == len(_NAMES) > 30
    assert {_NAMES[int(row["id"][1:])]: row["outcome"] for row in stages} == dict.fromkeys(
        _NAMES, "pass"
    )
    assert set(green.values()) == {True}
    assert not list(tmp_path.rglob("pwned"))
