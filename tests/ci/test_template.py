"""The template, compiled for both targets and really executed, stage by stage: one verdict."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.actions.runner import ROOT, Runner
from tests.ci.tekton_checks import problems
from tests.ci.tekton_runner import Cluster
from tests.fakes.fixtures import pipeline, workflow

# What measures time measures something else each time; its evidence is not in question here.
TIMED = "latency"


@pytest.mark.slow
def test_one_verdict_on_three_ways(tmp_path: Path, mlgate: Path) -> None:
    project = tmp_path / "digits"
    template = ROOT / "templates" / "digits"
    shutil.copytree(template, project, ignore=shutil.ignore_patterns(".mlgate"))
    spec = (project / "mlgate.yaml").read_text()
    untimed = spec[: spec.index(f"\n  {TIMED}:")] + "\n"
    # Whoever asks for a gate on latency asks for that stage.
    untimed = untimed.replace("policies: [baseline, production]", "policies: [baseline]")
    (project / "mlgate.yaml").write_text(untimed)

    done = subprocess.run([mlgate, "check", project], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    local = (project / ".mlgate" / "latest" / "verdict.json").read_bytes()

    on_github = Runner(project, tmp_path / "server", mlgate, event="pull_request")
    on_github.workflow(workflow(project))
    assert on_github.result() == "success", {n: j.log for n, j in on_github.jobs.items()}
    assert (on_github.artifacts / "mlgate-report" / "verdict.json").read_bytes() == local

    files = pipeline(project)
    assert problems(*files.values()) == []
    source = tmp_path / "source"
    shutil.copytree(project, source, ignore=shutil.ignore_patterns(".mlgate"))
    on_tekton = Cluster.of(files, mlgate, tmp_path / "pods")
    status = on_tekton.run({"event": "pull_request"}, {"source": source})
    assert status == "Succeeded", {n: t.log for n, t in on_tekton.runs.items()}
    assert (source / ".mlgate" / "latest" / "verdict.json").read_bytes() == local
