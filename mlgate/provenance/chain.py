"""The whole chain of a release: every attestation, every link between them, and the summary.

The summary names the others by digest; each of them names what it is about and what that was made
of by digest. Nothing is believed because of its file's name or place.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mlgate.provenance.bundle import Bundle, bundle
from mlgate.provenance.log_entry import Logged, verify_entry
from mlgate.provenance.reasons import Refused, within
from mlgate.provenance.statement import (
    CYCLONEDX,
    MODEL_SIGNATURE,
    PROVENANCE,
    SUMMARY,
    TEST_RESULT,
    DigestSet,
    Statement,
    agree,
    digest_set,
    resources,
)
from mlgate.provenance.strict_json import Shape
from mlgate.provenance.trust import Holder, Trust

# Clocks of machines differ by so much.
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Attested:
    """One attestation whose signature was verified. `at`: by a log's clock, if any."""

    name: str
    digest: str
    statement: Statement
    holder: Holder
    logged: Logged | None


@dataclass(frozen=True)
class Chain:
    """A chain that holds. `edges` counts links by digest, `release` is the release's number."""

    attestations: tuple[Attested, ...]
    summary: Attested
    edges: int
    verified_at: datetime
    release: int | None


def attested(name: str, data: bytes, trust: Trust) -> Attested:
    """One bundle, verified: format, signature, and the log where it is in one. Raises `Refused`."""
    with within(name):
        signed = bundle(data)
        if signed.certificate is not None:
            raise Refused("signer-unknown", "signed with a certificate, and keys are trusted")
        holder = _signer(signed, trust)
        logged = None
        if signed.entries and trust.logs:
            logged = verify_entry(signed.entries[0], signed.envelope, holder.key, trust.logs)
            if logged.at is None:
                message = "a Rekor v2 entry has no time, and time stamps are not read yet"
                raise Refused("log-time", message)
        elif trust.log_required:
            raise Refused("log-absent", "there is no log entry, and the policy requires one")
        return Attested(name, hashlib.sha256(data).hexdigest(), signed.statement, holder, logged)


def _signer(signed: Bundle, trust: Trust) -> Holder:
    refused: Refused | None = None
    for holder in trust.signer(signed.hint):
        try:
            holder.key.verify(signed.envelope.signature, signed.envelope.signed)
        except Refused as one:
            refused = one
            continue
        return holder
    assert refused is not None
    raise refused


def verify_chain(
    bundles: Mapping[str, bytes],
    trust: Trust,
    *,
    now: datetime,
    artifacts: Sequence[tuple[str, DigestSet]] = (),
    verdict: str | None = None,
) -> Chain:
    """A release's bundles, by file name, verified as a whole. Raises `Refused` for the first flaw.

    `artifacts` have to be what it is about. `verdict` is the digest of verdict.json at hand.
    """
    if not bundles:
        hint = "sign it: mlgate sign; or copy it with its attestations"
        raise Refused("attestation-not-found", "there are no attestations", hint=hint)
    found = [attested(name, data, trust) for name, data in sorted(bundles.items())]
    summaries = [one for one in found if one.statement.predicate_type == SUMMARY]
    if len(summaries) != 1:
        message = f"{len(summaries)} verification summaries instead of one"
        raise Refused("attestation-not-found", message)
    summary = summaries[0]
    others = [one for one in found if one is not summary]
    with within(summary.name):
        at, release = _verify_summary(summary, trust, now, verdict)
    for one in found:
        with within(one.name):
            moment = one.logged.at if one.logged and one.logged.at else at
            one.holder.refuse_at(moment, development=trust.development)
    _verify_listed(summary, others)
    _verify_required(others, trust)
    edges = _verify_edges(others)
    for one in others:
        with within(one.name):
            _verify_test(one.statement)
    for name, digests in artifacts:
        _verify_artifact(name, digests, summary)
    return Chain(tuple(found), summary, edges, at, release)


