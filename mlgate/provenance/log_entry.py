"""Entries of transparency logs: what they say, and the proof that the log holds them.

Rekor v1 (`dsse` 0.0.1: a signed promise and the log's own time), and v2 (`hashedrekord` 0.0.2 over
the DSSE pre-authentication encoding: no promise and no time). Formats: sigstore/rekor,
sigstore/protobuf-specs; checkpoints: C2SP signed-note.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from mlgate.provenance import merkle
from mlgate.provenance.dsse import Envelope
from mlgate.provenance.keys import PublicKey, Signer
from mlgate.provenance.reasons import Refused
from mlgate.provenance.strict_json import Shape, from_base64, parsed, to_base64

_MARK: Final = "\N{EM DASH} "
ROOT_TYPE: Final = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class LogKey:
    """A transparency log that is trusted: its name (the host of its origin) and its public key."""

    name: str
    key: PublicKey

    def trusted_root(self, since: datetime) -> dict[str, Any]:
        """As cosign and sigstore-js read it: this log, and no other authority."""
        return {
            "mediaType": ROOT_TYPE,
            "tlogs": [
                {
                    "baseUrl": f"https://{self.name}",
                    "hashAlgorithm": "SHA2_256",
                    "publicKey": {
                        "rawBytes": to_base64(self.key.der),
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                        "validFor": {"start": f"{since:%Y-%m-%dT%H:%M:%SZ}"},
                    },
                    "logId": {"keyId": to_base64(self.key.log_id)},
                }
            ],
            "certificateAuthorities": [],
            "ctlogs": [],
            "timestampAuthorities": [],
        }


def body(envelope: Envelope, verifier: bytes) -> bytes:
    """What a Rekor v1 log keeps of an envelope. `verifier` is the public key's PEM."""
    return _canonical(
        {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": _hash(envelope.canonical()),
                "payloadHash": _hash(envelope.payload),
                "signatures": [
                    {
                        "signature": to_base64(envelope.signature),
                        "verifier": to_base64(verifier),
                    }
                ],
            },
        }
    )


