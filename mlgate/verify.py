"""Was exactly this file approved, and does the evidence still say so?

Reads a run's verdict and the files that it names; measures nothing. What does not hold is a
`Refusal` under a code that `mlgate explain` knows, all of them at once. Nothing here is signed: it
proves that artifact, evidence, verdict and spec fit each other, not who made them.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from mlgate.documents import (
    ArtifactRow,
    FilesRow,
    RefusalRow,
    VerdictDocument,
    VerificationDocument,
)
from mlgate.errors import StageError, StoreError
from mlgate.evidence import Evidence, digest_of
from mlgate.gate import Outcome
from mlgate.provenance.reasons import COULD_NOT_CHECK
from mlgate.run import record as runs
from mlgate.run.plan import resolve, terms_of
from mlgate.run.report import Errored, Found, Ran, Report, Seen, Skipped, judge
from mlgate.run.verdict import Record, content, parsed, sha256
from mlgate.sources import DigestCache
from mlgate.spec.spec import Spec
from mlgate.stage import DataInput, Input, ModelInput
from mlgate.stages import STAGES

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")

Wiring = Mapping[str, Mapping[str, str | None]]


@dataclass(frozen=True)
class Refusal:
    """One reason why the answer is no. `code` is stable: `mlgate explain CODE`."""

    code: str
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class Known:
    """A file that was asked about, its digest, and what the run knows it as (`int8.model`)."""

    name: str
    digest: str
    known_as: tuple[str, ...]


@dataclass(frozen=True)
class Verification:
    """The whole answer. `spec` says whether the verdict is of the spec at hand; None: none is.

    `whole` and `absent` count the files that stages made: those at hand, unaltered, and those that
    are not there, which prove nothing. `links` counts inputs that another stage's output is.
    """

    name: str
    outcome: Outcome
    verdict: str
    profile: str | None
    spec: Literal["same", "other"] | None
    stages: int
    whole: int
    absent: int
    links: int
    artifacts: tuple[Known, ...]
    refusals: tuple[Refusal, ...]
    signed: bool = False

    @property
    def verified(self) -> bool:
        return not self.refusals

    @property
    def exit_code(self) -> int:
        if self.verified:
            return 0
        # Not found is not found wrong.
        return 3 if all(refusal.code in COULD_NOT_CHECK for refusal in self.refusals) else 1

    def document(self) -> VerificationDocument:
        """The answer as JSON: `mlgate/verification/v1`."""
        artifacts = [
            ArtifactRow(name=a.name, digest=a.digest, known_as=a.known_as) for a in self.artifacts
        ]
        refusals = [RefusalRow(code=r.code, message=r.message, hint=r.hint) for r in self.refusals]
        return VerificationDocument(
            verified=self.verified,
            exit_code=self.exit_code,
            signed=self.signed,
            name=self.name,
            outcome=self.outcome.word,
            verdict=self.verdict,
            profile=self.profile,
            spec=self.spec,
            stages=self.stages,
            files=FilesRow(whole=self.whole, absent=self.absent),
            links=self.links,
            artifacts=tuple(artifacts),
            refusals=tuple(refusals),
        )


def verify(
    record: Record,
    artifacts: Sequence[str] = (),
    *,
    spec: Spec | None = None,
    profile: str | None = None,
) -> Verification:
    """Whether a run's record holds together, and approved each of `artifacts`.

    An artifact is a file's path, or `sha256:<hex>`. With a `spec` of the verdict's own digest, its
    gates judge, and run.json is not read; else those of run.json do. `profile` is the one that may
    have been applied. Raises `StoreError` for what cannot be read.
    """
    written = content(record.folder / "verdict.json")
    verdict = parsed(written)
    own = spec if spec is not None and spec.digest == verdict.spec_digest else None
    refusals = [*_approval(verdict, profile), *_of_this_spec(verdict, spec, profile)]
    evidence, found = _evidence(verdict, record)
    refusals += found
    whole, absent, found = _outputs(evidence, record)
    refusals += found
    refusals += _copies(verdict, evidence, record)
    links, found = _chain(evidence, _wiring(own) if own else _recorded_wiring(record))
    refusals += found
    if len(evidence) == sum(row.evidence is not None for row in verdict.stages):
        again = _again(written, verdict, evidence, own, record)
        refusals += _as_judged(written, verdict, again)
    known, found = _known(artifacts, evidence)
    refusals += found
    return Verification(
        name=verdict.name,
        outcome=Outcome[verdict.outcome.upper()],
        verdict=digest_of(written),
        profile=verdict.profile,
        spec=None if spec is None else "same" if own is not None else "other",
        stages=len(verdict.stages),
        whole=whole,
        absent=absent,
        links=links,
        artifacts=known,
        refusals=tuple(refusals),
    )


def _approval(verdict: VerdictDocument, profile: str | None) -> Iterator[Refusal]:
    if Outcome[verdict.outcome.upper()] > Outcome.WARN:
        yield Refusal("MG406", f"the verdict is {verdict.outcome}", "see mlgate report")
    if verdict.left_out:
        named = ", ".join(verdict.left_out)
        yield Refusal("MG407", f"stages were left out: {named}", "run mlgate check, of all stages")
    if verdict.profile != profile:
        one, other = (f"profile {p}" if p else "no profile" for p in (verdict.profile, profile))
        hint = "say which profile may be: --profile NAME"
        yield Refusal("MG409", f"it was judged with {one}, and asked is {other}", hint)


def _of_this_spec(
    verdict: VerdictDocument, spec: Spec | None, profile: str | None
) -> Iterator[Refusal]:
    """Nothing where the profiles differ: then the specs cannot be the same."""
    if spec is None or spec.digest == verdict.spec_digest or verdict.profile != profile:
        return
    message = f"{spec.file} is not what the verdict is of, or has other parameters"
    hint = "check again, give the same --set, or verify without the spec: --verdict"
    yield Refusal("MG408", message, hint)


def _evidence(
    verdict: VerdictDocument, record: Record
) -> tuple[dict[str, Evidence], list[Refusal]]:
    """The evidence of every stage whose is whole, and what is wrong with the others'."""
    found: dict[str, Evidence] = {}
    refusals = []
    for row in verdict.stages:
        if row.evidence is None:
            continue
        path = record.evidence(row.id, row.evidence)
        digest = sha256(path)
        if path is None or digest is None:
            refusals.append(Refusal("MG401", f"the evidence of {row.id} is not there", _BLOBS))
            continue
        if digest != row.evidence:
            refusals.append(Refusal("MG402", f"the evidence of {row.id} was altered"))
            continue
        try:
            found[row.id] = Evidence.model_validate_json(content(path))
        except ValidationError:
            message = f"the evidence of {row.id} is none that this version reads"
            raise StoreError(message, hint="verify with the version that judged it") from None
    return found, refusals