def _verify_summary(
    summary: Attested, trust: Trust, now: datetime, verdict: str | None
) -> tuple[datetime, int | None]:
    """When it was verified, and the release's number."""
    said = Shape(summary.statement.predicate, "the summary", "predicate-malformed")
    if said.of("verificationResult", str) != "PASSED":
        raise Refused("summary-failed", f"says {said.of('verificationResult', str)[:40]}")
    verifier = said.inner("verifier").of("id", str)
    if verifier != trust.verifier:
        raise Refused("verifier-unknown", f"was made by {verifier[:120]}")
    policy = said.inner("policy")
    spec = digest_set(policy.of("digest", dict), "policy.digest")
    if trust.spec is not None and not agree(spec, {"sha256": trust.spec.removeprefix("sha256:")}):
        raise Refused("policy-changed", "was judged by another spec than the policy pins")
    target = said.of("resourceUri", str)
    if trust.target is not None and target != trust.target:
        raise Refused("resource-other", f"is for {target[:120]}, not {trust.target}")
    if verdict is not None and said.of("mlgateVerdict", str) != verdict:
        raise Refused("summary-verdict", "is of another verdict than the one at hand")
    at = _moment(said.of("timeVerified", str))
    if at > now + _SKEW:
        raise Refused("from-the-future", f"was made at {at:%Y-%m-%d %H:%M}, which is yet to come")
    if trust.max_age is not None and now - at > trust.max_age:
        raise Refused("too-old", f"was made at {at:%Y-%m-%d %H:%M}", hint="check and sign again")
    release = said.maybe("mlgateRelease", int)
    if trust.release_at_least is not None and (release or 0) < trust.release_at_least:
        message = f"is release {release or 0}, and {trust.release_at_least} was seen before"
        raise Refused("release-older", message)
    return at, release


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused("predicate-malformed", "timeVerified is no time") from None
    if moment.tzinfo is None:
        raise Refused("predicate-malformed", "timeVerified has no time zone")
    return moment.astimezone(UTC)


def _verify_listed(summary: Attested, others: Sequence[Attested]) -> None:
    """The summary names exactly the attestations that are there, by the digest of each file."""
    said = Shape(summary.statement.predicate, "the summary", "predicate-malformed")
    listed = {
        item.of("uri", str): digest_set(item.of("digest", dict), "inputAttestations.digest")
        for item in said.each("inputAttestations")
    }
    there = {one.name: one.digest for one in others}
    for name, digests in sorted(listed.items()):
        if name not in there:
            raise Refused("attestation-missing", f"{name} is not there, and the summary names it")
        if not agree(digests, {"sha256": there[name]}):
            raise Refused("attestation-altered", f"{name} is not the one that the summary names")
    for name in sorted(set(there) - set(listed)):
        raise Refused("attestation-unlisted", f"{name} is there, and the summary does not name it")


def _verify_required(others: Sequence[Attested], trust: Trust) -> None:
    kinds = {one.statement.kind for one in others}
    for kind in trust.require:
        if kind not in kinds:
            raise Refused("predicate-required", f"there is no {kind}, which the policy requires")


def _verify_edges(others: Sequence[Attested]) -> int:
    """Each thing has one digest throughout, and what was made here was made by a statement here."""
    known: dict[str, DigestSet] = {}
    edges = 0
    for one in others:
        for name, digests in _made(one.statement):
            if name in known and not agree(known[name], digests):
                raise Refused("chain-broken", f"{one.name}: {name} has another digest elsewhere")
            known[name] = {**known.get(name, {}), **digests}
    for one in others:
        for name, digests in _used(one.statement):
            if name not in known:
                if name.count(":") == 0:  # `stage.output`: something that a stage here made
                    message = f"{one.name}: nothing says how {name} was made"
                    raise Refused("chain-broken", message)
                known[name] = digests
                continue
            if not agree(known[name], digests):
                raise Refused("chain-broken", f"{one.name}: {name} is another than was made")
            edges += 1
    return edges


def _made(said: Statement) -> Iterator[tuple[str, DigestSet]]:
    if said.predicate_type == PROVENANCE:
        for subject in said.subjects:
            yield subject.name, subject.digest


def _used(said: Statement) -> Iterator[tuple[str, DigestSet]]:
    if said.predicate_type == PROVENANCE:
        built = Shape(said.predicate, "the provenance", "predicate-malformed")
        yield from resources(built.inner("buildDefinition"), "resolvedDependencies")
    elif said.predicate_type == TEST_RESULT:
        for subject in said.subjects:
            yield subject.name, subject.digest
    elif said.predicate_type not in (MODEL_SIGNATURE, CYCLONEDX, SUMMARY):
        raise Refused("predicate-unknown", f"{said.predicate_type} is not known")


def _verify_test(said: Statement) -> None:
    if said.predicate_type != TEST_RESULT:
        return
    result = Shape(said.predicate, "the test result", "predicate-malformed")
    if result.of("result", str) not in ("PASSED", "WARNED") or result.of("failedTests", list):
        raise Refused("test-failed", f"the result is {result.of('result', str)[:40]}")
    if not result.of("passedTests", list) and not result.of("warnedTests", list):
        raise Refused("test-missing", "no test is named that passed")


def _verify_artifact(name: str, digests: DigestSet, summary: Attested) -> None:
    for subject in summary.statement.subjects:
        if agree(subject.digest, digests):
            return
    raise Refused("subject-other", f"{name} is nothing that this release is about")
