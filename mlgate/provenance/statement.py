"""in-toto statements: what is said, of which bytes.

Statement v1, SLSA provenance v1, test-result v0.1 and verification summary v1 (in-toto/attestation
spec/v1, spec/predicates). A statement is about subjects, known by their digests alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlgate.evidence import canonical
from mlgate.provenance.reasons import Refused
from mlgate.provenance.strict_json import Shape, hex_digest, parsed

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PROVENANCE: Final = "https://slsa.dev/provenance/v1"
TEST_RESULT: Final = "https://in-toto.io/attestation/test-result/v0.1"
SUMMARY: Final = "https://slsa.dev/verification_summary/v1"
MODEL_SIGNATURE: Final = "https://model_signing/signature/v1.0"
CYCLONEDX: Final = "https://cyclonedx.org/bom"
# Short names, which files and policies use.
KINDS: Final = {
    PROVENANCE: "provenance",
    TEST_RESULT: "test-result",
    SUMMARY: "summary",
    MODEL_SIGNATURE: "model-signature",
    CYCLONEDX: "bom",
}
# A digest set needs one of these; the others may stand beside it.
_STRONG: Final = {"sha256": 32, "sha384": 48, "sha512": 64}
_OWN: Final = {"dirHash": 32, "mlgateTree": 32, "mlgateList": 32}
_FIELDS: Final = frozenset({"_type", "subject", "predicateType", "predicate"})

DigestSet = Mapping[str, str]


@dataclass(frozen=True)
class Subject:
    """Something that a statement is about."""

    name: str
    digest: DigestSet

    def document(self) -> dict[str, Any]:
        return {"name": self.name, "digest": dict(self.digest)}


@dataclass(frozen=True)
class Statement:
    """A claim of a type about subjects."""

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return KINDS[self.predicate_type]

    def payload(self) -> bytes:
        """Canonical JSON (RFC 8785)."""
        return canonical(
            {
                "_type": STATEMENT,
                "subject": [subject.document() for subject in self.subjects],
                "predicateType": self.predicate_type,
                "predicate": self.predicate,
            }
        )


def statement(payload: bytes) -> Statement:
    """A payload, read as a statement of a kind that is known. Raises `Refused`."""
    written = Shape(parsed(payload), "the statement", "statement-malformed")
    written.only(_FIELDS, "statement-malformed")
    kind = written.of("_type", str)
    if kind != STATEMENT:
        raise Refused("statement-type", f"the statement is of type {kind[:80]!r}")
    predicate_type = written.of("predicateType", str)
    if predicate_type not in KINDS:
        raise Refused("predicate-unknown", f"predicate {predicate_type[:120]!r} is not known")
    subjects = tuple(_subject(item) for item in written.each("subject"))
    if not subjects:
        raise Refused("subject-missing", "the statement has no subject")
    names = [subject.name for subject in subjects]
    if len(set(names)) != len(names):
        raise Refused("subject-duplicate", "two subjects have one name")
    return Statement(subjects, predicate_type, written.of("predicate", dict))


def _subject(written: Shape) -> Subject:
    return Subject(
        written.of("name", str), digest_set(written.of("digest", dict), f"{written.what}.digest")
    )


def digest_set(written: Mapping[str, Any], what: str) -> dict[str, str]:
    """Digests by algorithm, of which one at least is strong. Raises `Refused`."""
    sizes = {**_STRONG, **_OWN}
    found: dict[str, str] = {}
    for name, value in written.items():
        if name in sizes:
            found[name] = hex_digest(value, f"{what}.{name}", size=sizes[name])
        elif not isinstance(value, str):
            raise Refused("digest-malformed", f"{what}.{name[:40]} is no text")
    if not found:
        raise Refused("digest-weak", f"{what} has no digest of SHA-256 or stronger")
    return found


def agree(one: DigestSet, other: DigestSet) -> bool:
    """Whether two digest sets stand for the same bytes: they share one, and none differs."""
    shared = set(one) & set(other)
    return bool(shared) and all(one[name] == other[name] for name in shared)


def resource(name: str, digest: DigestSet) -> dict[str, Any]:
    """An in-toto resource descriptor."""
    return {"name": name, "digest": dict(digest)}


def resources(written: Shape, name: str) -> list[tuple[str, dict[str, str]]]:
    """Names and digests of the descriptors in a list of a predicate. Raises `Refused`."""
    return [
        (item.of("name", str), digest_set(item.of("digest", dict), f"{item.what}.digest"))
        for item in written.each(name)
    ]


def test_result(
    subjects: Sequence[Subject],
    *,
    result: str,
    configuration: Sequence[Mapping[str, Any]],
    passed: Sequence[str],
    warned: Sequence[str],
) -> Statement:
    """What gates said of subjects. `result`: PASSED or WARNED."""
    predicate = {
        "result": result,
        "configuration": list(configuration),
        "passedTests": list(passed),
        "warnedTests": list(warned),
        "failedTests": [],
    }
    return Statement(tuple(subjects), TEST_RESULT, predicate)


# pytest would take it for a test.
test_result.__test__ = False  # type: ignore[attr-defined]
