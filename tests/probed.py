"""The command line with the fake stages, as a process: `python -m tests.probed ARGUMENTS`.

Its workers are this file too: `python tests/probed.py …/order.json`.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Literal, cast

from mlgate.evidence import Evidence, measured
from mlgate.run import worker
from mlgate.run.scheduler import Execution
from mlgate.stage import Job, Metric, Options, Stage
from mlgate.stages import STAGES
from tests import probes

ROOT = Path(__file__).parent.parent


class Spread(Options):
    """Measures an interval, so that a gate can be inconclusive."""

    uses: Literal["spread"] = "spread"
    low: float = 0.0
    high: float = 1.0
    label: str = "x"


def _measure(job: Job[Spread]) -> Evidence:
    low, high = job.options.low, job.options.high
    bounds = [(level, low, high) for level in job.confidences]
    labels = {"name": job.options.label}
    row = measured("spread", (low + high) / 2, labels=labels, bounds=bounds, n=100)
    return Evidence(uses="spread", inputs={}, measurements=(row,))


SPREAD = Stage(
    uses="spread",
    summary="a fake with an interval",
    options=Spread,
    measure=_measure,
    metrics=(Metric("spread", "what it was told", "1", ("name",)),),
    judged=(),
)


def install() -> None:
    """Make all fakes known beside the real stages, here and in workers."""
    probes.install()
    cast(dict[str, Stage[Any]], STAGES)["spread"] = SPREAD
    Execution.worker = (sys.executable, str(Path(__file__)))


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a process of ours sees: little, so that no test depends on whose machine it is."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    return {**kept, "PYTHONPATH": str(ROOT), **(env or {})}


def started(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, stdout: int | IO[Any] = -1
) -> "subprocess.Popen[str]":
    """The command line as a process that runs."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.probed", *arguments],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def mlgate(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """The command line as a process that has ended; it never shows a traceback."""
    process = started(*arguments, cwd=cwd, env=env)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert "Traceback (most recent call last)" not in out + err, err
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


if __name__ == "__main__":
    install()
    if sys.argv[1:] and sys.argv[1].endswith("order.json"):
        worker.main(Path(sys.argv[1]).resolve())
    else:
        from mlgate.cli import main

        main()
