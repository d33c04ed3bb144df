"""What every test may use: golden files, a network guard, tools that are skipped with a reason."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent

# How long an example takes says how busy the machine is, and nothing else.
settings.register_profile("mlgate", deadline=None)
settings.load_profile("mlgate")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite golden and generated files")


@pytest.fixture
def assert_file(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Assert that a checked-in file (path from the repository's root) says exactly this text.

    With `--update`, make it so.
    """

    def check(path: str, expected: str) -> None:
        file = ROOT / path
        if request.config.getoption("--update"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(expected, encoding="utf-8")
        found = file.read_text(encoding="utf-8") if file.exists() else ""
        assert found == expected, f"{path} is out of date: run `pytest --update`"

    return check


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches anything but this machine."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "unix"
        if host not in ("127.0.0.1", "::1", "localhost", "unix"):
            raise AssertionError(f"a test tried to reach {host}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("spark") and shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    if item.get_closest_marker("gpu") and shutil.which("nvidia-smi") is None:
        pytest.skip("no NVIDIA GPU here")
    if item.get_closest_marker("node") and shutil.which("node") is None:
        pytest.skip("Node.js is not installed")


@pytest.fixture
def fake_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fakes of tests/probes.py, known for one test, in this process and in workers."""
    from mlgate.run.scheduler import Execution
    from mlgate.stages import STAGES
    from tests import probes

    for uses, stage in probes.FAKES.items():
        monkeypatch.setitem(STAGES, uses, stage)
    monkeypatch.setattr(Execution, "worker", probes.WORKER)
