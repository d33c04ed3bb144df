"""DSSE: a signature over what a payload is and what it says (secure-systems-lab/dsse, v1)."""

import json
from dataclasses import dataclass
from typing import Any, Final

from mlgate.provenance.reasons import Refused
from mlgate.provenance.strict_json import Shape, to_base64

IN_TOTO: Final = "application/vnd.in-toto+json"
_FIELDS: Final = frozenset({"payload", "payloadType", "signatures"})


def pae(payload: bytes, payload_type: str = IN_TOTO) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True)
class Envelope:
    """A payload of in-toto and its one signature (ECDSA, DER)."""

    payload: bytes
    signature: bytes

    @property
    def signed(self) -> bytes:
        return pae(self.payload)

    def document(self) -> dict[str, Any]:
        """As JSON. The key id is empty: cosign and sigstore-go refuse any other."""
        return {
            "payload": to_base64(self.payload),
            "payloadType": IN_TOTO,
            "signatures": [{"keyid": "", "sig": to_base64(self.signature)}],
        }

    def canonical(self) -> bytes:
        """The document as Rekor hashes it: keys in order, no spaces."""
        return json.dumps(self.document(), sort_keys=True, separators=(",", ":")).encode()


def envelope(value: Any, hint: str | None) -> Envelope:
    """An envelope, read. `hint` is the bundle's, the one key id that may stand there."""
    written = Shape(value, "dsseEnvelope", "bundle-malformed")
    written.only(_FIELDS, "bundle-unknown-field")
    payload_type = written.of("payloadType", str)
    if payload_type != IN_TOTO:
        raise Refused("payload-type", f"the payload is {payload_type[:80]!r}, not {IN_TOTO}")
    signatures = written.each("signatures")
    if len(signatures) != 1:
        raise Refused("bundle-signature-count", f"{len(signatures)} signatures instead of one")
    signatures[0].only(frozenset({"sig", "keyid"}), "bundle-unknown-field")
    if signatures[0].maybe("keyid", str) not in (None, "", hint):
        raise Refused("bundle-key-id", "the signature's key id is not the bundle's hint")
    return Envelope(written.bytes_of("payload"), signatures[0].bytes_of("sig"))