_BLOBS: Final = "say where the evidence lies: --store DIR, a folder with store/sha256/"


def _outputs(evidence: Mapping[str, Evidence], record: Record) -> tuple[int, int, list[Refusal]]:
    """How many of the files that stages made are whole, and absent; and which were altered."""
    whole = absent = 0
    refusals = []
    for stage, seen in evidence.items():
        for port, made in sorted(seen.outputs.items()):
            digest = sha256(record.output(stage, made))
            if digest is None:
                absent += 1
            elif digest == made.digest:
                whole += 1
            else:
                refusals.append(Refusal("MG402", f"{stage}.{port} ({made.name}) was altered"))
    return whole, absent, refusals


def _copies(
    verdict: VerdictDocument, evidence: Mapping[str, Evidence], record: Record
) -> Iterator[Refusal]:
    """What lies in the run's own folder, for people and CI to pick up, and is not what it has to be.

    Not the outputs of a stage whose evidence is refused, which alone could say what they have to be.
    """
    places: dict[str, tuple[str, Path | None]] = {}
    unsaid = []
    for row in verdict.stages:
        if row.evidence is not None:
            where = record.evidence(row.id, row.evidence)
            places[f"evidence/{row.id}.json"] = (row.evidence, where)
            if row.id not in evidence:
                unsaid.append(f"outputs/{row.id}/")
    for stage, seen in evidence.items():
        for made in seen.outputs.values():
            places[f"outputs/{stage}/{made.name}"] = (made.digest, record.output(stage, made))
    for name in record.copies():
        if name in places:
            path, (digest, read) = record.folder / name, places[name]
            if not _same(path, read) and sha256(path) != digest:
                yield Refusal("MG402", f"{name}, in the run's own folder, was altered", _COPY)
        elif not name.startswith(tuple(unsaid)):
            shown = os.fsencode(name).decode("utf-8", "replace")
            message = f"{shown}, in the run's own folder, is not a file of this run"
            yield Refusal("MG405", message, "move it out of there")


