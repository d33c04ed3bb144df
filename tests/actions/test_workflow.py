"""The compiled workflow, really run: the local verdict, and no way to lose one."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.actions.runner import Runner
from tests.fakes.fixtures import SMALL, workflow

Make = Callable[..., Runner]
CHECKED = ["data", "other", "int8", "latency", "release"]  # in the plan's order


def _verdict(runner: Runner) -> dict[str, Any]:
    found = runner.artifacts / "mlgate-report" / "verdict.json"
    document: dict[str, Any] = json.loads(found.read_bytes())
    return document


def _outcomes(runner: Runner) -> dict[str, str]:
    return {row["id"]: row["outcome"] for row in _verdict(runner)["stages"]}


def test_the_verdict_is_the_local_one_to_the_byte(
    runner: Make, project: Path, mlgate: Path
) -> None:
    run = runner()
    run.workflow(workflow(project))
    assert run.result() == "success", {n: j.log for n, j in run.jobs.items()}
    assert run.started == ["mlgate-plan", *CHECKED, "mlgate-verdict", "rollout"]
    subprocess.run([mlgate, "check", project], capture_output=True, check=True)
    local = (project / ".mlgate" / "latest" / "verdict.json").read_bytes()
    there = run.artifacts / "mlgate-report" / "verdict.json"
    assert there.read_bytes() == local
    assert "## ✓ digits: PASS" in run.jobs["mlgate-verdict"].summary
    assert "::notice title=mlgate::PASS" in run.jobs["mlgate-verdict"].log


@pytest.mark.slow
@pytest.mark.parametrize("where", [f"acme/mlgate@{'0' * 40}", "$"])
def test_an_enterprise_server_reaches_the_same_verdict(
    runner: Make, project: Path, mlgate: Path, where: str
) -> None:
    _write(project, SMALL)
    first = runner(enterprise=True)
    text = workflow(project, ghes=True, actions=where)
    first.workflow(text)
    assert first.result() == "success", {n: j.log for n, j in first.jobs.items()}
    subprocess.run([mlgate, "check", project], capture_output=True, check=True)
    local = (project / ".mlgate" / "latest" / "verdict.json").read_bytes()
    assert (first.artifacts / "mlgate-report" / "verdict.json").read_bytes() == local
    lost = runner(enterprise=True, run_id="2", lose=("mlgate-cached",))
    lost.workflow(text)
    assert lost.jobs["mlgate-verdict"].result == "failure"


@pytest.mark.slow
def test_what_is_known_starts_no_runner(runner: Make, project: Path, tmp_path: Path) -> None:
    first = runner()
    first.workflow(workflow(project))
    (tmp_path / "ran").unlink()
    again = runner(run_id="2")
    again.workflow(workflow(project))
    assert again.started == ["mlgate-plan", "mlgate-verdict", "rollout"]
    assert again.result() == "success"
    spec = (project / "mlgate.yaml").read_text()
    (project / "mlgate.yaml").write_text(spec.replace("file: {from: int8.copy}", "file: a.bin"))
    changed = runner(run_id="3")
    changed.workflow(workflow(project))
    assert changed.started == ["mlgate-plan", "latency", "release", "mlgate-verdict", "rollout"]
    assert changed.result() == "success"


def test_a_pull_request_gets_no_identity(runner: Make, project: Path) -> None:
    run = runner(event="pull_request")
    run.workflow(workflow(project))
    assert run.result() == "success"
    assert [name for name, job in run.jobs.items() if job.result == "skipped"] == [
        "release",
        "rollout",
    ]
    assert list(_outcomes(run)) == CHECKED[:-1]


def _write(project: Path, spec: str) -> None:
    (project / "mlgate.yaml").write_text(spec.replace("RAN", str(project.parent / "ran")))


def _replace(before: str, after: str) -> Callable[[Path], None]:
    def edit(project: Path) -> None:
        spec = (project / "mlgate.yaml").read_text()
        assert before in spec
        (project / "mlgate.yaml").write_text(spec.replace(before, after, 1))

    return edit


def _nothing(project: Path) -> None:
    pass


def _alter(job: str, artifacts: Path) -> None:
    """Evidence that says something else when it arrives."""
    for file in artifacts.glob("mlgate-stage-other/store/sha256/*"):
        if job == "other" and b"weigh" in file.read_bytes():
            file.chmod(0o644)
            file.write_bytes(file.read_bytes().replace(b'"value":5', b'"value":1'))


def _exchange(job: str, artifacts: Path) -> None:
    """A file that a stage made, replaced on its way by one of the same size."""
    for file in artifacts.glob("mlgate-stage-data/store/sha256/*"):
        if job == "data" and file.read_bytes() == b"hello!":
            file.chmod(0o644)
            file.write_bytes(b"HELLO!")


def _result(job: str, before: str, after: str) -> Callable[[str, Path], None]:
    def edit(name: str, artifacts: Path) -> None:
        file = artifacts / f"mlgate-stage-{job}" / "results" / f"{job}.json"
        if name == job:
            text = file.read_text()
            assert before in text
            file.write_text(text.replace(before, after))

    return edit


_BASELINE = "metric: bytes, compared_to: baseline, max_increase: 5%"


@pytest.mark.parametrize(
    ("edit", "how", "outcome"),
    [
        (_replace("max: 10", "max: 4"), {}, "fail"),
        (_replace("ran:", "breaks: true, ran:"), {}, "error"),
        (_replace("ran:", "nothing: true, ran:"), {}, "error"),
        (_replace("ran:", "unsure: true, ran:"), {}, "inconclusive"),
        (_replace("a.bin", "gone.bin"), {}, "error"),
        (_replace("metric: bytes, max: 10", _BASELINE), {}, "error"),
        (_nothing, {"cancel": frozenset({"data"})}, "error"),
        (_nothing, {"cancel": frozenset({"other"})}, "error"),
        (_nothing, {"cancel": frozenset({"mlgate-plan"})}, "error"),
        (_nothing, {"lose": ("mlgate-stage-data",)}, "error"),
        (_nothing, {"lose": ("mlgate-stage-other",)}, "error"),
        (_nothing, {"lose": ("*",)}, "error"),
        (_nothing, {"spoil": _alter}, "error"),
        (_nothing, {"spoil": _exchange}, "error"),
        (_nothing, {"spoil": _result("other", '"run":"1"', '"run":"0"')}, "error"),
        (_nothing, {"spoil": _result("other", '"spec":"sha256:', '"spec":"sha256:0')}, "error"),
        (_nothing, {"spoil": _result("other", '"stage":"other"', '"stage":"data"')}, "error"),
        (_nothing, {"spoil": _result("other", "{", "")}, "error"),
    ],
    ids=[
        "gate fails", "stage breaks", "not measured", "inconclusive", "no input", "no baseline",
        "job cancelled", "unneeded job cancelled", "plan cancelled", "artifact lost",
        "unneeded artifact lost", "all artifacts lost", "evidence altered", "made file altered",
        "result of another run", "result of another spec", "result of another stage",
        "result cut short",
    ],
)  # fmt: skip
@pytest.mark.slow
def test_no_verdict_gets_lost(
    runner: Make,
    project: Path,
    edit: Callable[[Path], None],
    how: dict[str, Any],
    outcome: str,
) -> None:
    _write(project, SMALL)
    edit(project)
    run = runner(**how)
    run.workflow(workflow(project))
    verdict = run.jobs["mlgate-verdict"]
    assert verdict.result == "failure"
    assert run.jobs["rollout"].result == "skipped"
    assert f"::notice title=mlgate::{outcome.upper()}: digits" in verdict.log
    if how.get("lose") != ("*",):
        assert list(_outcomes(run)) == CHECKED[:3]


@pytest.mark.slow
def test_what_was_known_and_gets_lost(runner: Make, project: Path) -> None:
    """The plan says that nothing has to run, and what it found does not arrive."""
    _write(project, SMALL)
    assert runner().workflow(workflow(project))["mlgate-verdict"].result == "success"
    run = runner(run_id="2", lose=("mlgate-cached",))
    run.workflow(workflow(project))
    assert run.started == ["mlgate-plan", "mlgate-verdict"]
    assert run.jobs["mlgate-verdict"].result == "failure"
    assert set(_outcomes(run).values()) == {"error"}


@pytest.mark.slow
def test_the_verdict_job_itself_lost(runner: Make, project: Path) -> None:
    _write(project, SMALL)
    run = runner(cancel=frozenset({"mlgate-verdict"}))
    run.workflow(workflow(project))
    assert run.result() == "failure"
    assert run.jobs["rollout"].result == "skipped"


@pytest.mark.slow
def test_a_stage_skipped_by_hand(runner: Make, project: Path) -> None:
    _write(project, SMALL)
    text = workflow(project)
    edited = text.replace(
        "contains(fromJSON(needs.mlgate-plan.outputs.stages || '[]'), 'other')", "false"
    )
    assert edited != text
    run = runner()
    run.workflow(edited)
    assert run.jobs["other"].result == "skipped"
    assert run.jobs["mlgate-verdict"].result == "failure"
    assert _outcomes(run)["other"] == "error"


@pytest.mark.slow
@pytest.mark.parametrize("stale", ["max: 9", "severity: fail"])
def test_a_stale_workflow_runs_nothing(
    runner: Make, project: Path, tmp_path: Path, stale: str
) -> None:
    _write(project, SMALL)
    text = workflow(project)
    _replace("max: 10" if "max" in stale else "severity: warn", stale)(project)
    run = runner()
    run.workflow(text)
    assert run.result() == "failure"
    assert not (tmp_path / "ran").exists()
    log = run.jobs["mlgate-verdict"].log
    assert "out of date" in log
    assert "run mlgate compile again" in log
    assert "2" in [step.outcome for step in run.jobs["mlgate-verdict"].steps]


def test_parameters_reach_every_job_without_making_the_file_stale(
    runner: Make, project: Path
) -> None:
    spec = SMALL.replace("digits\n", "digits\nparams: {limit: {type: integer, default: 10}}\n")
    _write(project, spec.replace("max: 10", 'max: "${params.limit}"'))
    run = runner()
    run.workflow(workflow(project, params={"limit": "4"}))
    assert _outcomes(run)["data"] == "fail"
