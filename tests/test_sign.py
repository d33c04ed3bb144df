"""A run that was signed: what its chain says, and each way in which it can be broken."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlgate.cli import cli
from mlgate.errors import StageError, UsageError
from mlgate.provenance import merkle
from mlgate.provenance.audit_log import NAME, AuditLog
from mlgate.provenance.bundle import Bundle, bundle
from mlgate.provenance.bundle import sign as signed_statement
from mlgate.provenance.chain import Chain, verify_chain
from mlgate.provenance.keys import development_key, private_key
from mlgate.provenance.log_entry import LogKey, entry, verify_entry
from mlgate.provenance.reasons import REASONS, Refused
from mlgate.provenance.statement import Statement, Subject
from mlgate.provenance.strict_json import to_base64
from mlgate.provenance.trust import Holder, Trust, read
from mlgate.run.verdict import Record
from mlgate.sign import SUMMARY_FILE, Release, attestations, sign
from tests.fakes.fixtures import fakes
from tests.test_verify import NOW, Runs

__all__ = ["fakes"]

_TARGET = "oci://registry.example/digits"
Bundles = dict[str, bytes]


class Case:
    """A signed run, and the trust that it is verified with."""

    def __init__(self, folder: Path) -> None:
        self.runs = Runs(folder)
        self.checked = self.runs.run()
        self.before = (self.checked.folder / "verdict.json").read_bytes()
        self.key = development_key(folder / "keys")
        self.log = AuditLog(folder / "log")
        self.record = Record(self.checked.folder, self.runs.store)
        sign(self.record, self.key, Release(_TARGET, 7), now=NOW, log=self.log)
        self.bundles: Bundles = attestations(self.checked.folder)
        self.trust = Trust(
            holders=(Holder(self.key.public),),
            logs=(LogKey(NAME, self.log.key().key),),
            log_required=True,
            target=_TARGET,
            release_at_least=7,
            max_age=timedelta(days=1),
        )

    def verify(self, bundles: Bundles | None = None, **how: Any) -> Chain:
        found = self.bundles if bundles is None else bundles
        trust = how.pop("trust", self.trust)
        return verify_chain(found, trust, now=how.pop("now", NOW), **how)

    def refused(self, bundles: Bundles | None = None, **how: Any) -> str:
        with pytest.raises(Refused) as refused:
            self.verify(bundles, **how)
        return refused.value.reason

    def resigned(self, name: str, change: Callable[[dict[str, Any]], object]) -> Bundles:
        """The bundles with one statement changed and signed by the same key, and no log asked."""
        said = bundle(self.bundles[name]).statement
        predicate = json.loads(json.dumps(said.predicate))
        change(predicate)
        altered = signed_statement(replace(said, predicate=predicate), self.key)
        return self.listed({**self.bundles, name: altered.data()})

    def listed(self, bundles: Bundles) -> Bundles:
        """The bundles with a summary that names them as they are."""
        said = bundle(bundles[SUMMARY_FILE]).statement
        predicate = json.loads(json.dumps(said.predicate))
        predicate["inputAttestations"] = [
            {"uri": name, "digest": {"sha256": hashlib.sha256(data).hexdigest()}}
            for name, data in bundles.items()
            if name != SUMMARY_FILE
        ]
        summary = signed_statement(replace(said, predicate=predicate), self.key)
        return {**bundles, SUMMARY_FILE: summary.data()}

    @property
    def unlogged(self) -> Trust:
        return replace(self.trust, logs=(), log_required=False)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "p")


def test_a_signed_run_is_verified_and_its_verdict_is_the_same_bytes(case: Case) -> None:
    assert (case.checked.folder / "verdict.json").read_bytes() == case.before
    digest = case.checked.report.results["int8"].evidence.outputs["copy"].digest  # type: ignore[union-attr]
    found = case.verify(artifacts=[("copy", {"sha256": digest.removeprefix("sha256:")})])
    assert (len(found.attestations), found.release) == (7, 7)
    assert found.edges >= 3
    assert found.verified_at == NOW
    assert {one.statement.kind for one in found.attestations} == {
        "provenance",
        "test-result",
        "summary",
    }
    assert case.log.verify().size == 7


def test_every_bundle_that_is_taken_away_is_missed(case: Case) -> None:
    for name in case.bundles:
        rest = {other: data for other, data in case.bundles.items() if other != name}
        wanted = "attestation-not-found" if name == SUMMARY_FILE else "attestation-missing"
        assert case.refused(rest) == wanted


def test_every_two_bundles_that_are_exchanged_are_seen(case: Case) -> None:
    names = list(case.bundles)
    for one in names:
        for other in names:
            if one < other:
                swapped = {
                    **case.bundles,
                    one: case.bundles[other],
                    other: case.bundles[one],
                }
                assert case.refused(swapped) in ("attestation-altered", "attestation-missing")


def test_a_bundle_more(case: Case) -> None:
    said = bundle(case.bundles["data.test-result.sigstore.json"]).statement
    more = case.log.log([signed_statement(said, case.key)], case.key.public, NOW)[0].data()
    assert case.refused({**case.bundles, "more": more}) == "attestation-unlisted"
    assert case.refused({}) == "attestation-not-found"


def _dependency(digest: str) -> Callable[[dict[str, Any]], object]:
    def change(predicate: dict[str, Any]) -> None:
        predicate["buildDefinition"]["resolvedDependencies"][0]["digest"]["sha256"] = digest

    return change


def _from_nowhere(predicate: dict[str, Any]) -> None:
    predicate["buildDefinition"]["resolvedDependencies"][0]["name"] = "gone.model"


_CHANGES: dict[str, tuple[str, Callable[[dict[str, Any]], object], str]] = {
    "parent-other": ("int8.provenance", _dependency("0" * 64), "chain-broken"),
    "parent-unknown": ("int8.provenance", _from_nowhere, "chain-broken"),
    "test-failed": ("int8.test-result", lambda p: p.update(result="FAILED"), "test-failed"),
    "test-failed-one": ("int8.test-result", lambda p: p.update(failedTests=["x"]), "test-failed"),
    "test-none": ("int8.test-result", lambda p: p.update(passedTests=[]), "test-missing"),
    "test-shape": ("int8.test-result", lambda p: p.pop("failedTests"), "predicate-malformed"),
    "summary-failed": (
        "summary",
        lambda p: p.update(verificationResult="FAILED"),
        "summary-failed",
    ),
    "verifier": ("summary", lambda p: p["verifier"].update(id="x"), "verifier-unknown"),
    "target": ("summary", lambda p: p.update(resourceUri="oci://other"), "resource-other"),
    "release": ("summary", lambda p: p.update(mlgateRelease=6), "release-older"),
    "release-none": ("summary", lambda p: p.pop("mlgateRelease"), "release-older"),
    "time": ("summary", lambda p: p.update(timeVerified="soon"), "predicate-malformed"),
    "time-zone": (
        "summary",
        lambda p: p.update(timeVerified="2026-01-02T00:00:00"),
        "predicate-malformed",
    ),
}


@pytest.mark.parametrize("name", _CHANGES)
def test_a_statement_that_says_something_else(name: str, case: Case) -> None:
    file, change, reason = _CHANGES[name]
    altered = case.resigned(f"{file}.sigstore.json", change)
    if file == "summary":
        said = bundle(case.bundles[SUMMARY_FILE]).statement
        predicate = json.loads(json.dumps(said.predicate))
        change(predicate)
        summary = signed_statement(replace(said, predicate=predicate), case.key)
        altered = {**case.bundles, SUMMARY_FILE: summary.data()}
    assert case.refused(altered, trust=case.unlogged) == reason


def test_what_the_policy_asks_for(case: Case) -> None:
    trust = case.trust
    day = timedelta(days=1)
    other = development_key(case.runs.folder / "other")
    holder = trust.holders[0]
    refusals = {
        "signer-unknown": replace(trust, holders=(Holder(other.public),)),
        "signer-development": replace(trust, holders=(replace(holder, development=True),)),
        "signer-revoked": replace(trust, holders=(replace(holder, revoked=True),)),
        "signer-expired": replace(trust, holders=(replace(holder, end=NOW),)),
        "signer-not-yet-valid": replace(trust, holders=(replace(holder, start=NOW + day),)),
        "policy-changed": replace(trust, spec="sha256:" + "0" * 64),
        "predicate-required": replace(trust, require=("bom",)),
        "release-older": replace(trust, release_at_least=8),
        "log-unknown": replace(trust, logs=(LogKey(NAME, other.public),)),
    }
    for reason, asked in refusals.items():
        assert case.refused(trust=asked) == reason
    assert case.refused(now=NOW + 2 * day) == "too-old"
    assert case.refused(now=NOW - day) == "from-the-future"
    assert case.refused(verdict="sha256:" + "0" * 64) == "summary-verdict"
    assert case.refused(artifacts=[("x", {"sha256": "0" * 64})]) == "subject-other"


def test_g13_two_keys_with_adjoining_validity(case: Case) -> None:
    holder = case.trust.holders[0]
    other = Holder(development_key(case.runs.folder / "other").public, start=NOW)
    ended = replace(holder, end=NOW + timedelta(seconds=1))
    case.verify(trust=replace(case.trust, holders=(other, ended)))
    gap = replace(holder, end=NOW - timedelta(seconds=1))
    assert case.refused(trust=replace(case.trust, holders=(other, gap))) == "signer-expired"


def test_an_entry_is_required(case: Case) -> None:
    name = "data.test-result.sigstore.json"
    bare = replace(bundle(case.bundles[name]), entries=())
    assert case.refused({**case.bundles, name: bare.data()}) == "log-absent"


def test_nothing_is_signed_that_is_no_pass(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "p")
    failed = runs.run(size=11)
    record = Record(failed.folder, runs.store)
    with pytest.raises(UsageError, match="nothing is signed"):
        sign(record, development_key(tmp_path), Release(_TARGET), now=NOW)
    assert not (failed.folder / "attestations").exists()


def test_nothing_is_signed_that_was_altered(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "p")
    checked = runs.run()
    (checked.folder / "outputs" / "int8" / "copy.bin").write_bytes(b"other")
    with pytest.raises(UsageError, match="altered"):
        sign(
            Record(checked.folder, runs.store),
            development_key(tmp_path),
            Release(_TARGET),
            now=NOW,
        )


def _mlgate(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, list(arguments))
    return done.exit_code, done.output


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(tmp_path / "p")
    checked = runs.run()
    monkeypatch.chdir(runs.folder)
    key = ".mlgate/keys/development.pub"
    code, said = _mlgate("sign", "--target", _TARGET, "--release", "3")
    assert code == 0, said
    assert "SIGNED  5 subjects, by the development key" in said
    model = "outputs/int8/copy.bin"
    code, said = _mlgate("verify", str(checked.folder / model), "--key", key)
    assert (code, "VERIFIED" in said, "not proven" in said) == (0, True, False), said
    policy = runs.folder / "policy.yaml"
    policy.write_text(f"version: 1\nkeys: [{{file: {key}, development: true}}]\n")
    code, said = _mlgate("verify", "--policy", str(policy), "--format", "json")
    assert (code, json.loads(said)["refusals"][0]["code"]) == (1, "signer-development")
    summary = checked.folder / "attestations" / SUMMARY_FILE
    kept = summary.read_bytes()
    summary.unlink()
    code, said = _mlgate("verify", "--key", key)
    assert (code, "refused[attestation-not-found]" in said) == (3, True), said
    summary.write_bytes(kept.replace(b'"payload":"e', b'"payload":"f'))
    assert _mlgate("verify", "--key", key)[0] == 1
    assert "0 verification" not in _mlgate("explain", "attestation-not-found")[1]


def test_the_log_of_decisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(tmp_path / "p")
    runs.run()
    monkeypatch.chdir(runs.folder)
    assert _mlgate("sign", "--target", _TARGET)[0] == 0
    log = Path(".mlgate/log")
    seen = tmp_path / "checkpoint"
    seen.write_bytes((log / "checkpoint").read_bytes())
    assert _mlgate("sign", "--target", _TARGET)[0] == 0
    assert _mlgate("verify", "--log", "--seen", str(seen))[0] == 0
    entries = (log / "entries.jsonl").read_bytes()
    (log / "entries.jsonl").write_bytes(entries.replace(b"dsse", b"Dsse", 1))
    code, said = _mlgate("verify", "--log")
    assert (code, "refused[log-edited]" in said) == (1, True), said


def test_every_reason_is_raised_somewhere() -> None:
    rooms = Path(__file__).parent.parent / "mlgate"
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in rooms.rglob("*.py")
        if path.name != "reasons.py"
    )
    assert [reason for reason in REASONS if f'"{reason}"' not in source] == []


def test_g3_a_rekor_2_entry_is_of_the_signed_bytes_and_has_no_time_of_its_own(case: Case) -> None:
    name = "data.test-result.sigstore.json"
    signed = bundle(case.bundles[name])
    log = development_key(case.runs.folder / "rekor2")
    trusted = LogKey("rekor2.example", log.public)

    def entered(data: bytes) -> dict[str, Any]:
        body = json.dumps(
            {
                "apiVersion": "0.0.2",
                "kind": "hashedrekord",
                "spec": {
                    "hashedRekordV002": {
                        "data": {
                            "algorithm": "SHA2_256",
                            "digest": to_base64(hashlib.sha256(data).digest()),
                        },
                        "signature": {
                            "content": to_base64(signed.envelope.signature),
                            "verifier": {"publicKey": {"rawBytes": to_base64(case.key.public.der)}},
                        },
                    }
                },
            }
        ).encode()
        made = entry(body, 0, [merkle.leaf(body)], log, name="rekor2.example", at=NOW)
        made.pop("inclusionPromise")
        return {**made, "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"}}

    found = verify_entry(
        entered(signed.envelope.signed), signed.envelope, case.key.public, [trusted]
    )
    assert found.at is None
    with pytest.raises(Refused) as refused:  # of the payload alone: the fixture's wrong digest
        verify_entry(entered(signed.envelope.payload), signed.envelope, case.key.public, [trusted])
    assert refused.value.reason == "log-entry-other"
    entries = (entered(signed.envelope.signed),)
    bundles = {**case.bundles, name: replace(signed, entries=entries).data()}
    trust = replace(case.trust, logs=(*case.trust.logs, trusted))
    assert case.refused(bundles, trust=trust) == "log-time"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version: 1\nkeys: []\n", "keys"),
        ("version: 1\nkeys: [{file: gone.pub}]\n", "is not there"),
        ("version: 1\nkey: x\n", "key"),
        ("version: 1\nkeys: [{file: key.pub, not_after: later}]\n", "no date"),
    ],
)
def test_a_policy_that_is_wrong(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_bytes(development_key(tmp_path).public.pem)
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises((UsageError, StageError), match=says):
        read(tmp_path / "policy.yaml")


def _pem(*options: str) -> bytes:
    return subprocess.run(["openssl", "genpkey", *options], check=True, capture_output=True).stdout


def test_a_key_that_cannot_sign() -> None:
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    locked = _pem(*curve, "-aes256", "-pass", "pass:secret")
    assert private_key(locked, b"secret", kind="file", what="the key").kind == "file"
    for pem, passphrase, says in (
        (locked, None, "encrypted, and no passphrase"),
        (locked, b"wrong", "cannot be read"),
        (_pem(*curve), b"secret", "not encrypted"),
        (_pem("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"), None, "P-256"),
        (_pem("-algorithm", "ed25519"), None, "P-256"),
        (b"none", None, "cannot be read"),
    ):
        with pytest.raises(StageError, match=says) as wrong:
            private_key(pem, passphrase, kind="file", what="the key")
        assert "secret" not in str(wrong.value)


def test_a_development_key_is_its_owners_alone(tmp_path: Path) -> None:
    first = development_key(tmp_path)
    assert development_key(tmp_path).public.pem == first.public.pem
    assert (tmp_path / "development.pem").stat().st_mode & 0o777 == 0o600


def test_g14_verifying_imports_no_signing_library_of_anybody() -> None:
    code = (
        "import sys; import mlgate.sign, mlgate.provenance.chain, mlgate.provenance.trust\n"
        "bad = {'sigstore', 'securesystemslib', 'model_signing', 'in_toto_attestation'}\n"
        "assert not bad & {name.split('.')[0] for name in sys.modules}, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))


def test_an_extra_subject_is_a_statement_of_its_own(case: Case) -> None:
    """The summary's subjects alone approve: one that a bundle adds later does not."""
    said = bundle(case.bundles["int8.provenance.sigstore.json"]).statement
    more = Statement(
        (*said.subjects, Subject("evil", {"sha256": "e" * 64})), said.predicate_type, said.predicate
    )
    altered: Bundle = signed_statement(more, case.key)
    bundles = case.listed({**case.bundles, "int8.provenance.sigstore.json": altered.data()})
    artifacts = [("evil", {"sha256": "e" * 64})]
    assert case.refused(bundles, trust=case.unlogged, artifacts=artifacts) == "subject-other"