_COPY: Final = "fetch the run's record again, or run mlgate check"


def _same(path: Path, read: Path | None) -> bool:
    """Whether that very file was read before, as the store's own or the record's."""
    try:
        return read is not None and path.is_file() and path.samefile(read)
    except OSError:
        return False


def _wiring(spec: Spec) -> Wiring:
    nodes = resolve(spec, include_deploys=True).nodes
    return {node.id: {port: i.from_ for port, i in node.inputs().items()} for node in nodes}


def _recorded_wiring(record: Record) -> Wiring:
    return {stage.id: stage.from_ for stage in runs.read(record.folder).stages}


def _chain(evidence: Mapping[str, Evidence], wired: Wiring) -> tuple[int, list[Refusal]]:
    """How many inputs are the very output they are said to come from; and which are not."""
    links = 0
    refusals = []
    for stage, seen in evidence.items():
        ports = wired.get(stage, {})
        for port, source in sorted(ports.items()):
            if source is None:
                continue
            maker, _, output = source.partition(".")
            made = evidence[maker].outputs.get(output) if maker in evidence else None
            if made is not None and seen.inputs.get(port) == made.digest:
                links += 1
            else:
                message = f"{stage} was not measured on {source}, which its {port} has to be"
                refusals.append(Refusal("MG404", message, "run all stages again"))
        for port in sorted(set(seen.inputs) - set(ports)):
            message = f"{stage} read {port}, which the spec does not give it"
            refusals.append(Refusal("MG404", message))
    return links, refusals


def _again(
    written: bytes,
    verdict: VerdictDocument,
    evidence: Mapping[str, Evidence],
    spec: Spec | None,
    record: Record,
) -> Report:
    """The report that the evidence gives: by the spec's gates, or by those of run.json."""
    if spec is None:
        return _as_recorded(record, evidence)
    again = _judged(verdict, evidence, spec, {})
    if again.verdict() == written:
        return again
    try:  # a comment in the spec moves the gates to other lines, which the verdict names
        before = _as_recorded(record, evidence).results
    except StoreError:
        return again
    lines = {stage: ran.lines for stage, ran in before.items() if isinstance(ran, Ran)}
    return _judged(verdict, evidence, spec, lines)


def _judged(
    verdict: VerdictDocument,
    evidence: Mapping[str, Evidence],
    spec: Spec,
    lines: Mapping[str, tuple[int, ...]],
) -> Report:
    """The report that the spec's own gates make of the evidence; `lines`: where they stood."""
    rows = {row.id: row for row in verdict.stages}
    plan = resolve(spec, include_deploys=True)
    stages = {}
    found: dict[str, Found] = {}
    for node in plan.nodes:
        if node.id not in rows:
            continue
        row = rows[node.id]
        seen = evidence.get(node.id)
        if seen is not None and row.evidence is not None:
            found[node.id] = Seen(seen, row.evidence)
        elif row.reason.startswith("not run: "):
            outcome = Outcome[row.outcome.upper()]
            found[node.id] = Skipped(row.reason.removeprefix("not run: "), outcome)
        else:
            found[node.id] = Errored(row.reason, row.hint)
        stood = lines.get(node.id, ())
        terms = node.terms
        stages[node.id] = (
            replace(terms, gate_lines=stood) if len(stood) == len(terms.gates) else terms
        )
    return judge(replace(terms_of(plan, found, day=verdict.day), stages=stages), found)


