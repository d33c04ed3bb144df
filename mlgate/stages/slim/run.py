"""Slim an image: read, analyse, trace, then the least that answers the same as its source."""

import json
import math
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from mlgate.errors import MissingPackage, StageError, about
from mlgate.evidence import (
    Artifact,
    Comparison,
    Measured,
    Measurement,
    artifact,
    measured,
    unmeasured,
)
from mlgate.images.read import Image, read
from mlgate.images.tree import Tree, merge
from mlgate.images.write import write_layout
from mlgate.serving.recorded import Request, read_requests
from mlgate.stage import Job, Progress
from mlgate.stages.slim import findings
from mlgate.stages.slim.attempt import Attempt, Subject, make
from mlgate.stages.slim.packages import Package, bill, packages_of, still_there
from mlgate.stages.slim.spec import Slim

LARGEST_BILL: Final = 16 << 20  # bytes: what attestations may hold
_MOST_LISTED: Final = 200
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"


def measure(job: Job[Slim]) -> Measured:
    """Makes the image smaller and proves it. Raises `StageError`."""
    options = job.options
    requests = _requests(job)
    with tempfile.TemporaryDirectory(dir=job.workdir, prefix="scratch-") as folder:
        scratch = Path(folder)
        client = _engine(options)
        subject = _subject(job, client, scratch)
        if client is None:
            return _without_engine(job, subject)
        from mlgate.stages.slim.proof import prove  # noqa: PLC0415  # needs the docker SDK

        try:
            proof = prove(job, client, subject, requests)
        finally:
            client.close()
        return _measured(job, subject, proof.attempt, proof.measurements, proof.comparisons,
                         proof.details)  # fmt: skip


def _requests(job: Job[Slim]) -> tuple[Request, ...]:
    with about("probe", "replay"):
        return read_requests(Path(job.inputs[job.options.probe.replay].location))


def _engine(options: Slim) -> Any:
    """The engine's client; None for an image that needs none where there is none."""
    try:
        from mlgate.images import engine  # noqa: PLC0415  # the layout's path needs no docker SDK
    except ModuleNotFoundError as error:
        if options.image.engine is None:
            return None
        raise MissingPackage(error.name or "docker", extra="slim") from None
    try:
        return engine.connect()
    except engine.NoEngine:
        if options.image.engine is None:
            return None
        raise


def _subject(job: Job[Slim], client: Any, scratch: Path) -> Subject:
    options = job.options
    job.tell(Progress("reading the image"))
    name = options.image.engine
    if name is not None:
        from mlgate.images import engine  # noqa: PLC0415

        location = scratch / "saved.tar"
        with about("image"):
            engine.save(client, name, location)
            image = read(location, scratch, platform=options.platform)
        location.unlink()
    else:
        with about("image"):
            location = Path(job.inputs[options.image].location)
            image = read(location, scratch, platform=options.platform)
    tree = merge(image)
    first_party = options.probe.first_party or _own_folders(image)
    _check_model(job, tree)
    return Subject(image, tree, packages_of(tree), first_party, name or "image", scratch)


def _own_folders(image: Image) -> tuple[str, ...]:
    folder = (image.config.get("config") or {}).get("WorkingDir") or "/"
    return () if folder == "/" else (folder,)


def _check_model(job: Job[Slim], tree: Tree) -> None:
    """The image serves the model that the gates are about, or it is not looked at."""
    if job.options.model is None:
        return
    wanted = Path(job.inputs[job.options.model].location).read_bytes()
    same = [e for e in tree.files() if e.size == len(wanted)]
    if not any(tree.read(e.path, limit=len(wanted)) == wanted for e in same):
        raise StageError(
            "the image does not hold the gated model", hint="was it built before the model was?",
            option=("model",),
        )  # fmt: skip


def _without_engine(job: Job[Slim], subject: Subject) -> Measured:
    """Static level: nothing can be started, so nothing is claimed of answers."""
    attempt = make(job, subject, "static", set())
    reason = "no Docker Engine answers here: the image was not started, nothing was compared"
    left_out: list[Measurement] = [
        unmeasured("replay.mismatches", reason, labels={"set": name})
        for name in ("golden", "holdout", "negative", "contract")
    ]
    left_out.append(unmeasured("cold_start_ms", reason, unit="ms"))
    details: dict[str, JsonValue] = {"left_out": ["trace", "verify"], "why": reason}
    return _measured(job, subject, attempt, left_out, [], details)


