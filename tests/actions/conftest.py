"""A project with fake stages, and the mlgate command that knows them."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlgate.lint import load
from mlgate.plan import resolve
from mlgate.relay import written_digest
from mlgate.targets import github
from mlgate.targets.jobs import Source
from tests.actions.runner import ROOT, Runner
from tests.fakes.stages import registered

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


def compiled(project: Path, **settings: object) -> str:
    """The workflow of the project's spec."""
    spec = load(project / "mlgate.yaml")
    source = Source("mlgate.yaml", written_digest(project / "mlgate.yaml", spec))
    given = github.Settings.model_validate({"actions": f"acme/mlgate@{'0' * 40}", **settings})
    plan = resolve(spec, everything=True)
    return github.compile_plan(plan, source, given)[github.WORKFLOW]


@pytest.fixture
def runner(tmp_path: Path, project: Path, mlgate: Path) -> Callable[..., Runner]:
    """Runs on one server, which keeps artifacts and caches from one to the next."""

    def make(**how: object) -> Runner:
        return Runner(project, tmp_path / "server", mlgate, **how)  # type: ignore[arg-type]

    return make
