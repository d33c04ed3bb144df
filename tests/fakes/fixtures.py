"""A project with fake stages, and the mlgate command that knows them: fixtures for conftests."""

import shlex
import sys
from pathlib import Path

import pytest

from mlgate.ci import github, tekton
from mlgate.ci.jobs import Source
from mlgate.run.plan import Plan, resolve
from mlgate.spec.lint import load
from mlgate.spec.spec import written_digest
from tests.fakes.stages import registered

ROOT = Path(__file__).parent.parent.parent

fakes = pytest.fixture(autouse=True)(registered)

SPEC = """\
version: 1
name: digits
stages:
  data: {uses: weigh, file: a.bin, ran: RAN, gates: [{metric: bytes, max: 10}]}
  int8: {uses: weigh, file: {from: data.copy}, ran: RAN, gates: [{metric: bytes, max: 10}]}
  latency: {uses: weigh, file: {from: int8.copy}, ran: RAN, gates: [{metric: bytes, max: 10}]}
  other: {uses: weigh, file: a.bin, ran: RAN, gates: [{metric: bytes, max: 10, severity: warn}]}
  release:
    uses: attest
    file: {from: latency.copy}
    key: {env: SIGNING_KEY}
    ran: RAN
    gates: [{metric: bytes, max: 10}]
  rollout:
    uses: move
    environment: production
    file: {from: release.copy}
    ran: RAN
    gates: [{metric: bytes, max: 10}]
"""


# The least that has a chain, a stage that nothing needs, and one that moves traffic.
SMALL = """\
version: 1
name: digits
stages:
  data: {uses: weigh, file: a.bin, ran: RAN, gates: [{metric: bytes, max: 10}]}
  other: {uses: weigh, file: a.bin, ran: RAN, gates: [{metric: bytes, max: 10, severity: warn}]}
  int8: {uses: weigh, file: {from: data.copy}, ran: RAN, gates: [{metric: bytes, max: 10}]}
  rollout:
    uses: move
    environment: production
    file: {from: int8.copy}
    gates: [{metric: bytes, max: 10}]
"""


@pytest.fixture(scope="session")
def mlgate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, as `mlgate setup` would leave it, that knows the fake stages too."""
    command = tmp_path_factory.mktemp("bin") / "mlgate"
    path = f"{ROOT / 'tests' / 'fakes'}:{ROOT}"
    command.write_text(
        f"#!/bin/sh\nPYTHONPATH={shlex.quote(path)} exec {shlex.quote(sys.executable)} -m mlgate"
        ' "$@"\n'
    )
    command.chmod(0o755)
    return command


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"hello")
    (folder / "mlgate.yaml").write_text(SPEC.replace("RAN", str(tmp_path / "ran")))
    return folder


def planned(project: Path) -> tuple[Plan, Source]:
    """The plan of the project's spec, and what a compiled file says of it."""
    spec = load(project / "mlgate.yaml")
    source = Source("mlgate.yaml", written_digest(project / "mlgate.yaml", spec))
    return resolve(spec, include_deploys=True), source


def workflow(project: Path, **settings: object) -> str:
    """The project's spec as a GitHub workflow."""
    given = github.Settings.model_validate({"actions": f"acme/mlgate@{'0' * 40}", **settings})
    return github.compile_plan(*planned(project), given)[github.WORKFLOW]


def pipeline(project: Path, **settings: object) -> dict[str, str]:
    """The project's spec as Tekton's files."""
    image = f"registry.example.com/mlgate@sha256:{'0' * 64}"
    given = tekton.Settings.model_validate({"image": image, **settings})
    return tekton.compile_plan(*planned(project), given)
