"""Stages that cost nothing: what CI has to do for real ones, proved on these."""

from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue

from mlgate.errors import StageError
from mlgate.evidence import Evidence, artifact, measured, unmeasured
from mlgate.stage import EnvironmentName, FileInput, Grants, Job, Metric, Options, Stage


class Weigh(Options):
    """Measures the size of a file and makes a copy of it."""

    file: FileInput
    gpu: bool = False
    breaks: bool = False
    nothing: bool = False
    unsure: bool = False
    ran: str | None = None


def _weigh(job: Job[Any]) -> Evidence:
    options: Weigh = job.options
    if options.ran is not None:
        with open(options.ran, "a", encoding="utf-8") as log:
            log.write(f"{job.stage}\n")
    if options.breaks:
        raise StageError("the scales are broken", hint="mend them")
    located = job.inputs[options.file]
    with open(located.location, "rb") as file:
        data = file.read()
    made = job.workdir / "copy.bin"
    made.write_bytes(data + b"!")
    size = measured("bytes", len(data), unit="B")
    if options.nothing:
        size = unmeasured("bytes", "it floats", unit="B")
    if options.unsure:
        bounds = [(confidence, 0.0, 1e6) for confidence in job.confidences or (0.95,)]
        size = measured("bytes", len(data), unit="B", bounds=bounds)
    return Evidence(uses="weigh", inputs={}, measurements=(size,), outputs={"copy": artifact(made)})


class Attest(Weigh):
    """Needs what signing needs."""

    key: EnvironmentName | None = None


class Pack(Weigh):
    """Makes an image of a file, and pushes it."""

    repository: str | None = None


def _pack(job: Job[Any]) -> Evidence:
    weighed = _weigh(job)
    manifest = job.workdir / "manifest.json"
    manifest.write_text('{"schemaVersion":2}')
    image = artifact(manifest, "application/vnd.oci.image.manifest.v1+json")
    place: dict[str, JsonValue] = (
        {"image": job.options.repository} if job.options.repository else {}
    )
    return weighed.model_copy(
        update={"uses": "pack", "outputs": {"image": image}, "details": {"images": place}}
    )


class Move(Weigh):
    """Moves traffic."""

    environment: str | None = None


_METRICS = (Metric("bytes", "Size of the file.", "B", compared_to=("baseline",)),)

WEIGH = Stage(
    uses="weigh",
    summary="Weigh a file",
    options=Weigh,
    measure=_weigh,
    metrics=_METRICS,
    outputs={"copy": "file"},
    judged=("file",),
    best_effort=("best_effort",),
    references=("baseline",),
    gpu=lambda options: options.gpu,
)
ATTEST = Stage(
    uses="attest",
    summary="Attest a file",
    options=Attest,
    measure=lambda job: _weigh(job).model_copy(update={"uses": "attest"}),
    metrics=_METRICS,
    judged=("file",),
    outputs={"copy": "file"},
    ci=lambda options: Grants(identity=True, packages="write", attestations=True),
)
PACK = Stage(
    uses="pack",
    summary="Pack a file",
    options=Pack,
    measure=_pack,
    metrics=_METRICS,
    judged=(),
    outputs={"image": "image"},
    ci=lambda options: Grants(packages="write"),
)
MOVE = Stage(
    uses="move",
    summary="Move traffic",
    options=Move,
    measure=lambda job: _weigh(job).model_copy(update={"uses": "move"}),
    metrics=_METRICS,
    judged=(),
    deploys=True,
    ci=lambda options: Grants(identity=True, environment=options.environment),
)
FAKES: dict[str, Stage[Any]] = {stage.uses: stage for stage in (WEIGH, ATTEST, PACK, MOVE)}


def registered() -> Iterator[None]:
    """The fakes among the stages there are, for as long as a fixture lasts."""
    from mlgate.stages import STAGES

    assert isinstance(STAGES, dict)
    STAGES.update(FAKES)
    yield
    for uses in FAKES:
        del STAGES[uses]
