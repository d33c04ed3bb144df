"""A whole release of the digits template, in front of other people's verifiers."""

import shutil
from pathlib import Path

import pytest

from tests.probed import ROOT
from tests.projects import mlgate
from tests.provenance.verifiers import run, sigstore_js, tool

pytestmark = [pytest.mark.verifiers, pytest.mark.slow]


def test_the_release_of_a_template_is_accepted_by_others(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    shutil.copytree(ROOT / "templates" / "digits", folder)
    assert mlgate("check", cwd=folder).returncode == 0
    before = (folder / ".mlgate/latest/verdict.json").read_bytes()
    assert mlgate("sign", "--target", "oci://r/digits", cwd=folder).returncode == 0
    assert (folder / ".mlgate/latest/verdict.json").read_bytes() == before
    key, root = folder / ".mlgate/keys/development.pub", folder / ".mlgate/log/trusted-root.json"
    model = folder / ".mlgate/latest/outputs/int8/digits.int8.onnx"
    bundles = folder / ".mlgate/latest/attestations"
    for path in bundles.glob("*"):
        found = sigstore_js(path, key, root, home=tmp_path)
        assert found.returncode == 0, (path.name, found.stderr)
    common: list[str | Path] = [
        "verify-blob-attestation",
        "--key",
        key,
        "--trusted-root",
        root,
        "--bundle",
    ]
    for name, kind in (
        ("int8.test-result.sigstore.json", "https://in-toto.io/attestation/test-result/v0.1"),
        ("int8.provenance.sigstore.json", "https://slsa.dev/provenance/v1"),
        ("summary.sigstore.json", "https://slsa.dev/verification_summary/v1"),
    ):
        what: list[str | Path] = [*common, bundles / name, "--type", kind]
        found = run(tool("COSIGN3", "cosign"), *what, model, home=tmp_path)
        assert found.returncode == 0, (name, found.stderr)
        what.append("--new-bundle-format")
        found = run(tool("COSIGN2", "cosign2"), *what, model, home=tmp_path)
        assert found.returncode == 0, (name, found.stderr)
    options: list[str | Path] = [
        "--signature",
        bundles / "int8.model.model.sig",
        "--public_key",
        key,
    ]
    found = run(
        tool("MODEL_SIGNING", "model_signing"), "verify", "key", model, *options, home=tmp_path
    )
    assert found.returncode == 0, found.stdout + found.stderr
    wanted = (str(model), "--key", str(key))
    assert mlgate("verify", *wanted, cwd=folder).returncode == 0
    edits = (
        (model, b"digits", "MG402"),
        (bundles / "int8.provenance.sigstore.json", b"payload", "bundle-unknown-field"),
        (folder / "mlgate.yaml", b"max_drop: 0.01", "MG408"),
    )
    for path, old, reason in edits:
        whole = path.read_bytes()
        assert old in whole or path is model
        changed = whole[:-1] + bytes([whole[-1] ^ 1]) if path is model else b""
        path.write_bytes(changed or whole.replace(old, old[:-1] + b"2", 1))
        found = mlgate("verify", *wanted, cwd=folder)
        assert (found.returncode, reason in found.stdout) == (1, True), (path.name, found.stdout)
        path.write_bytes(whole)
    assert mlgate("verify", *wanted, cwd=folder).returncode == 0