def _as_recorded(record: Record, evidence: Mapping[str, Evidence]) -> Report:
    """The report that the gates of run.json make of the evidence."""
    known = {digest_of(seen.canonical()): seen for seen in evidence.values()}

    def read(digest: str) -> Evidence:
        if digest not in known:
            raise StoreError(f"run.json names evidence that verdict.json does not: {digest}")
        return known[digest]

    return runs.judge_record(runs.read(record.folder), read)


def _as_judged(written: bytes, verdict: VerdictDocument, again: Report) -> Iterator[Refusal]:
    kinds = {row.id: row.uses for row in verdict.stages}
    for stage, result in again.results.items():
        if isinstance(result, Ran) and result.evidence.uses != kinds.get(stage):
            yield Refusal("MG403", f"the evidence of {stage} is of {result.evidence.uses}")
    if again.verdict() != written:
        message = f"the verdict says {verdict.outcome}, and is not what the evidence gives"
        if str(again.outcome) != verdict.outcome:
            message = f"the verdict says {verdict.outcome}, and the evidence {again.outcome}"
        hint = "it was altered, or judged by another version of mlgate"
        yield Refusal("MG403", message, hint)


def _known(
    artifacts: Sequence[str], evidence: Mapping[str, Evidence]
) -> tuple[tuple[Known, ...], list[Refusal]]:
    """What the run knows each artifact as, and which of them it did not approve."""
    found = []
    refusals = []
    for name in artifacts:
        digests = _digests(name)
        # A model with its weights is known by all of its files; a file, by its own bytes.
        digest = next((d for d in digests if tuple(_roles(d, evidence))), digests[0])
        approved = tuple(_roles(digest, evidence))
        found.append(Known(name, digest, approved))
        if not approved:
            refusals.append(_unknown(name, digest, evidence))
    return tuple(found), refusals


def _roles(digest: str, evidence: Mapping[str, Evidence]) -> Iterator[str]:
    """Ports at which a file of that digest was made or judged."""
    for stage, seen in evidence.items():
        declared = STAGES.get(seen.uses)
        if declared is None:  # who knows what it approves?
            continue
        for port, made in sorted(seen.outputs.items()):
            if made.digest == digest and port not in declared.best_effort:
                yield f"{stage}.{port}"
        for port in declared.judged:
            if seen.inputs.get(port) == digest:
                yield f"{stage}.{port}"


def _best_effort(uses: str) -> tuple[str, ...]:
    declared = STAGES.get(uses)
    return declared.best_effort if declared is not None else ()


def _unknown(name: str, digest: str, evidence: Mapping[str, Evidence]) -> Refusal:
    for stage, seen in evidence.items():
        for port, made in seen.outputs.items():
            if made.digest == digest and port in _best_effort(seen.uses):
                hint = f"no candidate of {stage} held its gates"
                return Refusal("MG410", f"{name} is only the best effort of {stage}", hint)
    for stage, seen in evidence.items():
        for port, read in sorted(seen.inputs.items()):
            if read == digest:
                message = f"{name} was only read, as {port} of {stage}: no gate is about it"
                return Refusal("MG405", message)
    message = f"{name} ({digest}) is not a file of this run"
    return Refusal("MG405", message, "its content differs from everything that was judged")


def _digests(artifact: str) -> tuple[str, ...]:
    """As inputs have them: a folder with all of its files, a model with the weights beside it."""
    if _DIGEST.fullmatch(artifact):
        return (artifact,)
    path = Path(artifact).absolute()  # never a URL
    cache = DigestCache(path / "no memory", 0)
    kinds: tuple[Input, ...] = (ModelInput(path=str(path)), DataInput(path=str(path)))
    if path.is_dir():
        kinds = kinds[1:]
    try:
        digests = [cache.located(kind, Path()).digest for kind in kinds]
    except (StageError, OSError, ValueError) as error:
        why = f"{artifact} cannot be read"
        if isinstance(error, StageError):
            why = error.message.replace(str(path), artifact)
        raise StoreError(why, hint="give paths of files, or sha256:DIGEST") from None
    return tuple(dict.fromkeys(digest for digest in digests if digest is not None))
