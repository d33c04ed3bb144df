"""Bind a verdict to the bytes that were judged: statements about a finished run, signed.

RUN/attestations/<stage>.provenance.sigstore.json    what a stage made, of what
RUN/attestations/<stage>.test-result.sigstore.json   which gates held, of what
RUN/attestations/<stage>.<output>.model.sig          a model's own signature (OpenSSF)
RUN/attestations/summary.sigstore.json               the verdict; names all others by digest

verdict.json is the same bytes with and without them. Nothing is signed that `verify` refuses, and
every file is read again first: what is signed is what lies there.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mlgate import __version__
from mlgate.errors import StoreError, UsageError
from mlgate.evidence import Evidence, digest_of
from mlgate.files import write_atomic
from mlgate.provenance.audit_log import AuditLog
from mlgate.provenance.bundle import Bundle
from mlgate.provenance.bundle import sign as signed_statement
from mlgate.provenance.chain import verify_chain
from mlgate.provenance.keys import Signer
from mlgate.provenance.model_signature import model_statement
from mlgate.provenance.reasons import Refused
from mlgate.provenance.statement import (
    PROVENANCE,
    SUMMARY,
    Statement,
    Subject,
    resource,
    test_result,
)
from mlgate.provenance.tree import Tree, hashed
from mlgate.provenance.trust import VERIFIER, Trust
from mlgate.run import record as runs
from mlgate.run.report import Ran, Report
from mlgate.run.verdict import Record, content
from mlgate.stages import STAGES
from mlgate.verify import Refusal, Verification, verify

FOLDER: Final = "attestations"
SUMMARY_FILE: Final = "summary.sigstore.json"
_BASE: Final = "https://mlgate.dev"


@dataclass(frozen=True)
class Release:
    """What a run is signed for. `target` is where it is meant to go, `number` rises with each."""

    target: str
    number: int | None = None


@dataclass(frozen=True)
class Signed:
    """The files that were written, the summary last."""

    folder: Path
    files: tuple[str, ...]
    subjects: int


def sign(
    record: Record, signer: Signer, release: Release, *, now: datetime, log: AuditLog | None = None
) -> Signed:
    """Sign a finished run. Raises `UsageError` for one that is no pass, `Refused` for other bytes."""
    found = verify(record, profile=runs.read(record.folder).profile)
    if not found.verified:
        first = found.refusals[0]
        raise UsageError(f"nothing is signed: {first.message}", hint=first.hint)
    report = _report(record)
    made = {
        name: signed_statement(said, signer) for name, said in _statements(record, report, signer)
    }
    if log is not None:
        made = dict(zip(made, log.log(made.values(), signer.public, now), strict=True))
    data = {name: one.data() for name, one in made.items()}
    summary = _summary(report, made, data, release, now, digest_of(_verdict(record)))
    last = signed_statement(summary, signer)
    if log is not None:
        last = log.log([last], signer.public, now)[0]
    data[SUMMARY_FILE] = last.data()
    folder = record.folder / FOLDER
    if folder.is_dir():  # of an earlier time: its files would not be those of this summary
        shutil.rmtree(folder)
    for name, content_ in data.items():
        write_atomic(folder / name, content_)
    return Signed(folder, tuple(data), len(summary.subjects))


def verify_signed(
    record: Record, found: Verification, trust: Trust, *, now: datetime
) -> Verification:
    """What `verify` found of a run, and whether its attestations say so, by whom one trusts."""
    try:
        verify_chain(
            attestations(record.folder),
            trust,
            now=now,
            artifacts=[
                (known.name, {"sha256": known.digest.removeprefix("sha256:")})
                for known in found.artifacts
            ],
            verdict=found.verdict,
        )
    except Refused as refused:
        refusal = Refusal(refused.reason, refused.message, refused.hint)
        return replace(found, refusals=(*found.refusals, refusal))
    return replace(found, signed=True)


def attestations(folder: Path) -> dict[str, bytes]:
    """The bundles that lie in a run's folder, by name. Raises `StoreError`."""
    found = {}
    for path in sorted((folder / FOLDER).glob("*")):
        if path.is_symlink() or not path.is_file():
            raise StoreError(f"{path} is no regular file")
        found[path.name] = content(path)
    return found


def _verdict(record: Record) -> bytes:
    return content(record.folder / "verdict.json")


def _report(record: Record) -> Report:
    def read(digest: str) -> Evidence:
        for stage in stages:
            if stage.evidence == digest:
                path = record.evidence(stage.id, digest)
                assert path is not None
                return Evidence.model_validate_json(content(path))
        raise StoreError(f"evidence {digest} is not there")

    document = runs.read(record.folder)
    stages = document.stages
    return runs.judge_record(document, read)


