"""A stage that does as it is told, for tests of everything around stages.

It is a real `Stage`: its options are validated, its measuring runs in a real worker process. Run as
a program, this file is a worker that knows it: `python tests/probes.py ORDER`.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field

from mlgate.errors import StageError
from mlgate.evidence import Evidence, artifact, measured, unmeasured
from mlgate.run import worker
from mlgate.stage import (
    EnvironmentName,
    FileInput,
    Job,
    Metric,
    ModelInput,
    Options,
    Progress,
    Stage,
)
from mlgate.stages import STAGES


class Probe(Options):
    """Measures `value`, after doing what `act` says."""

    uses: Literal["probe"] = "probe"
    value: float = 1.0
    act: Literal[
        "measure",
        "raise",
        "abort",
        "kill",
        "sleep",
        "memory",
        "bug",
        "exit",
        "touch",
        "lie",
        "blab",
        "nothing",
        "unsure",
    ] = "measure"
    sleep_s: float = 0.0
    file: FileInput | None = None
    model: ModelInput | None = None
    makes: str | None = Field(None, description="Content of the model that it makes.")
    counter: str | None = Field(None, description="A file to which a line is added per run.")
    secret: EnvironmentName | None = None


def measure(job: Job[Probe]) -> Evidence:
    """What `act` says, then one measurement, `probe`."""
    options = job.options
    if options.counter:
        with Path(options.counter).open("a") as file:
            file.write(f"{job.stage} {time.monotonic():.6f} start\n")
    print("a library talks on standard output")
    job.tell(Progress("probing", 1, 2))
    time.sleep(options.sleep_s)
    _act(job)
    outputs = {}
    if options.makes is not None:
        made = job.workdir / "made.bin"
        made.write_text(options.makes)
        outputs["model"] = artifact(made)
        if options.act == "lie":
            made.unlink()
    if options.counter:
        with Path(options.counter).open("a") as file:
            file.write(f"{job.stage} {time.monotonic():.6f} end\n")
    row = measured("probe", options.value)
    if options.act == "unsure":
        bounds = [(confidence, 0.0, 1e9) for confidence in job.confidences]
        row = measured("probe", options.value, bounds=bounds)
    if options.act == "nothing":
        row = unmeasured("probe", "told not to")
    details: dict[str, Any] = {}
    for source in (options.model, options.file):
        if source is not None:
            details["read"] = Path(job.inputs[source].location).read_text()
    return Evidence(uses="probe", inputs={}, measurements=(row,), outputs=outputs, details=details)


def _act(job: Job[Probe]) -> None:
    match job.options.act:
        case "raise":
            raise StageError("the probe broke", hint="mend it")
        case "abort":
            os.abort()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "memory":
            raise MemoryError
        case "bug":
            raise RuntimeError("an unforeseen thing")
        case "exit":
            os._exit(0)
        case "touch":
            assert job.options.file is not None
            Path(job.inputs[job.options.file].location).write_text("changed meanwhile")
        case "blab":
            assert job.options.secret is not None
            url = os.environ[job.options.secret.env]
            print(f"connecting to {url}")
            raise StageError(f"cannot connect with {url} as {url[11:].split('@')[0]}")
        case "sleep":
            time.sleep(3600)
        case _:
            pass


_COMMON: dict[str, Any] = {
    "judged": ("file",),
    "summary": "a fake",
    "measure": measure,
    "metrics": (Metric("probe", "what it was told", "1", compared_to=("source",)),),
    "outputs": {"model": "model"},
}
PROBE = Stage(uses="probe", options=Probe, **_COMMON)


class Timing(Probe):
    """A probe that has the machine to itself."""

    uses: Literal["timing"] = "timing"  # type: ignore[assignment]  # another stage's name


TIMING = Stage(uses="timing", options=Timing, exclusive=lambda _: True, hardware=True, **_COMMON)

FAKES = {stage.uses: stage for stage in (PROBE, TIMING)}
WORKER = (sys.executable, str(Path(__file__)))


def install() -> None:
    """Make the fakes known beside the real stages."""
    cast(dict[str, Stage[Any]], STAGES).update(FAKES)


if __name__ == "__main__":
    install()
    worker.main(Path(sys.argv[1]).resolve())
