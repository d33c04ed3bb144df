"""No door stands open: what was not checked is never green."""

from pathlib import Path

import pytest

from tests.benchmarks.silent_passes import CASES, Case, project, through_cli, verdict
from tests.projects import probe, run, stages, tree


def test_the_healthy_project_passes(tmp_path: Path) -> None:
    outcome, said = verdict(project(tmp_path, None))
    assert outcome == "pass", said


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_must_not_pass(tmp_path: Path, case: Case) -> None:
    outcome, said = verdict(project(tmp_path, case))
    assert outcome not in ("pass", "warn")
    assert case.says in said
    assert "Traceback" not in said


def test_there_are_more_than_twenty_and_each_is_another() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a column of nulls", "no rows", "a reference without rows"])
def test_the_command_line_says_the_same(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    case = next(case for case in CASES if case.name == name)
    file = project(tmp_path, case)
    outcome, _ = verdict(file)
    found, said = through_cli(file)
    assert found == outcome
    assert case.says in said


# What no data can show: stages before and around.


@pytest.mark.usefixtures("fake_stages")
@pytest.mark.parametrize(
    "first",
    [
        probe(2.0),
        probe(act="nothing"),
        probe(act="raise"),
        probe(act="kill"),
        probe(act="exit"),
        probe(act="bug"),
        probe(file="gone"),
    ],
    ids=["failed", "unmeasured", "raised", "killed", "ended", "crashed", "without its input"],
)
def test_what_comes_after_a_stage_that_did_not_pass_is_not_green(
    tmp_path: Path, first: dict[str, object]
) -> None:
    text = stages(a=first, b=probe(needs=["a"]))
    report = run(tree(tmp_path, {"mlgate.yaml": text})).report
    assert report.exit_code in (1, 3)
    assert report.results["b"].outcome == report.results["a"].outcome
    assert report.exit_code == run(tmp_path).report.exit_code
