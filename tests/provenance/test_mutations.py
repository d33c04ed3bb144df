"""Named ways to tamper with what was signed: each is refused, for a reason of its own."""

import base64
import copy
import json
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlgate.provenance.audit_log import NAME, AuditLog
from mlgate.provenance.bundle import Bundle, bundle, sign
from mlgate.provenance.keys import LocalKey, development_key
from mlgate.provenance.log_entry import LogKey, verify_entry
from mlgate.provenance.model_signature import model_statement, verify_model
from mlgate.provenance.reasons import Refused
from mlgate.provenance.statement import SUMMARY, Statement, Subject
from mlgate.provenance.tree import hashed, refuse_path, refuse_twins

_NOW = datetime(2026, 11, 28, tzinfo=UTC)
Document = dict[str, Any]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> LocalKey:
    return development_key(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def document(key: LocalKey) -> Document:
    said = Statement((Subject("m", {"sha256": "ab" * 32}),), SUMMARY, {"a": 1})
    return sign(said, key).document()


def _read(document: Document | bytes, key: LocalKey) -> Bundle:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    found = bundle(data)
    key.public.verify(found.envelope.signature, found.envelope.signed)
    return found


def _payload(document: Document, change: Callable[[bytes], bytes]) -> None:
    envelope = document["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    envelope["payload"] = base64.b64encode(change(payload)).decode()


def _signature(document: Document) -> Document:
    found: Document = document["dsseEnvelope"]["signatures"][0]
    return found


def _flip(document: Document) -> None:
    data = bytearray(base64.b64decode(_signature(document)["sig"]))
    data[-1] ^= 1
    _signature(document)["sig"] = base64.b64encode(bytes(data)).decode()


def _replace(old: bytes, new: bytes) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        _payload(document, lambda payload: payload.replace(old, new))

    return change


def _set(*path: str, to: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        place = document
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = to

    return change


def _material(**members: Any) -> Callable[[Document], None]:
    return lambda document: document["verificationMaterial"].update(members)


# What each is called, how it is made, and the one reason for which it is refused.
_BUNDLE: dict[str, tuple[Callable[[Document], object], str]] = {
    "payload-edited": (_replace(b'"a":1', b'"a":2'), "signature-invalid"),
    "signature-flipped": (_flip, "signature-invalid"),
    "signature-garbage": (lambda d: _signature(d).update(sig="AAAA"), "signature-malformed"),
    "signature-none": (_set("dsseEnvelope", "signatures", to=[]), "bundle-signature-count"),
    "signature-two": (
        lambda d: d["dsseEnvelope"]["signatures"].append({"sig": "AAAA", "keyid": ""}),
        "bundle-signature-count",
    ),
    "key-id-other": (lambda d: _signature(d).update(keyid="x"), "bundle-key-id"),
    "payload-type": (_set("dsseEnvelope", "payloadType", to="text/plain"), "payload-type"),
    "media-type-old": (
        _set("mediaType", to="application/vnd.dev.sigstore.bundle+json;version=0.1"),
        "bundle-media-type",
    ),
    "field-unknown": (_set("extra", to=1), "bundle-unknown-field"),
    "field-unknown-inside": (_material(extra=1), "bundle-unknown-field"),
    "key-inside": (_material(publicKey={"rawBytes": "AAAA"}), "bundle-carries-key"),
    "key-and-certificate": (_material(certificate={"rawBytes": "AAAA"}), "bundle-malformed"),
    "envelope-missing": (lambda d: d.pop("dsseEnvelope"), "bundle-malformed"),
    "base64-unpadded": (
        lambda d: d["dsseEnvelope"].update(payload=d["dsseEnvelope"]["payload"].rstrip("=") + "A"),
        "base64-not-canonical",
    ),
    "base64-spaces": (
        lambda d: d["dsseEnvelope"].update(payload=" " + d["dsseEnvelope"]["payload"]),
        "base64-not-canonical",
    ),
    "base64-url-safe": (lambda d: _signature(d).update(sig="-_-_"), "base64-not-canonical"),
    "statement-v0.1": (_replace(b"Statement/v1", b"Statement/v0.1"), "statement-type"),
    "predicate-major": (_replace(b"summary/v1", b"summary/v2"), "predicate-unknown"),
    "digest-upper-case": (_replace(b"ab" * 32, b"AB" * 32), "digest-malformed"),
    "digest-short": (_replace(b"ab" * 32, b"ab" * 31), "digest-malformed"),
    "digest-weak": (_replace(b'"sha256"', b'"md5"'), "digest-weak"),
    "subjects-none": (
        lambda d: _payload(d, lambda p: json.dumps({**json.loads(p), "subject": []}).encode()),
        "subject-missing",
    ),
    "subject-twice": (
        lambda d: _payload(
            d,
            lambda p: json.dumps(
                {**json.loads(p), "subject": json.loads(p)["subject"] * 2}
            ).encode(),
        ),
        "subject-duplicate",
    ),
    "json-keys-twice": (_replace(b'{"_type"', b'{"_type":1,"_type"'), "json-duplicate-key"),
    "json-case-twins": (_replace(b'{"_type"', b'{"_Type":1,"_type"'), "json-case-twins"),
    "json-nan": (_replace(b'"a":1', b'"a":NaN'), "json-not-a-number"),
    "json-infinite": (_replace(b'"a":1', b'"a":1e999'), "json-not-a-number"),
    "json-deep": (_replace(b'"a":1', b'"a":' + b"[" * 99 + b"]" * 99), "json-too-deep"),
    "json-very-deep": (
        _replace(b'"a":1', b'"a":' + b"[" * 200_000 + b"]" * 200_000),
        "json-too-deep",
    ),
    "json-trailing": (lambda d: _payload(d, lambda p: p + b"{}"), "json-trailing-data"),
    "json-mark": (lambda d: _payload(d, lambda p: b"\xef\xbb\xbf" + p), "json-byte-order-mark"),
    "json-latin-1": (lambda d: _payload(d, lambda p: p + b"\xe9"), "json-not-utf8"),
    "json-cut": (lambda d: _payload(d, lambda p: p[:-1]), "json-malformed"),
    "json-long-number": (_replace(b'"a":1', b'"a":' + b"1" * 5000), "json-malformed"),
}


@pytest.mark.parametrize("name", _BUNDLE)
def test_a_bundle_that_was_tampered_with(name: str, document: Document, key: LocalKey) -> None:
    change, reason = _BUNDLE[name]
    _read(document, key)
    altered = copy.deepcopy(document)
    change(altered)
    with pytest.raises(Refused) as refused:
        _read(altered, key)
    assert refused.value.reason == reason, refused.value.message


def test_another_key(document: Document, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        _read(document, development_key(tmp_path))
    assert refused.value.reason == "signature-invalid"


def test_a_bundle_of_more_than_16_mib(document: Document, key: LocalKey) -> None:
    with pytest.raises(Refused) as refused:
        _read(json.dumps(document).encode() + b" " * (16 << 20), key)
    assert refused.value.reason == "json-too-large"


_PATHS = {
    "/etc/passwd": "path-absolute",
    "C:/x": "path-absolute",
    "../x": "path-escapes",
    "a/../../x": "path-escapes",
    "a\\b": "path-backslash",
    "a\0b": "path-control",
    "a\nb": "path-control",
    "a//b": "path-empty-part",
    "./a": "path-empty-part",
    "": "path-empty-part",
    "e\u0301": "path-not-normal",
    "aux.onnx": "path-reserved",
    "w.bin:0:100": "path-reserved",
    "name ": "path-reserved",
    "\udc80": "path-control",
    "x" * 5000: "path-too-long",
}


@pytest.mark.parametrize("path", _PATHS, ids=ascii)
def test_a_path_that_is_not_one_file_everywhere(path: str) -> None:
    with pytest.raises(Refused) as refused:
        refuse_path(path)
    assert refused.value.reason == _PATHS[path]


def test_names_that_differ_only_in_case() -> None:
    with pytest.raises(Refused) as refused:
        refuse_twins(["Model.onnx", "model.onnx"])
    assert refused.value.reason == "path-case-twins"


def _link(model: Path) -> None:
    (model / "a.bin").rename(model.parent / "elsewhere")
    (model / "a.bin").symlink_to(model.parent / "elsewhere")


def _link_folder(model: Path) -> None:
    (model / "sub").rename(model.parent / "outside")
    (model / "sub").symlink_to(model.parent / "outside")


def _swap(model: Path) -> None:
    (model / "a.bin").rename(model / "x")
    (model / "b.bin").rename(model / "a.bin")
    (model / "x").rename(model / "b.bin")


def _under(name: str) -> Callable[[Path], object]:
    def change(model: Path) -> None:
        path = model / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")

    return change


_MODEL: dict[str, tuple[Callable[[Path], object], str]] = {
    "byte-flipped": (lambda m: (m / "a.bin").write_bytes(b"A"), "file-altered"),
    "truncated": (lambda m: (m / "b.bin").write_bytes(b""), "file-altered"),
    "grown": (lambda m: (m / "a.bin").write_bytes(b"aa"), "file-altered"),
    "extra": (_under("extra.bin"), "file-unsigned"),
    "extra-empty": (lambda m: (m / "z").touch(), "file-unsigned"),
    "extra-git": (_under(".git/hooks/x"), "file-unsigned"),
    "extra-github": (_under(".github/x"), "file-unsigned"),
    "extra-gitattributes": (_under(".gitattributes"), "file-unsigned"),
    "missing": (lambda m: (m / "a.bin").unlink(), "file-missing"),
    "renamed": (lambda m: (m / "a.bin").rename(m / "c.bin"), "file-missing"),
    "swapped": (_swap, "file-altered"),
    "link": (_link, "tree-link"),
    "link-folder": (_link_folder, "tree-link"),
    "empty-folder": (lambda m: (m / "empty").mkdir(), "tree-empty-folder"),
    "pipe": (lambda m: os.mkfifo(m / "pipe"), "tree-special"),
    "not-utf8": (
        lambda m: Path(os.fsdecode(os.fsencode(m) + b"/\xff")).write_bytes(b"x"),
        "path-not-utf8",
    ),
    "newline": (lambda m: (m / "a\nb").write_bytes(b"x"), "path-control"),
    "case-twin": (lambda m: (m / "A.bin").write_bytes(b"x"), "path-case-twins"),
    "gone": (lambda m: m.rename(m.with_name("gone")), "artifact-unreadable"),
}


@pytest.mark.parametrize("name", _MODEL)
def test_a_model_that_was_tampered_with(name: str, key: LocalKey, tmp_path: Path) -> None:
    change, reason = _MODEL[name]
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "a.bin").write_bytes(b"a")
    (model / "b.bin").write_bytes(b"b")
    (model / "sub" / "c.bin").write_bytes(b"c")
    signed = _read(sign(model_statement(hashed(model)), key).document(), key)
    verify_model(signed, model)
    change(model)
    with pytest.raises(Refused) as refused:
        verify_model(signed, model)
    assert refused.value.reason == reason, refused.value.message


def _resources(change: Callable[[list[Document]], object]) -> Callable[[Document], object]:
    return lambda predicate: change(predicate["resources"])


_MANIFEST: dict[str, tuple[Callable[[Document], object], str]] = {
    "absolute": (_resources(lambda r: r[0].update(name="/etc/passwd")), "path-absolute"),
    "escapes": (_resources(lambda r: r[0].update(name="../secret")), "path-escapes"),
    "twice": (_resources(lambda r: r.append(r[0])), "path-duplicate"),
    "twins": (_resources(lambda r: r[1].update(name="A")), "path-case-twins"),
    "unsorted": (_resources(lambda r: r.reverse()), "model-unsorted"),
    "digest": (_resources(lambda r: r[0].update(digest="0" * 64)), "model-root-digest"),
    "algorithm": (_resources(lambda r: r[0].update(algorithm="md5")), "model-method"),
    "shards": (lambda p: p["serialization"].update(method="shards"), "model-method"),
    "links": (lambda p: p["serialization"].update(allow_symlinks=True), "model-ignores"),
    "ignores": (lambda p: p["serialization"].update(ignore_paths=["b"]), "model-ignores"),
    "list": (lambda p: p.update(resources={}), "model-manifest-malformed"),
}


@pytest.mark.parametrize("name", _MANIFEST)
def test_a_manifest_that_was_signed_and_is_wrong(name: str, key: LocalKey, tmp_path: Path) -> None:
    change, reason = _MANIFEST[name]
    for file in ("a", "b"):
        (tmp_path / file).write_text(file)
    said = model_statement(hashed(tmp_path))
    predicate = copy.deepcopy(dict(said.predicate))
    change(predicate)
    signed = sign(Statement(said.subjects, said.predicate_type, predicate), key)
    with pytest.raises(Refused) as refused:
        verify_model(signed, tmp_path)
    assert refused.value.reason == reason


def test_files_that_verifiers_of_models_skip_are_not_signed(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x").write_text("x")
    with pytest.raises(Refused) as refused:
        model_statement(hashed(tmp_path))
    assert refused.value.reason == "model-ignores"


def _entry(*path: str, to: Any) -> Callable[[Document], None]:
    return _set(*path, to=to)


_LOG: dict[str, tuple[Callable[[Document], object], str]] = {
    "proof": (lambda e: e["inclusionProof"].update(hashes=["AAAA"]), "log-proof"),
    "root": (_entry("inclusionProof", "rootHash", to="AAAA"), "log-checkpoint"),
    "size": (_entry("inclusionProof", "treeSize", to="9"), "log-checkpoint"),
    "index": (_entry("logIndex", to="7"), "log-index"),
    "promise-missing": (lambda e: e.pop("inclusionPromise"), "log-promise"),
    "time": (_entry("integratedTime", to="1"), "log-promise"),
    "log": (_entry("logId", "keyId", to="AAAA"), "log-unknown"),
    "kind": (_entry("kindVersion", "version", to="9"), "log-malformed"),
    "body": (lambda e: e.pop("canonicalizedBody"), "log-malformed"),
    "checkpoint": (
        lambda e: e["inclusionProof"]["checkpoint"].update(
            envelope=e["inclusionProof"]["checkpoint"]["envelope"].replace("\n3\n", "\n4\n")
        ),
        "log-checkpoint",
    ),
}


@pytest.mark.parametrize("name", _LOG)
def test_a_log_entry_that_was_tampered_with(name: str, key: LocalKey, tmp_path: Path) -> None:
    change, reason = _LOG[name]
    log = AuditLog(tmp_path)
    signed = [
        sign(Statement((Subject(str(n), {"sha256": "ab" * 32}),), SUMMARY, {}), key)
        for n in range(3)
    ]
    logged = log.log(signed, key.public, _NOW)
    trusted = [LogKey(NAME, log.key().key)]
    found = verify_entry(logged[1].entries[0], logged[1].envelope, key.public, trusted)
    assert (found.index, found.at) == (1, _NOW)
    with pytest.raises(Refused) as refused:
        verify_entry(logged[0].entries[0], logged[1].envelope, key.public, trusted)
    assert refused.value.reason == "log-entry-other"
    altered = copy.deepcopy(logged[1].entries[0])
    change(altered)
    with pytest.raises(Refused) as refused:
        verify_entry(altered, logged[1].envelope, key.public, trusted)
    assert refused.value.reason == reason


def test_fuzzed_bundles_are_refused(document: Document, key: LocalKey) -> None:
    """Ten thousand of them: `python -m tests.benchmarks.fuzz_bundles`."""
    data = json.dumps(document).encode()
    fuzz(data, key, times=500, seed=7)


def fuzz(data: bytes, key: LocalKey, *, times: int, seed: int) -> int:
    """Random edits of a bundle: none may be accepted with another meaning, none may crash."""
    rng = random.Random(seed)
    whole = _read(data, key)
    refused = 0
    for _ in range(times):
        altered = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(altered))
            match rng.randrange(4):
                case 0:
                    altered[at] ^= 1 << rng.randrange(8)
                case 1:
                    del altered[at : at + rng.randint(1, 30)]
                case 2:
                    altered[at:at] = rng.choice([b'"', b"{", b"]", b"0", b"\0", b"null", b"\xff"])
                case _:
                    altered[at:at] = altered[at : at + rng.randint(1, 60)]
        try:
            found = _read(bytes(altered), key)
        except Refused:
            refused += 1
            continue
        # A log entry or a space more: what was signed is what it was.
        assert found.envelope == whole.envelope
        assert found.statement == whole.statement
    return refused
