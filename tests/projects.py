"""Projects as literals, and the command line as a process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlgate.check import check
from mlgate.evidence import Evidence, Measured, digest_of
from mlgate.run.plan import Node, versions
from mlgate.run.record import Checked
from mlgate.run.report import Report, Result, StageTerms, Terms
from mlgate.run.scheduler import Event
from mlgate.spec.lint import load
from mlgate.stage import Job, Stage

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def tree(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files below a folder; returns the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def stages(**blocks: Any) -> str:
    """A spec with these stages, as text (JSON is YAML)."""
    return json.dumps({"version": 1, "name": "t", "stages": blocks}, indent=1)


def probe(value: float = 1.0, *, limit: float = 1.0, **options: Any) -> dict[str, Any]:
    """A fake stage's block whose one gate is `probe ≤ limit`."""
    gates = [{"metric": "probe", "max": limit}]
    return {"uses": "probe", "value": value, "gates": gates, **options}


@dataclass
class Heard:
    """Remembers what happened in a run."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, stage: str) -> list[str]:
        return [n.what for n in self.events if n.stage == stage]


def run(
    folder: Path, on_event: Callable[[Event], None] = lambda _: None, **options: Any
) -> Checked:
    """Check the spec in a folder, in this process."""
    spec = load(folder / "mlgate.yaml")
    return check(spec, now=lambda: NOW, on_event=on_event, **options)


def mlgate(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 120
) -> "subprocess.CompletedProcess[str]":
    """The command line as a process, in a scrubbed environment."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "JAVA_HOME")}
    return subprocess.run(
        [sys.executable, "-m", "mlgate", *arguments],
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(Path(__file__).parent.parent), **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def reported(
    results: Mapping[str, Result],
    *,
    uses: str | Mapping[str, str] = "validate",
    name: str = "t",
    profile: str | None = None,
    lines: Mapping[str, int] | None = None,
) -> Report:
    """A report of results as they are, whatever judged them."""
    kinds = dict.fromkeys(results, uses) if isinstance(uses, str) else uses
    where = lines or {}
    stages = {stage: StageTerms(kinds[stage], where.get(stage, 3)) for stage in results}
    return Report(Terms(name, "sha256:" + "1" * 64, profile, 0.95, stages), results)


def evidence_of(stage: Stage[Any], job: Job[Any], found: Measured | None = None) -> Evidence:
    """What a stage measures in this process, or has measured, as the spine writes it down."""
    found = found or stage.measure(job)
    node = Node(job.stage, job.options, (), (0.95,), 1, ())
    digests = {}
    for port, source in node.inputs().items():
        located = job.inputs[source]
        path = Path(located.location)
        digest = located.digest or (digest_of(path.read_bytes()) if path.is_file() else None)
        if digest is not None:
            digests[port] = digest
    return Evidence(
        uses=stage.uses,
        inputs=digests,
        tools=versions(stage.packages),
        measurements=found.measurements,
        comparisons=found.comparisons,
        outputs=found.outputs,
        details=found.details,
    )
