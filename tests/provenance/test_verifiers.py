"""What mlgate signs, in front of verifiers that other people wrote."""

import copy
import hashlib
import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlgate.provenance.audit_log import AuditLog
from mlgate.provenance.bundle import Bundle, sign
from mlgate.provenance.keys import LocalKey, development_key
from mlgate.provenance.model_signature import model_statement
from mlgate.provenance.statement import SUMMARY, Statement, Subject, test_result
from mlgate.provenance.tree import hashed
from tests.provenance.verifiers import run, sigstore_js, tool

pytestmark = pytest.mark.verifiers
_NOW = datetime(2026, 11, 28, tzinfo=UTC)


@dataclass(frozen=True)
class Signed:
    """A signed test result of a file, alone and logged."""

    folder: Path
    key: LocalKey
    bundle: Bundle

    @property
    def public(self) -> Path:
        return self.folder / "keys" / "development.pub"

    @property
    def plain(self) -> Path:
        return self.folder / "plain.sigstore.json"

    @property
    def logged(self) -> Path:
        return self.folder / "logged.sigstore.json"

    @property
    def root(self) -> Path:
        return self.folder / "log" / "trusted-root.json"

    @property
    def file(self) -> Path:
        return self.folder / "model.onnx"

    @property
    def altered(self) -> Path:
        document = self.bundle.document()
        payload = self.bundle.envelope.payload.replace(b"PASSED", b"FAILED")
        assert payload != self.bundle.envelope.payload
        altered = Bundle(
            type(self.bundle.envelope)(payload, self.bundle.envelope.signature),
            self.bundle.statement,
            self.bundle.hint,
        )
        assert altered.document() != document
        path = self.folder / "altered.sigstore.json"
        path.write_bytes(altered.data())
        return path


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    key = development_key(tmp_path / "keys")
    file = tmp_path / "model.onnx"
    file.write_bytes(b"model-int8")
    subject = Subject("model.onnx", hashed(file).digests())
    said = test_result([subject], result="PASSED", configuration=[], passed=["a"], warned=[])
    made = Signed(tmp_path, key, sign(said, key))
    made.plain.write_bytes(made.bundle.data())
    log = AuditLog(tmp_path / "log")
    log.decide({"outcome": "pass"}, _NOW)
    others = [sign(Statement((subject,), SUMMARY, {"number": n}), key) for n in range(3)]
    logged = log.log([*others[:2], made.bundle, others[2]], key.public, _NOW)[2]
    made.logged.write_bytes(logged.data())
    return made


def test_openssl_over_the_bytes_that_are_signed(signed: Signed) -> None:
    signature, data = signed.folder / "sig", signed.folder / "pae"
    signature.write_bytes(signed.bundle.envelope.signature)
    command = (tool("OPENSSL", "openssl"), "dgst", "-sha256", "-verify", signed.public)
    data.write_bytes(signed.bundle.envelope.signed)
    assert run(*command, "-signature", signature, data, home=signed.folder).returncode == 0
    data.write_bytes(signed.bundle.envelope.signed.replace(b"PASSED", b"FAILED"))
    assert run(*command, "-signature", signature, data, home=signed.folder).returncode == 1


def test_securesystemslib(signed: Signed) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib import dsse
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer._key import SSlibKey

    key = SSlibKey.from_crypto(load_pem_public_key(signed.key.public.pem))
    document = signed.bundle.envelope.document()
    document["signatures"][0]["keyid"] = key.keyid  # it finds keys by their id only
    assert dsse.Envelope.from_dict(copy.deepcopy(document)).verify([key], 1)
    document["payload"] = json.loads(signed.altered.read_bytes())["dsseEnvelope"]["payload"]
    with pytest.raises(VerificationError):
        dsse.Envelope.from_dict(copy.deepcopy(document)).verify([key], 1)


def test_sigstore_js(signed: Signed) -> None:
    found = sigstore_js(signed.plain, signed.public, home=signed.folder)
    assert found.returncode == 0, found.stderr
    assert sigstore_js(signed.altered, signed.public, home=signed.folder).returncode == 1


def test_sigstore_js_requires_our_log(signed: Signed) -> None:
    found = sigstore_js(signed.logged, signed.public, signed.root, home=signed.folder)
    assert found.returncode == 0, found.stderr
    assert sigstore_js(signed.plain, signed.public, signed.root, home=signed.folder).returncode == 1


def _cosign(
    name: str, signed: Signed, path: Path, *options: str | Path
) -> subprocess.CompletedProcess[str]:
    kind = "https://in-toto.io/attestation/test-result/v0.1"
    if name == "2.5.0":
        options = (*options, "--new-bundle-format", signed.file)  # it hashes the file itself
    else:
        digest = hashlib.sha256(signed.file.read_bytes()).hexdigest()
        options = (*options, "--digest", digest, "--digestAlg", "sha256")
    command = (tool(*_COSIGN[name]), "verify-blob-attestation", "--key", signed.public)
    return run(*command, "--bundle", path, "--type", kind, *options, home=signed.folder)


_COSIGN = {"3.1.1": ("COSIGN3", "cosign"), "2.5.0": ("COSIGN2", "cosign2")}


@pytest.mark.parametrize("version", _COSIGN)
def test_cosign(signed: Signed, version: str) -> None:
    empty = signed.folder / "empty-root.json"
    kind = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
    empty.write_text(json.dumps({"mediaType": kind}))
    options: list[str | Path] = ["--insecure-ignore-tlog", "--trusted-root", empty]
    found = _cosign(version, signed, signed.plain, *options)
    assert found.returncode == 0, found.stderr
    assert _cosign(version, signed, signed.altered, *options).returncode != 0


@pytest.mark.parametrize("version", _COSIGN)
def test_cosign_requires_our_log(signed: Signed, version: str) -> None:
    options: list[str | Path] = ["--trusted-root", signed.root]
    found = _cosign(version, signed, signed.logged, *options)
    assert found.returncode == 0, found.stderr
    assert _cosign(version, signed, signed.plain, *options).returncode != 0


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_model_signing(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "model"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "b").write_text("x")
    (folder / "a.txt").write_text("y")  # sorted otherwise by parts than by characters
    (folder / "w.onnx").write_bytes(b"w" * 3_000_000)
    model = folder if kind == "folder" else folder / "w.onnx"
    key = development_key(tmp_path / "keys")
    signature = tmp_path / "model.sig"
    signature.write_bytes(sign(model_statement(hashed(model)), key).data())
    command = (tool("MODEL_SIGNING", "model_signing"), "verify", "key", model)
    options = ("--signature", signature, "--public_key", tmp_path / "keys" / "development.pub")
    found = run(*command, *options, home=tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
    (folder / "w.onnx").write_bytes(b"w" * 2_999_999 + b"v")
    assert run(*command, *options, home=tmp_path).returncode != 0
