"""The part that needs an engine: trace the source, build levels, and hold each to its source."""

import io
import json
import math
import os
import secrets
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from mlgate.errors import StageError
from mlgate.evidence import Bounds, Comparison, Measurement, measured, rounded
from mlgate.images import engine
from mlgate.images.write import Written, write_archive
from mlgate.quantity import seconds, size
from mlgate.serving.compare import Tolerance
from mlgate.serving.container import Setup, has_bridge
from mlgate.serving.recorded import Request, request_of
from mlgate.stage import Job, Progress
from mlgate.stages.slim.attempt import Attempt, Subject, levels_from, make
from mlgate.stages.slim.keep import matching
from mlgate.stages.slim.probe import Asked, Seen, first_imports, trace_image
from mlgate.stages.slim.spec import Slim
from mlgate.stages.slim.verify import Examination, Outcome, compare_images, missing_files, negatives

_MOST_NAMED: Final = 20


@dataclass
class Proof:
    """The level that held, or the last that was tried, and what was seen."""

    attempt: Attempt
    outcome: Outcome
    missing: tuple[str, ...] = ()
    measurements: list[Measurement] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    details: dict[str, JsonValue] = field(default_factory=dict)


def prove(job: Job[Slim], client: Any, subject: Subject, requests: tuple[Request, ...]) -> Proof:
    """Traces, then builds and verifies level after level until one answers the same."""
    options = job.options
    with _loaded(client, subject, options) as fat:
        setup = _setup(client, options)
        golden, held = split(requests, options.probe.holdout)
        extra = tuple(request_of(text) for text in options.probe.extra)
        seen = _traced(job, client, subject, fat, setup, (*golden, *extra))
        exam = _examination(options, subject, setup, (*golden, *extra), held)
        tried: list[JsonValue] = []
        for level in levels_from(options.level, options.escalate):
            attempt = make(job, subject, level, seen.whole.used)
            proof = _verified(job, client, fat, attempt, exam, subject)
            tried.append({"level": level, "bytes": attempt.written.size_bytes,
                          "mismatches": proof.outcome.count,
                          "missing": list(proof.missing)})  # fmt: skip
            if proof.outcome.count == 0 or not options.escalate:
                break
    _tell(job, proof, subject, seen, tried, engine.version(client))
    if proof.outcome.count == 0 and options.tag is not None:
        _load(client, proof.attempt.written, options.tag, subject.scratch)
    return proof


def split(
    requests: tuple[Request, ...], holdout: float
) -> tuple[tuple[Request, ...], tuple[Request, ...]]:
    """Requests that are traced, and those that are held out: spread evenly, the same each time."""
    golden: list[Request] = []
    held: list[Request] = []
    for index, request in enumerate(requests):
        is_held = math.floor((index + 1) * holdout) > math.floor(index * holdout)
        (held if is_held else golden).append(request)
    if not golden:
        raise StageError(
            "every request is held out, none is left to trace with", hint="record more requests",
            option=("probe", "holdout"),
        )  # fmt: skip
    return tuple(golden), tuple(held)


@contextmanager
def _loaded(client: Any, subject: Subject, options: Slim) -> Iterator[str]:
    """The source's name in the engine; a layout is loaded under a name that is taken away."""
    if options.image.engine is not None:
        yield options.image.engine
        return
    name = _passing("source")
    archive = subject.scratch / "source.tar"
    location = subject.scratch / "source"
    location.mkdir()
    _source_archive(subject, archive, name)
    try:
        engine.load(client, archive, name)
        archive.unlink()
        yield name
    finally:
        engine.remove(client, name)


def _source_archive(subject: Subject, archive: Path, name: str) -> None:
    """The source's own layers and config as a docker-archive."""
    config = json.dumps(subject.image.config).encode()
    listed = [{"Config": "config.json", "RepoTags": [name],
               "Layers": [f"{i}/layer.tar" for i, _ in enumerate(subject.image.layers)]}]  # fmt: skip
    with tarfile.open(archive, "w") as out:
        for inner, data in (
            ("config.json", config),
            ("manifest.json", json.dumps(listed).encode()),
        ):
            header = tarfile.TarInfo(inner)
            header.size = len(data)
            out.addfile(header, io.BytesIO(data))
        for index, layer in enumerate(subject.image.layers):
            header = tarfile.TarInfo(f"{index}/layer.tar")
            header.size = layer.file.stat().st_size
            with layer.file.open("rb") as plain:
                out.addfile(header, plain)


def _setup(client: Any, options: Slim) -> Setup:
    run = options.run
    network = run.network or ("bridge" if has_bridge(client) else "host")
    return Setup(
        args=run.args,
        env=run.env,
        port=run.port,
        network=network,
        gpus=run.gpus,
        memory=None if run.memory is None else str(int(size(run.memory))),
    )


def _traced(
    job: Job[Slim],
    client: Any,
    subject: Subject,
    fat: str,
    setup: Setup,
    requests: tuple[Request, ...],
) -> Seen:
    options = job.options
    imports = first_imports(subject.tree, subject.first_party) if options.probe.imports else ()
    asked = Asked(
        image=fat,
        setup=setup,
        config=subject.image.config,
        ready=request_of(options.ready.request),
        status=options.ready.status,
        seconds=seconds(options.run.timeout) * 3,  # a traced start is slower
        requests=requests,
        imports=imports,
        commands=options.probe.commands,
    )
    return trace_image(client, asked, _folder(subject, "trace"), lambda m: job.tell(Progress(m)))


