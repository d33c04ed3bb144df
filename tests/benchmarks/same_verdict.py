"""How often a check, the GitHub workflow and the Tekton pipeline give one verdict, to the byte."""

import argparse
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.actions.runner import ROOT, Runner
from tests.fakes.fixtures import SMALL, pipeline, workflow
from tests.fakes.stages import registered
from tests.targets.tekton_runner import Cluster


def once(folder: Path, size: int) -> tuple[set[bytes], dict[str, float]]:
    """One project of its own; the verdicts' bytes, and the seconds that each way took."""
    project = folder / "project"
    project.mkdir(parents=True)
    (project / "a.bin").write_bytes(b"x" * size)
    (project / "mlgate.yaml").write_text(SMALL.replace("ran: RAN, ", ""))
    command = folder / "mlgate"
    path = shlex.quote(f"{ROOT / 'tests' / 'fakes'}:{ROOT}")
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH={path} exec {shlex.quote(sys.executable)} -m mlgate "$@"\n'
    )
    command.chmod(0o755)
    seconds = {}

    on_github = Runner(project, folder / "server", command, event="pull_request")
    started = time.monotonic()
    on_github.workflow(workflow(project))
    seconds["github"] = time.monotonic() - started
    there = (on_github.artifacts / "mlgate-report" / "verdict.json").read_bytes()

    started = time.monotonic()
    cluster = Cluster.of(pipeline(project), command, folder / "pods")
    shutil.copytree(project, folder / "source")
    cluster.run({"event": "pull_request"}, {"source": folder / "source"})
    seconds["tekton"] = time.monotonic() - started
    tekton = (folder / "source" / ".mlgate" / "latest" / "verdict.json").read_bytes()

    started = time.monotonic()
    subprocess.run([command, "check", project], capture_output=True, check=False)
    seconds["local"] = time.monotonic() - started
    local = (project / ".mlgate" / "latest" / "verdict.json").read_bytes()
    return {there, tekton, local}, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    given = parser.parse_args()
    registration = registered()
    next(registration)
    equal = 0
    total = dict.fromkeys(("github", "tekton", "local"), 0.0)
    for run in range(given.runs):
        with tempfile.TemporaryDirectory() as folder:
            # Sizes on both sides of the gates' limit: verdicts that pass, warn and fail.
            verdicts, seconds = once(Path(folder) / "run", size=6 + run % 6)
        equal += len(verdicts) == 1
        for way, took in seconds.items():
            total[way] += took
    print(f"one verdict on three ways: {equal} of {given.runs}")
    for way, took in total.items():
        print(f"{way:<8}{took / given.runs:6.2f} s per run, {took / total['local']:.2f}x of local")


if __name__ == "__main__":
    main()