def _measured(
    job: Job[Slim],
    subject: Subject,
    attempt: Attempt,
    measurements: Sequence[Measurement],
    comparisons: Sequence[Comparison],
    details: dict[str, JsonValue],
) -> Measured:
    tree, written = subject.tree, attempt.written
    there = still_there(subject.packages, attempt.kept.paths)
    ratio = written.size_bytes / tree.total if tree.total else math.nan
    sizes = [
        measured("size_bytes", written.size_bytes, unit="B"),
        measured("compressed_bytes", written.compressed_bytes, unit="B"),
        measured("size_ratio", ratio),
        measured("wasted_bytes", tree.wasted, unit="B"),
        measured("efficiency", tree.efficiency),
        measured("packages.removed", len(subject.packages) - len(there), unit="count"),
        measured("packages.kept", len(there), unit="count"),
    ]
    size = Comparison(
        name="size_bytes", to="source", value=written.size_bytes, reference=tree.total, unit="B"
    )
    largest = sorted(attempt.kept.gone.items(), key=lambda row: (-row[1], row[0]))[:_MOST_LISTED]
    told: dict[str, JsonValue] = {
        "level": attempt.level,
        "gpus": job.options.run.gpus,
        "source": {
            "bytes": tree.total, "visible": tree.visible, "config": subject.image.config_digest,
            "notes": list(subject.image.notes),
        },
        "image": {"config": written.config_digest, "manifest": written.manifest_digest},
        "wasted": _json(findings.wasted(tree)),
        "kinds": _json(findings.kinds(tree)),
        "dropped": [{"path": path, "bytes": size_} for path, size_ in largest],
        "dropped_files": len(attempt.kept.gone),
        "packages_gone": _json(sorted(set(subject.packages) - set(there))),
    }  # fmt: skip
    return Measured(
        measurements=(*sizes, *measurements),
        comparisons=(size, *comparisons),
        outputs=_outputs(job, subject, attempt, there),
        details=told | details,
    )


def _outputs(
    job: Job[Slim], subject: Subject, attempt: Attempt, there: dict[str, Package]
) -> dict[str, Artifact]:
    manifest = job.workdir / "manifest.json"
    manifest.write_bytes(attempt.written.manifest)
    sbom = job.workdir / "sbom.cdx.json"
    listed = bill(
        there.values(), subject.name, attempt.written.manifest_digest, subject.image.platform
    )
    data = json.dumps(listed, indent=1, sort_keys=True).encode()
    if len(data) > LARGEST_BILL:
        raise StageError(f"the bill of materials is larger than {LARGEST_BILL >> 20} MiB")
    sbom.write_bytes(data)
    why = job.workdir / "kept.json"
    why.write_text(json.dumps(attempt.kept.why, indent=0, sort_keys=True))
    dropped = job.workdir / "dropped.json"
    dropped.write_text(json.dumps(attempt.kept.gone, indent=0, sort_keys=True))
    layout = subject.scratch / "layout"
    write_layout(attempt.written, layout, job.options.tag or "slim")
    return {
        "image": artifact(manifest, _MANIFEST),
        "sbom": artifact(sbom, "application/vnd.cyclonedx+json"),
        "kept": artifact(why, "application/json"),
        "dropped": artifact(dropped, "application/json"),
        "archive": artifact(_archived(layout, job.workdir / "image.oci.tar"), "application/x-tar"),
    }


def _archived(layout: Path, to: Path) -> Path:
    """The layout as one file, the same bytes for the same layout."""
    with tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(p for p in layout.rglob("*") if p.is_file()):
            header = tarfile.TarInfo(str(path.relative_to(layout)))
            header.size = path.stat().st_size
            with path.open("rb") as data:
                archive.addfile(header, data)
    return to


def _json(value: Any) -> JsonValue:
    return value  # type: ignore[no-any-return]