def _examination(
    options: Slim,
    subject: Subject,
    setup: Setup,
    golden: tuple[Request, ...],
    held: tuple[Request, ...],
) -> Examination:
    return Examination(
        setup=setup,
        config=subject.image.config,
        ready=request_of(options.ready.request),
        status=options.ready.status,
        seconds=seconds(options.run.timeout),
        sets={"golden": golden, "holdout": held, "negative": negatives(golden)},
        tolerance=Tolerance(options.verify.rtol, options.verify.atol),
        ignore=frozenset(options.verify.ignore),
        starts=options.verify.starts,
    )


def _verified(
    job: Job[Slim], client: Any, fat: str, attempt: Attempt, exam: Examination, subject: Subject
) -> Proof:
    """One level held to its source under a name of its own, which is taken away again."""
    name = _passing("candidate")
    try:
        _load(client, attempt.written, name, subject.scratch)
        outcome = compare_images(client, fat, name, exam, lambda m: job.tell(Progress(m)))
        missing: tuple[str, ...] = ()
        if outcome.count:
            folder = subject.scratch / f"missing-{attempt.level}"
            missing = missing_files(client, name, exam, attempt.kept.gone, folder)
    finally:
        engine.remove(client, name)
    return Proof(attempt, outcome, missing)


def _load(client: Any, written: Written, name: str, scratch: Path) -> None:
    archive = scratch / "candidate.tar"
    write_archive(written, archive, name)
    try:
        engine.load(client, archive, name)
    finally:
        archive.unlink(missing_ok=True)


def _tell(
    job: Job[Slim],
    proof: Proof,
    subject: Subject,
    seen: Seen,
    tried: list[JsonValue],
    version: str,
) -> None:
    outcome = proof.outcome
    dropped = set(matching(subject.tree, job.options.drop))
    named = sorted(proof.missing, key=lambda path: (path not in dropped, path))[:_MOST_NAMED]
    for name, rows in outcome.mismatches.items():
        n = outcome.asked.get(name)
        because = [*(f"dropped: {path}" for path in named), *rows] if rows else []
        if name in outcome.asked and n == 0:
            continue
        proof.measurements.append(
            measured(
                "replay.mismatches",
                len(rows),
                labels={"set": name},
                unit="count",
                n=n,
                because=because[:_MOST_NAMED],
            )
        )
    proof.comparisons += _cold_start(outcome, job.confidences or (0.95,))
    if outcome.cold_starts:
        starts = sorted(slim * 1000 for _, slim in outcome.cold_starts)
        middle = starts[len(starts) // 2]
        proof.measurements.append(
            measured(
                "cold_start_ms",
                middle,
                unit="ms",
                n=len(starts),
                bounds=[(c, *_between(starts, c)) for c in job.confidences],
            )
        )
    whole = subject.tree.visible
    proof.details |= {
        "levels": tried,
        "mismatches": {name: list(rows[:_MOST_NAMED]) for name, rows in outcome.mismatches.items()},
        "missing": list(proof.missing[:_MOST_NAMED]),
        "set_aside": [*sorted(outcome.aside)],
        "not_compared": list(outcome.uncompared),
        "trace": {
            "method": "strace", "calls": seen.whole.calls, "programs": [*sorted(seen.whole.run)[:50]],
            "touched_at_ready": rounded(_touched(subject, seen.at_ready.used) / whole),
            "touched_after_probe": rounded(_touched(subject, seen.whole.used) / whole),
        },
        "engine": version,
    }  # fmt: skip
    if outcome.p50 is not None:
        fat, slim = outcome.p50
        proof.details["p50_ms"] = {"source": rounded(fat), "slim": rounded(slim)}


def _touched(subject: Subject, used: set[str]) -> int:
    """Bytes of the image's files that were used."""
    sizes = {}
    for path in used:
        real = subject.tree.resolve(path)
        entry = subject.tree.entries.get(real or path)
        if entry is not None and entry.kind == "file":
            sizes[entry.content] = entry.size
    return sum(sizes.values())


def _cold_start(outcome: Outcome, confidences: Sequence[float]) -> list[Comparison]:
    """Starts of both in turns. The interval is that of the median of the pairs' ratios by order
    statistics, which needs no shape: of n pairs, lowest and highest bound it with 1 − 2^(1−n)."""
    if not outcome.cold_starts:
        return []
    fat = sorted(a for a, _ in outcome.cold_starts)
    slim = sorted(b for _, b in outcome.cold_starts)
    ratios = sorted(b / a for a, b in outcome.cold_starts)
    gaps = sorted((b - a) * 1000 for a, b in outcome.cold_starts)

    def bounds(values: list[float]) -> tuple[Bounds, ...]:
        found = []
        for confidence in confidences:
            low, high = _between(values, confidence)
            found.append(Bounds(confidence=confidence, low=low, high=high))
        return tuple(found)

    return [
        Comparison(
            name="cold_start_ms", to="source", unit="ms", n=len(ratios),
            value=rounded(slim[len(slim) // 2] * 1000),
            reference=rounded(fat[len(fat) // 2] * 1000),
            ratio=bounds(ratios), difference=bounds(gaps),
        )
    ]  # fmt: skip


def _between(values: list[float], confidence: float) -> tuple[float | None, float | None]:
    if 1 - 2.0 ** (1 - len(values)) < confidence:
        return None, None  # too few to bound it
    return rounded(values[0]), rounded(values[-1])


def _passing(role: str) -> str:
    """A name in the engine that is taken away again; it says whose it is."""
    return f"mlgate-{role}:{os.getpid()}-{secrets.token_hex(6)}"


def _folder(subject: Subject, name: str) -> Path:
    folder = subject.scratch / name
    folder.mkdir()
    return folder
