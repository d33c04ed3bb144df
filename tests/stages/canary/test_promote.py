"""The commands as a person calls them, before a real HAProxy under traffic."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.fixtures import mlgate
from tests.rollout.servers import Proxy, binaries, haproxy

__all__ = ["mlgate"]

_BINARIES = binaries()
pytestmark = [
    pytest.mark.haproxy,
    pytest.mark.skipif(not _BINARIES, reason="HAProxy is not installed"),
]
REASON = ("--unsafe-unsigned", "a test")


def spec(proxy: Proxy, **changes: Any) -> str:
    rollout = {
        "uses": "canary",
        "needs": ["weight"],
        "model": "a.bin",
        "previous": "v1",
        "router": proxy.options.model_dump(),
        "source": {"kind": "access-log", "path": "access.jsonl"},
        "probe": {
            "stable": f"http://{proxy.stable.address}/predict",
            "canary": f"http://{proxy.canary.address}/predict",
            "body": "probe.json",
        },
        "steps": [{"weight": 50, "min": "300ms", "min_requests": 50}],
        "interval": "200ms",
        "lease": "5s",
        "max_duration": "20s",
        "gates": [
            {"metric": "errors.count", "max": 20},
            {"metric": "latency_ms.p50", "compared_to": "stable", "max_increase": "1000%"},
        ],
        **changes,
    }
    rollout["gates"] = rollout["gates"][:1] if "gates" not in changes else changes["gates"]
    weight = {"uses": "weigh", "file": "a.bin", "gates": [{"metric": "bytes", "max": 10}]}
    stages = {"weight": weight, "rollout": rollout}
    return json.dumps({"version": 1, "name": "digits", "stages": stages})


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with haproxy(tmp_path, next(iter(_BINARIES.values()))) as running:
        (tmp_path / "a.bin").write_bytes(b"hello")
        (tmp_path / "probe.json").write_bytes(b"{}")
        yield running


@pytest.fixture
def traffic(proxy: Proxy) -> Iterator[list[int]]:
    """Statuses of a client that asks all the time."""
    stop = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        while not stop.is_set():
            statuses.extend(status for status, _ in proxy.ask(20, user=f"{time.time()}-"))
            time.sleep(0.05)

    thread = threading.Thread(target=ask)
    thread.start()
    yield statuses
    stop.set()
    thread.join()


def call(command: Path, proxy: Proxy, *arguments: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [command, *arguments],
        cwd=proxy.folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def test_an_approved_model_is_promoted_and_its_journal_says_the_same_again(
    mlgate: Path, proxy: Proxy, traffic: list[int]
) -> None:
    (proxy.folder / "mlgate.yaml").write_text(spec(proxy))
    assert call(mlgate, proxy, "check").returncode == 0
    unsigned = call(mlgate, proxy, "promote")
    assert unsigned.returncode == 2
    assert "not signed" in unsigned.stderr
    done = call(mlgate, proxy, "promote", *REASON)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PROMOTED")
    assert {version for _, version in proxy.ask(20)} == {"v2"}
    assert set(traffic) == {200}
    again = call(mlgate, proxy, "canary", "replay")
    assert again.stdout.startswith("SAME")
    (journal,) = (proxy.folder / ".mlgate" / "rollouts" / "rollout").glob("*/journal.jsonl")
    begun = json.loads(journal.read_text().splitlines()[0])
    assert begun["body"]["about"]["unsigned"]["reason"] == "a test"
    status = call(mlgate, proxy, "canary", "status")
    assert "promoted" in status.stdout
    finished = call(mlgate, proxy, "canary", "abort")
    assert finished.returncode == 2
    assert "has ended" in finished.stderr


def test_a_failing_model_comes_back_and_is_not_tried_again_by_itself(
    mlgate: Path, proxy: Proxy, traffic: list[int]
) -> None:
    errors = {"metric": "errors", "compared_to": "stable", "max_increase": "200%"}
    errors["runbook"] = "wiki/errors"
    (proxy.folder / "mlgate.yaml").write_text(spec(proxy, gates=[errors], warmup_requests=1))
    assert call(mlgate, proxy, "check").returncode == 0

    def spoil() -> None:
        while not proxy.router.share():
            time.sleep(0.02)
        proxy.canary.failing = 10**6

    spoiler = threading.Thread(target=spoil)
    spoiler.start()
    done = call(mlgate, proxy, "promote", *REASON)
    spoiler.join()
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("ROLLED BACK")
    assert "wiki/errors" in done.stdout
    assert proxy.router.share() == 0
    once_more = call(mlgate, proxy, "promote", *REASON)
    assert once_more.returncode == 2
    assert "rolled_back" in once_more.stderr
    too_soon = call(mlgate, proxy, "promote", "--again", *REASON)
    assert "cool_down" in too_soon.stderr


def test_another_file_than_the_approved_one_moves_nothing(mlgate: Path, proxy: Proxy) -> None:
    (proxy.folder / "mlgate.yaml").write_text(spec(proxy))
    assert call(mlgate, proxy, "check").returncode == 0
    (proxy.folder / "a.bin").write_bytes(b"hallo")
    done = call(mlgate, proxy, "promote", *REASON)
    assert done.returncode == 1
    assert "refused[MG4" in done.stderr
    assert not (proxy.folder / ".mlgate" / "rollouts").exists()


def test_a_killed_controller_is_aborted_by_anybody(
    mlgate: Path, proxy: Proxy, traffic: list[int]
) -> None:
    slow = [{"weight": 50, "min": "60s", "min_requests": 50}]
    (proxy.folder / "mlgate.yaml").write_text(spec(proxy, steps=slow))
    assert call(mlgate, proxy, "check").returncode == 0
    running = subprocess.Popen(
        [mlgate, "promote", *REASON], cwd=proxy.folder, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while proxy.router.share() != 0.5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.kill()
    running.wait()
    done = call(mlgate, proxy, "canary", "abort", "--why", "lunch")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ABORTED")
    assert "lunch" in done.stdout
    assert proxy.router.share() == 0


def test_a_plan_says_what_can_never_be_gathered(mlgate: Path, proxy: Proxy) -> None:
    errors = {"metric": "errors", "compared_to": "stable", "max_increase": "200%"}
    (proxy.folder / "mlgate.yaml").write_text(spec(proxy, gates=[errors]))
    done = call(mlgate, proxy, "canary", "plan", "--rate", "0.01")
    assert done.returncode == 1
    assert "cannot pass within 20s" in done.stderr
    rich = call(mlgate, proxy, "canary", "plan", "--rate", "100000")
    assert rich.returncode == 0, rich.stderr
    lines = call(
        mlgate, proxy, "canary", "config", "--stable", "127.0.0.1:1", "--canary", "127.0.0.1:2"
    )
    assert "use_backend canary if chosen leased" in lines.stdout


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ({"metric": "errors", "max": 0.01}, "judged against stable"),
        (
            {"metric": "accuracy", "compared_to": "stable", "max_drop": 0.02},
            "the source has none",
        ),
        ({"metric": "errrors", "max": 0.01}, "does not measure"),
        ({"metric": "errors", "compared_to": "stabel", "max_increase": "5%"}, "stabel"),
    ],
)
def test_lint_says_what_a_trigger_can_never_do(
    mlgate: Path, proxy: Proxy, gate: dict[str, Any], told: str
) -> None:
    (proxy.folder / "mlgate.yaml").write_text(spec(proxy, gates=[gate]))
    done = call(mlgate, proxy, "lint")
    assert done.returncode == 2
    assert told in done.stderr