def _statements(record: Record, report: Report, signer: Signer) -> Iterator[tuple[str, Statement]]:
    wiring = {stage.id: stage.from_ for stage in runs.read(record.folder).stages}
    for stage, ran in report.results.items():
        assert isinstance(ran, Ran)  # verified: every stage passed
        outputs = dict(_outputs(record, stage, ran.evidence))
        subjects = [Subject(f"{stage}.{port}", tree.digests()) for port, tree in outputs.items()]
        used = _inputs(stage, ran.evidence, wiring[stage])
        if subjects:
            name = f"{stage}.provenance.sigstore.json"
            yield name, _provenance(report, stage, ran, subjects, used, signer)
        judged = [
            Subject(name, digests)
            for port, (name, digests) in used.items()
            if port in STAGES[ran.evidence.uses].judged
        ]
        name = f"{stage}.test-result.sigstore.json"
        yield name, _tested(report, ran, [*subjects, *judged])
        for port, tree in outputs.items():
            if STAGES[ran.evidence.uses].outputs.get(port) == "model":
                yield f"{stage}.{port}.model.sig", model_statement(tree)


def _outputs(record: Record, stage: str, seen: Evidence) -> Iterator[tuple[str, Tree]]:
    """What a stage made and somebody approved, read once more."""
    declared = STAGES[seen.uses]
    for port, made in sorted(seen.outputs.items()):
        if port in declared.best_effort:
            continue
        path = record.output(stage, made)
        if path is None or not path.is_file():
            raise StoreError(f"{stage}.{port} is not there", hint="run mlgate check again")
        tree = hashed(path)
        if f"sha256:{tree.files[0].sha256}" != made.digest:
            raise Refused("file-altered", f"{stage}.{port} is not what was judged")
        yield port, Tree(made.name, False, tree.files)


def _inputs(
    stage: str, seen: Evidence, sources: Mapping[str, str | None]
) -> dict[str, tuple[str, dict[str, str]]]:
    """Name and digest of what a stage read, by port: `int8.model`, or `data:dataset` from outside.

    The digest of a folder or of a model with its weights beside it is that of its list of files.
    """
    return {
        port: (
            sources.get(port) or f"{stage}:{port}",
            {"sha256": digest.removeprefix("sha256:")},
        )
        for port, digest in sorted(seen.inputs.items())
    }


def _provenance(
    report: Report,
    stage: str,
    ran: Ran,
    subjects: Sequence[Subject],
    used: Mapping[str, tuple[str, dict[str, str]]],
    signer: Signer,
) -> Statement:
    dependencies = {name: resource(name, digests) for name, digests in used.values()}
    predicate = {
        "buildDefinition": {
            "buildType": f"{_BASE}/stage/{ran.evidence.uses}/v1",
            "externalParameters": {"stage": stage, "spec": _spec(report)},
            "internalParameters": {"tools": dict(ran.evidence.tools)},
            "resolvedDependencies": list(dependencies.values()),
        },
        "runDetails": {
            "builder": {
                "id": f"{_BASE}/builder/{signer.kind}/v1",
                "version": {"mlgate": __version__},
            },
            "byproducts": [resource("evidence", _sha256(ran.digest))],
        },
    }
    return Statement(tuple(subjects), PROVENANCE, predicate)


def _tested(report: Report, ran: Ran, subjects: Sequence[Subject]) -> Statement:
    passed = [gate.message for gate in ran.gates if gate.rank.word == "pass"]
    warned = [gate.message for gate in ran.gates if gate.rank.word != "pass"]
    return test_result(
        subjects,
        result="WARNED" if warned else "PASSED",
        configuration=[
            {"name": "mlgate.yaml", **_spec(report)},
            resource("evidence", _sha256(ran.digest)),
        ],
        passed=passed,
        warned=warned,
    )


def _spec(report: Report) -> dict[str, Any]:
    return {"digest": _sha256(report.spec_digest)}


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}


def _summary(
    report: Report,
    made: Mapping[str, Bundle],
    data: Mapping[str, bytes],
    release: Release,
    now: datetime,
    verdict: str,
) -> Statement:
    subjects: dict[str, Subject] = {}
    for one in made.values():
        if one.statement.kind in ("provenance", "test-result"):
            subjects |= {subject.name: subject for subject in one.statement.subjects}
    attested = [
        {"uri": name, "digest": {"sha256": hashlib.sha256(content_).hexdigest()}}
        for name, content_ in sorted(data.items())
    ]
    predicate: dict[str, Any] = {
        "verifier": {"id": VERIFIER, "version": {"mlgate": __version__}},
        "timeVerified": f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "resourceUri": release.target,
        "policy": {"uri": "mlgate.yaml", **_spec(report)},
        "inputAttestations": attested,
        "verificationResult": "PASSED",
        "verifiedLevels": ["MLGATE_GATES_PASSED"],
        "slsaVersion": "1.1",
        "mlgateVerdict": verdict,
    }
    if release.number is not None:
        predicate["mlgateRelease"] = release.number
    return Statement(tuple(subjects.values()), SUMMARY, predicate)