def _hash(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def checkpoint(name: str, size: int, root: bytes, signer: Signer) -> str:
    """A signed tree head. The origin ends in a tree id: without one it would be a Rekor v2 log's."""
    note = f"{name} - 1\n{size}\n{to_base64(root)}\n"
    signature = signer.public.log_id[:4] + signer.sign(note.encode())
    return f"{note}\n{_MARK}{name} {to_base64(signature)}\n"


def entry(
    logged: bytes, index: int, leaves: Sequence[bytes], signer: Signer, *, name: str, at: datetime
) -> dict[str, Any]:
    """The `tlogEntry` of a bundle: leaf `index` of a log with those leaf hashes."""
    seconds = int(at.timestamp())
    log_id = signer.public.log_id
    root = merkle.root(leaves)
    return {
        "logIndex": str(index),
        "logId": {"keyId": to_base64(log_id)},
        "kindVersion": {"kind": "dsse", "version": "0.0.1"},
        "integratedTime": str(seconds),
        "inclusionPromise": {
            "signedEntryTimestamp": to_base64(signer.sign(_promise(logged, seconds, log_id, index)))
        },
        "inclusionProof": {
            "logIndex": str(index),
            "rootHash": to_base64(root),
            "treeSize": str(len(leaves)),
            "hashes": [to_base64(step) for step in merkle.inclusion(index, leaves)],
            "checkpoint": {"envelope": checkpoint(name, len(leaves), root, signer)},
        },
        "canonicalizedBody": to_base64(logged),
    }


def _promise(logged: bytes, seconds: int, log_id: bytes, index: int) -> bytes:
    return _canonical(
        {
            "body": to_base64(logged),
            "integratedTime": seconds,
            "logID": log_id.hex(),
            "logIndex": index,
        }
    )


@dataclass(frozen=True)
class Checkpoint:
    """A tree head whose signature was verified."""

    size: int
    root: bytes


def read_checkpoint(text: str, log: LogKey) -> Checkpoint:
    """A checkpoint of a trusted log. Raises `Refused`."""
    note, _, signatures = text.partition("\n\n")
    lines = note.split("\n")
    origin = lines[0].split(" - ")[0] if lines else ""
    if len(lines) < 3 or origin != log.name or not lines[1].isascii() or not lines[1].isdigit():
        raise Refused("log-checkpoint", f"the checkpoint is none of {log.name}")
    signed = [line for line in signatures.split("\n") if line.startswith(f"{_MARK}{log.name} ")]
    for line in signed:
        signature = from_base64(line.rsplit(" ", 1)[1], "the checkpoint's signature")
        if signature[:4] != log.key.log_id[:4]:
            continue
        try:
            log.key.verify(signature[4:], f"{note}\n".encode())
        except Refused:
            continue
        return Checkpoint(int(lines[1][:19]), from_base64(lines[2], "the checkpoint's root"))
    raise Refused("log-checkpoint", f"the checkpoint is not signed by {log.name}")


@dataclass(frozen=True)
class Logged:
    """An entry that was verified. `at` is the log's own clock; None: it has none (Rekor v2)."""

    index: int
    at: datetime | None
    checkpoint: Checkpoint


def verify_entry(
    written: Mapping[str, Any],
    envelope: Envelope,
    signer: PublicKey | bytes,
    logs: Sequence[LogKey],
) -> Logged:
    """Verify one entry of a bundle. `signer` is the key, or the PEM of a certificate.

    Raises `Refused`.
    """
    shape = Shape(dict(written), "the log entry", "log-malformed")
    log = _log(shape.inner("logId").bytes_of("keyId"), logs)
    logged = shape.bytes_of("canonicalizedBody")
    proof = shape.inner("inclusionProof")
    index = proof.count_of("logIndex")
    if shape.count_of("logIndex") != index:
        # A sharded Rekor counts over all its shards; a log of one tree does not.
        raise Refused("log-index", "the entry names another index than its proof")
    head = read_checkpoint(proof.inner("checkpoint").of("envelope", str), log)
    _verify_proof(proof, index, logged, head)
    kind = shape.inner("kindVersion")
    version = (kind.of("kind", str), kind.of("version", str))
    verifier = signer.pem if isinstance(signer, PublicKey) else signer
    if version == ("dsse", "0.0.1"):
        _same_body(logged, envelope, verifier)
        return Logged(index, _promised(shape, logged, index, log), head)
    if version == ("hashedrekord", "0.0.2"):
        _same_hashedrekord(logged, envelope, signer)
        return Logged(index, None, head)
    raise Refused(
        "log-malformed", f"entries of kind {version[0][:40]} {version[1][:20]} are not read"
    )


def _log(key_id: bytes, logs: Sequence[LogKey]) -> LogKey:
    for log in logs:
        if log.key.log_id == key_id:
            return log
    raise Refused("log-unknown", "the entry is of a log that is not trusted")


def _verify_proof(proof: Shape, index: int, logged: bytes, head: Checkpoint) -> None:
    size = proof.count_of("treeSize")
    root = proof.bytes_of("rootHash")
    if (size, root) != (head.size, head.root):
        raise Refused("log-checkpoint", "the proof is of another tree than the checkpoint")
    hashes = proof.of("hashes", list) if "hashes" in proof.value else []
    if not all(isinstance(step, str) for step in hashes) or len(hashes) > 64:
        raise Refused("log-malformed", "the proof's hashes are no list of hashes")
    steps = [from_base64(step, "a hash of the proof") for step in hashes]
    if merkle.included(index, size, merkle.leaf(logged), steps) != root:
        raise Refused("log-proof", "the entry is not in the tree that the log signed")


def _same_body(logged: bytes, envelope: Envelope, verifier: bytes) -> None:
    parsed(logged)
    if logged != body(envelope, verifier):
        raise Refused("log-entry-other", "the log entry is of another envelope, signature or key")


def _promised(shape: Shape, logged: bytes, index: int, log: LogKey) -> datetime:
    if "inclusionPromise" not in shape.value:
        raise Refused("log-promise", "the log's promise is missing, and with it the time")
    signature = shape.inner("inclusionPromise").bytes_of("signedEntryTimestamp")
    seconds = shape.count_of("integratedTime")
    try:
        log.key.verify(signature, _promise(logged, seconds, log.key.log_id, index))
    except Refused:
        raise Refused("log-promise", "the log's promise is not signed by the log") from None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise Refused("log-malformed", "the log's time is none") from None


def _same_hashedrekord(logged: bytes, envelope: Envelope, signer: PublicKey | bytes) -> None:
    """Rekor v2: digest of the PAE, the envelope's signature, the signer's key or certificate."""
    written = Shape(parsed(logged), "the log's body", "log-malformed")
    said = written.inner("spec").inner("hashedRekordV002")
    data = said.inner("data")
    signature = said.inner("signature")
    verifier = signature.inner("verifier")
    wanted = to_base64(hashlib.sha256(envelope.signed).digest())
    holder = verifier.inner("publicKey" if isinstance(signer, PublicKey) else "x509Certificate")
    raw = signer.der if isinstance(signer, PublicKey) else _der(signer)
    same = (
        data.of("algorithm", str) == "SHA2_256"
        and data.of("digest", str) == wanted
        and signature.bytes_of("content") == envelope.signature
        and holder.bytes_of("rawBytes") == raw
    )
    if not same:
        raise Refused("log-entry-other", "the log entry is of another envelope, signature or key")


def _der(pem: bytes) -> bytes:
    lines = [line for line in pem.decode("ascii").split("\n") if line and "-----" not in line]
    return base64.b64decode("".join(lines))
