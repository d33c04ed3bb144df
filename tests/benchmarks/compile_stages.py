"""CPU time to plan and compile many stages for both targets, against PyYAML reading the same spec.

The last line is a digest of everything that was written: the same on every Python and hash seed.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import yaml

from mlgate.ci import github, tekton
from mlgate.ci.jobs import Source
from mlgate.run.plan import resolve
from mlgate.spec.lint import load

T = TypeVar("T")


def spec_of(stages: int) -> str:
    lines = ["version: 1", "name: many", "stages:"]
    for index in range(stages):
        needs = f", needs: [s{index // 2}]" if index else ""
        lines.append(
            f"  s{index}: {{uses: validate, dataset: a.parquet{needs},"
            " gates: [{metric: rows, min: 10}]}"
        )
    return "\n".join(lines) + "\n"


def timed(what: str, do: Callable[[], T]) -> tuple[T, float]:
    best, made = float("inf"), do()
    for _ in range(3):
        started = time.process_time()
        made = do()
        best = min(best, time.process_time() - started)
    print(f"{what:<28}{best * 1000:9.0f} ms CPU")
    return made, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", type=int, default=1000)
    given = parser.parse_args()
    text = spec_of(given.stages)
    source = Source("mlgate.yaml", f"sha256:{'0' * 64}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mlgate.yaml"
        file.write_text(text)
        loaded, reading = timed("load and lint the spec", lambda: load(file))
    plan, planning = timed("plan", lambda: resolve(loaded, include_deploys=True))
    to_github = github.Settings(actions=f"acme/mlgate@{'0' * 40}")
    to_tekton = tekton.Settings(image=f"registry.example.com/mlgate@sha256:{'0' * 64}")
    hub, first = timed("GitHub", lambda: github.compile_plan(plan, source, to_github))
    tek, second = timed("Tekton", lambda: tekton.compile_plan(plan, source, to_tekton))
    _, peer = timed("PyYAML reads the same spec", lambda: yaml.safe_load(text))
    total = planning + first + second
    print(f"plan and both targets: {total:.2f} s CPU, {total / peer:.2f}x of PyYAML's reading it")
    print(f"with loading: {total + reading:.2f} s CPU, {(total + reading) / peer:.2f}x")
    written = json.dumps([hub, tek], sort_keys=True).encode()
    print(f"workflow {len(hub[github.WORKFLOW]):,} bytes, pipeline {len(tek[tekton.PIPELINE]):,}")
    print(f"sha256 of all files: {hashlib.sha256(written).hexdigest()}")


if __name__ == "__main__":
    main()
