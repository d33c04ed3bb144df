"""Keys: EC P-256, because OpenSSF model signing, cosign and GitHub all take it.

A private key comes from a PEM file or the environment, encrypted or not, or from a token or key
service. A development key is made on first use; whoever checks for production refuses it.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from mlgate.errors import StageError
from mlgate.files import cannot_write
from mlgate.provenance.reasons import Refused

Kind = Literal["development", "file", "environment", "service"]
_LARGEST: Final = 64 << 10
_CURVE: Final = "secp256r1"


@dataclass(frozen=True)
class PublicKey:
    """The public half of a key, and the names that other tools know it by."""

    key: ec.EllipticCurvePublicKey

    @cached_property
    def pem(self) -> bytes:
        return self.key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @cached_property
    def der(self) -> bytes:
        return self.key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def hint(self) -> str:
        """As model-signing computes it: SHA-256 of the PEM, in hexadecimal."""
        return hashlib.sha256(self.pem).hexdigest()

    @property
    def log_id(self) -> bytes:
        """As transparency logs are known: SHA-256 of the DER."""
        return hashlib.sha256(self.der).digest()

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise `Refused` unless the key made that signature over that data."""
        try:
            decode_dss_signature(signature)
        except ValueError:
            message = "the signature is no ECDSA signature in DER"
            raise Refused("signature-malformed", message) from None
        try:
            self.key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            message = f"the signature is not by key {self.hint[:12]}"
            raise Refused("signature-invalid", message) from None


class Signer(Protocol):
    """What signs: it never shows its private key."""

    @property
    def public(self) -> PublicKey: ...

    @property
    def kind(self) -> Kind: ...

    def sign(self, data: bytes) -> bytes:
        """An ECDSA signature with SHA-256 over `data`, DER."""
        ...


@dataclass(frozen=True)
class LocalKey:
    """A private key that is at hand."""

    private: ec.EllipticCurvePrivateKey
    kind: Kind

    @cached_property
    def public(self) -> PublicKey:
        return PublicKey(self.private.public_key())

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data, ec.ECDSA(hashes.SHA256()))


def private_key(pem: bytes, passphrase: bytes | None, *, kind: Kind, what: str) -> LocalKey:
    """A private key in PEM. `what` names it in messages, which never show it."""
    try:
        loaded = serialization.load_pem_private_key(pem, passphrase)
    except TypeError:
        if passphrase is None:
            hint = "name the variable that holds its passphrase: passphrase: {env: NAME}"
            raise StageError(
                f"{what} is encrypted, and no passphrase is given", hint=hint
            ) from None
        hint = "take the passphrase out"
        raise StageError(f"{what} is not encrypted, and a passphrase is given", hint=hint) from None
    except (ValueError, UnsupportedAlgorithm):
        hint = "it has to be a private key in PEM (PKCS#8), and the passphrase has to be its own"
        raise StageError(f"{what} cannot be read as a key", hint=hint) from None
    if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.curve.name != _CURVE:
        hint = "make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
        raise StageError(f"{what} is not an EC key on the curve P-256", hint=hint)
    return LocalKey(loaded, kind)


def private_key_file(path: Path, passphrase: bytes | None) -> LocalKey:
    """A private key in a file."""
    return private_key(_content(path), passphrase, kind="file", what=f"the key {path.name}")


def public_key(pem: bytes, what: str) -> PublicKey:
    """A public key in PEM. Raises `StageError`."""
    try:
        loaded = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        hint = "write it so: openssl pkey -in KEY -pubout"
        raise StageError(f"{what} is no public key in PEM", hint=hint) from None
    if not isinstance(loaded, ec.EllipticCurvePublicKey) or loaded.curve.name != _CURVE:
        raise StageError(f"{what} is not an EC key on the curve P-256")
    return PublicKey(loaded)


def public_key_file(path: Path) -> PublicKey:
    """A public key in a file. Raises `StageError`."""
    return public_key(_content(path), f"the key {path.name}")


def development_key(folder: Path) -> LocalKey:
    """This checkout's own key, made on first use; readable by its owner alone."""
    return own_key(folder / "development.pem")


def own_key(path: Path) -> LocalKey:
    """The key in a file, made where there is none, and its public half beside it (`.pub`)."""
    if not path.is_file():
        _make(path)
    made = private_key(_content(path), None, kind="development", what=f"the key {path}")
    public = path.with_suffix(".pub")
    if not public.is_file() or public.read_bytes() != made.public.pem:
        _keep(public, made.public.pem, 0o644, replace=True)
    return made


def _make(path: Path) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _keep(path, pem, 0o600, replace=False)


def _keep(path: Path, data: bytes, mode: int, *, replace: bool) -> None:
    """Write a file whole, with that mode from the start. Another process may have been faster."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        with os.fdopen(opened, "wb") as file:
            file.write(data)
        if replace:
            temporary.replace(path)
            return
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            pass  # its key is as good as ours
        temporary.unlink()
    except OSError as error:
        raise cannot_write(path, error) from None


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise StageError(f"the key {path} is not there")
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise StageError(f"the key {path} cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise StageError(f"the key {path} is too large to be one")
    return data
