"""Laptop, GitHub and Tekton: one verdict, to the byte, whatever it is."""

import json
from pathlib import Path

import pytest

from tests.targets.ways import spec_of, verdicts


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
