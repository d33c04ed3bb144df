"""One project, checked in every way there is: the verdict's bytes, and what each way took."""

import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tests.actions.runner import Runner
from tests.ci.tekton_runner import Cluster
from tests.fakes.fixtures import pipeline, workflow

BEHAVIOURS = {
    "pass": "gates: [{metric: bytes, max: 10}]",
    "warn": "gates: [{metric: bytes, max: 3, severity: warn}]",
    "fail": "gates: [{metric: bytes, max: 3}]",
    "inconclusive": "unsure: true, gates: [{metric: bytes, max: 10}]",
    "unmeasured": "nothing: true, gates: [{metric: bytes, max: 10}]",
    "broken": "breaks: true, gates: [{metric: bytes, max: 10}]",
}


def spec_of(data: str, int8: str, other: str) -> str:
    """A chain of two stages and one that nothing needs, each behaving as it is told to."""
    stages = {
        "data": ("a.bin", data),
        "int8": ("{from: data.copy}", int8),
        "other": ("a.bin", other),
    }
    lines = [
        f"  {name}: {{uses: weigh, file: {file}, {BEHAVIOURS[how]}}}"
        for name, (file, how) in stages.items()
    ]
    return "\n".join(["version: 1", "name: digits", "stages:", *lines, ""])


def verdicts(
    folder: Path, spec: str, mlgate: Path, files: Mapping[str, bytes] = MappingProxyType({})
) -> tuple[dict[str, bytes], dict[str, bool], dict[str, float]]:
    """What each way says of one spec: `verdict.json`, whether it is green, and the seconds it took.

    `files` lie in the project beside `a.bin`. The ways are local, github, and tekton with the API fields of `beta` and of `stable`.
    """
    project = folder / "project"
    project.mkdir(parents=True)
    for path, content in {"a.bin": b"hello", **files}.items():
        (project / path).parent.mkdir(exist_ok=True)
        (project / path).write_bytes(content)
    (project / "mlgate.yaml").write_text(spec)
    said: dict[str, bytes] = {}
    green: dict[str, bool] = {}
    took: dict[str, float] = {}

    started = time.monotonic()
    on_github = Runner(project, folder / "server", mlgate, event="pull_request")
    on_github.workflow(workflow(project))
    took["github"] = time.monotonic() - started
    green["github"] = on_github.result() == "success"
    assert "mlgate-report" in {path.name for path in on_github.artifacts.glob("*")}, {
        name: job.log for name, job in on_github.jobs.items()
    }
    said["github"] = (on_github.artifacts / "mlgate-report" / "verdict.json").read_bytes()

    for api in ("beta", "stable"):
        way = f"tekton {api}"
        source = folder / f"source-{api}"
        shutil.copytree(project, source)
        started = time.monotonic()
        cluster = Cluster.of(pipeline(project, api=api), mlgate, folder / f"pods-{api}")
        green[way] = cluster.run({"event": "pull_request"}, {"source": source}) == "Succeeded"
        took[way] = time.monotonic() - started
        said[way] = (source / ".mlgate" / "latest" / "verdict.json").read_bytes()

    started = time.monotonic()
    done = subprocess.run([mlgate, "check", project], capture_output=True, check=False)
    took["local"] = time.monotonic() - started
    said["local"] = (project / ".mlgate" / "latest" / "verdict.json").read_bytes()
    green["local"] = done.returncode == 0
    return said, green, took
