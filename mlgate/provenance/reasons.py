"""Every reason for which provenance is refused: stable names, explained."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mlgate.errors import MlgateError

# What could not be looked at is not what was found wrong: exit code 3, not 1.
COULD_NOT_CHECK: Final = frozenset({"attestation-not-found", "artifact-unreadable", "log-absent"})

REASONS: Final = {
    # How bytes are written
    "json-too-large": "The document is larger than the 16 MiB that verifiers agree to read.",
    "json-not-utf8": "JSON is UTF-8.",
    "json-byte-order-mark": "Some readers skip a byte order mark and some do not.",
    "json-malformed": "The document is not JSON.",
    "json-trailing-data": "Something follows the JSON document.",
    "json-too-deep": "The document is nested deeper than readers agree to follow.",
    "json-not-a-number": "NaN and infinity are no JSON.",
    "json-duplicate-key": "Readers disagree about which of two equal keys counts.",
    "json-case-twins": "Keys that differ only in case are one key to some readers.",
    "base64-not-canonical": "The same bytes have one base64 text: standard alphabet, padded.",
    # Bundle and envelope
    "bundle-malformed": "A part of the sigstore bundle is missing or of another type.",
    "bundle-unknown-field": "The bundle holds a field that the format does not have.",
    "bundle-media-type": "Only sigstore bundles v0.3 are read.",
    "bundle-signature-count": "A bundle holds exactly one signature.",
    "bundle-carries-key": "A key inside a bundle proves nothing: whoever wrote one wrote the other.",
    "bundle-key-id": "The envelope's key id is not empty and not the bundle's hint.",
    "payload-type": "The envelope holds something other than an in-toto statement.",
    "signature-invalid": "No trusted key made this signature over these bytes.",
    "signature-malformed": "The signature is no ECDSA signature in DER.",
    # Whom one trusts
    "signer-unknown": "The signer is none that the policy names.",
    "signer-development": "A development key is anybody's; the policy does not take it.",
    "signer-revoked": "The key was revoked.",
    "signer-not-yet-valid": "The key was not yet valid when this was signed.",
    "signer-expired": "The key was no longer valid when this was signed.",
    # Statements
    "statement-malformed": "A part of the in-toto statement is missing or of another type.",
    "statement-type": "Only in-toto Statement v1 is read.",
    "subject-missing": "The statement is about nothing.",
    "subject-duplicate": "Two subjects have one name.",
    "digest-malformed": "A digest is not lower-case hexadecimal of its length.",
    "digest-weak": "A subject has no digest that is strong enough to stand for it.",
    "predicate-unknown": "The predicate is of a type or major version that this version knows not.",
    "predicate-malformed": "A part of the predicate is missing or of another type.",
    "test-failed": "A test result in the chain is not a pass.",
    "test-missing": "A gate that the spec requires is not among the passed tests.",
    # The chain
    "attestation-not-found": "No attestation was found: none was made, or a copy left them behind.",
    "attestation-missing": "The summary names an attestation that is not there.",
    "attestation-unlisted": "An attestation lies there that the summary does not name.",
    "attestation-altered": "An attestation is not the one that the summary names.",
    "chain-broken": "What one step read is not what the step before it made.",
    "predicate-required": "The policy requires a kind of statement that is not there.",
    "summary-failed": "The verification summary does not say PASSED.",
    "summary-verdict": "The summary is of another verdict.",
    "verifier-unknown": "The summary was made by a verifier that the policy does not name.",
    "policy-changed": "What was decided was decided by another spec than the one that is pinned.",
    "resource-other": "The summary is for another target.",
    "too-old": "The summary is older than the policy allows.",
    "from-the-future": "The summary was made later than now: a clock is wrong.",
    "release-older": "An older release than the last one that was seen.",
    "subject-other": "No statement is about this artifact: its content differs.",
    # The model's own signature, and files
    "model-predicate": "The signature is not an OpenSSF model signature v1.",
    "model-manifest-malformed": "A part of the model's manifest is missing or of another type.",
    "model-method": "The manifest is serialised by a method that is not read.",
    "model-root-digest": "The manifest's root digest is not that of its files.",
    "model-ignores": "The signature leaves files out, so it does not say what the model is.",
    "model-unsorted": "The manifest's files are not in order, so its root is ambiguous.",
    "path-absolute": "A manifest names an absolute path.",
    "path-escapes": "A manifest names a path that leaves its folder.",
    "path-backslash": "A path with a backslash is two paths, depending on the system.",
    "path-control": "A path holds a control character.",
    "path-empty-part": "A path has an empty part or a dot: it is written in two ways.",
    "path-not-utf8": "A name is not UTF-8.",
    "path-not-normal": "A name is not in Unicode normal form C: two spellings, one name.",
    "path-case-twins": "Two names differ only in case: one file on some systems.",
    "path-reserved": "A name that Windows keeps for devices, or cannot store.",
    "path-duplicate": "A manifest names a file twice.",
    "path-too-long": "A path is longer than systems allow.",
    "too-many-files": "There are more files than a signature is made for.",
    "tree-link": "A symbolic link: what it leads to could be exchanged.",
    "tree-special": "A pipe, socket or device among the files.",
    "tree-empty-folder": "An empty folder, which no signature covers.",
    "file-missing": "A file that was signed is not there.",
    "file-unsigned": "A file lies there that was not signed.",
    "file-altered": "A file's content is not what was signed.",
    "file-changed": "A file changed while it was read.",
    "artifact-unreadable": "The artifact is not there or cannot be read.",
    # The log
    "log-absent": "The policy requires a log entry, and the bundle has none.",
    "log-unknown": "The entry is of a log that the policy does not name.",
    "log-malformed": "A part of the log entry is missing or of another type.",
    "log-entry-other": "The log entry is about another envelope, signature or key.",
    "log-proof": "The entry is not in the tree that the log signed.",
    "log-index": "The entry's place in the log is not the one that is proven.",
    "log-checkpoint": "The log's checkpoint is not signed by the log, or is of another tree.",
    "log-promise": "The log's promise for the entry is not signed by the log.",
    "log-time": "Nothing trusted says when this was signed.",
    "log-edited": "An entry of the log is not what its checkpoint says.",
    "log-truncated": "Entries of the log are gone.",
    "log-rewound": "The log is older than a checkpoint that was seen before.",
    "log-history": "The log's history is another than the one that was seen before.",
}


class Refused(MlgateError):
    """Provenance that does not hold. `reason` is stable: a key of `REASONS`."""

    exit_code = 1

    def __init__(self, reason: str, message: str, *, hint: str | None = None) -> None:
        assert reason in REASONS, reason
        super().__init__(message, hint=hint)
        self.reason = reason

    @property
    def could_not_check(self) -> bool:
        """Nothing was found wrong: what had to be looked at is not there."""
        return self.reason in COULD_NOT_CHECK


@contextmanager
def within(name: str) -> Iterator[None]:
    """Says of a `Refused` raised in here in which document it was found."""
    try:
        yield
    except Refused as refused:
        refused.message = f"{name}: {refused.message}"
        raise
