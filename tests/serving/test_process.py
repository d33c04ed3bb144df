"""Servers as processes, on a real port."""

import sys
from pathlib import Path

import pytest

from mlgate.errors import StageError
from mlgate.serving.compare import unstable
from mlgate.serving.process import Process
from mlgate.serving.ready import ask, await_ready, refuse_taken
from mlgate.serving.recorded import Request, request_of
from tests.serving.servers import adder

HEALTH = request_of("GET /healthz")
SUM = Request("POST", "/", (("Content-Type", "application/json"),), b"[1, 2]")


def test_a_server_is_awaited_asked_and_ended(tmp_path: Path) -> None:
    with Process(adder(tmp_path)) as server:
        assert await_ready(server, HEALTH, seconds=20) > 0
        answer = ask(server, SUM)
        assert answer.status == 200
        assert answer.body.startswith(b'{"sum": 3')
        aside, left = unstable(answer, ask(server, SUM))
        assert (aside, left) == (frozenset({"body.id"}), ())
        assert server.stop(30) == -15
        assert ask(server, SUM).status == 0


def test_a_server_that_dies_at_start_shows_its_last_lines() -> None:
    dying = (sys.executable, "-c", "print('no model here'); raise SystemExit(3)")
    with Process(dying) as server, pytest.raises(StageError) as caught:
        await_ready(server, HEALTH, seconds=20)
    assert "exit code 3" in caught.value.message
    assert "no model here" in caught.value.message


def test_a_server_that_says_something_else_is_not_ready(tmp_path: Path) -> None:
    with Process(adder(tmp_path)) as server, pytest.raises(StageError, match="status 404"):
        await_ready(server, request_of("GET /nothing"), seconds=1)


def test_another_server_on_the_port_is_refused(tmp_path: Path) -> None:
    with Process(adder(tmp_path)) as server:
        await_ready(server, HEALTH, seconds=20)
        with pytest.raises(StageError, match="another server"):
            refuse_taken(server.port)
        silent = (sys.executable, "-c", "import time; time.sleep(60)")
        with Process(silent) as impostor:
            impostor.port = server.port
            with pytest.raises(StageError, match="not the server's"):
                await_ready(impostor, HEALTH, seconds=5)


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(StageError, match="cannot be started"):
        Process(("/nowhere/server",))
