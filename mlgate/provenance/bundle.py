"""A sigstore bundle v0.3: one envelope, what it was signed with, and where that was logged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlgate.provenance.dsse import Envelope, envelope, pae
from mlgate.provenance.keys import Signer
from mlgate.provenance.reasons import Refused
from mlgate.provenance.statement import Statement, statement
from mlgate.provenance.strict_json import Shape, parsed, to_base64

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_FIELDS: Final = frozenset({"mediaType", "verificationMaterial", "dsseEnvelope"})
_MATERIAL: Final = frozenset(
    {"publicKey", "certificate", "tlogEntries", "timestampVerificationData"}
)
_KEYS_INSIDE: Final = frozenset({"key", "rawBytes", "pem", "publicKeyPem", "keyDetails"})


@dataclass(frozen=True)
class Bundle:
    """A bundle as it was read. `hint` is what it says of its key; nobody vouches for that.

    `certificate` is DER. `entries` are those of transparency logs, `stamps` RFC 3161 tokens: both
    unchecked.
    """

    envelope: Envelope
    statement: Statement
    hint: str | None = None
    certificate: bytes | None = None
    entries: tuple[dict[str, Any], ...] = ()
    stamps: tuple[bytes, ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON."""
        material: dict[str, Any] = {"tlogEntries": list(self.entries)}
        if self.certificate is not None:
            material["certificate"] = {"rawBytes": to_base64(self.certificate)}
        else:
            material["publicKey"] = {"hint": self.hint} if self.hint else {}
        if self.stamps:
            stamps = [{"signedTimestamp": to_base64(stamp)} for stamp in self.stamps]
            material["timestampVerificationData"] = {"rfc3161Timestamps": stamps}
        return {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": material,
            "dsseEnvelope": self.envelope.document(),
        }

    def data(self) -> bytes:
        """The file's bytes."""
        return json.dumps(self.document(), sort_keys=True, separators=(",", ":")).encode() + b"\n"


def sign(said: Statement, signer: Signer) -> Bundle:
    """A statement, signed."""
    payload = said.payload()
    return Bundle(
        Envelope(payload, signer.sign(pae(payload))),
        said,
        hint=signer.public.hint,
    )


def bundle(data: bytes) -> Bundle:
    """A file, read as a bundle; nothing is verified. Raises `Refused`."""
    written = Shape(parsed(data), "the bundle", "bundle-malformed")
    written.only(_FIELDS, "bundle-unknown-field")
    media_type = written.of("mediaType", str)
    if media_type != MEDIA_TYPE:
        raise Refused("bundle-media-type", f"media type {media_type[:80]!r} is not {MEDIA_TYPE}")
    material = written.inner("verificationMaterial")
    material.only(_MATERIAL, "bundle-unknown-field")
    if ("publicKey" in material.value) == ("certificate" in material.value):
        raise Refused("bundle-malformed", "the bundle names neither or both of key and certificate")
    hint, certificate = _signer(material)
    inner = envelope(written.value.get("dsseEnvelope"), hint)
    return Bundle(
        envelope=inner,
        statement=statement(inner.payload),
        hint=hint,
        certificate=certificate,
        entries=tuple(entry.value for entry in _listed(material, "tlogEntries")),
        stamps=_stamps(material),
    )


def _signer(material: Shape) -> tuple[str | None, bytes | None]:
    if "certificate" in material.value:
        return None, material.inner("certificate").bytes_of("rawBytes")
    public = material.inner("publicKey")
    if _KEYS_INSIDE & set(public.value):
        raise Refused("bundle-carries-key", "the bundle carries its own key, which proves nothing")
    public.only(frozenset({"hint"}), "bundle-unknown-field")
    return public.maybe("hint", str), None


def _listed(material: Shape, name: str) -> Sequence[Shape]:
    return material.each(name) if name in material.value else ()


def _stamps(material: Shape) -> tuple[bytes, ...]:
    if "timestampVerificationData" not in material.value:
        return ()
    data = material.inner("timestampVerificationData")
    data.only(frozenset({"rfc3161Timestamps"}), "bundle-unknown-field")
    return tuple(stamp.bytes_of("signedTimestamp") for stamp in _listed(data, "rfc3161Timestamps"))
