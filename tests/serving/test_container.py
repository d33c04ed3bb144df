"""Servers as containers, on a real Docker Engine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mlgate.errors import StageError
from mlgate.images.engine import NoEngine, connect
from mlgate.serving.container import Container, Setup
from mlgate.serving.ready import ask, await_ready
from mlgate.serving.recorded import request_of

pytestmark = pytest.mark.docker
_SERVE = ("python3", "-m", "http.server", "--bind", "127.0.0.1", "{port}")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    try:
        engine = connect()
    except NoEngine as error:
        pytest.skip(error.message)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def base(client: Any) -> str:
    name = os.environ.get("MLGATE_TEST_BASE")
    if name is None:
        pytest.skip("MLGATE_TEST_BASE names no base image")
    return name


def _owned(client: Any) -> int:
    return len(
        client.containers.list(all=True, filters={"label": f"io.mlgate.owned={os.getpid()}"})
    )


def test_a_container_is_awaited_asked_and_taken_away(client: Any, base: str) -> None:
    before = _owned(client)
    with Container(client, base, Setup(args=_SERVE, hardened=True)) as server:
        server.start()
        assert await_ready(server, request_of("GET /"), seconds=60) > 0
        assert server.pids()
        assert ask(server, request_of("GET /nothing")).status == 404
        code, said = server.run_inside(["python3", "-c", "print('inside')"])
        assert (code, said.strip()) == (0, "inside")
    assert _owned(client) == before


def test_a_container_that_dies_shows_its_last_lines(client: Any, base: str) -> None:
    dying = Setup(args=("python3", "-c", "import nothing_here"), port=65001)
    with Container(client, base, dying) as server:
        server.start()
        with pytest.raises(StageError, match="No module named 'nothing_here'"):
            await_ready(server, request_of("GET /"), seconds=60)


def test_an_entrypoint_that_is_not_there_is_an_error(client: Any, base: str) -> None:
    missing = Setup(args=("/nothing",), port=65001)
    refused = pytest.raises(StageError, match="could not start")
    with Container(client, base, missing) as server, refused:
        server.start()


def test_a_container_does_not_outlive_a_killed_owner(client: Any, base: str) -> None:
    program = (
        "import sys, time\n"
        "from mlgate.images.engine import connect\n"
        "from mlgate.serving.container import Container, Setup\n"
        f"c = Container(connect(), {base!r}, Setup(args=('sleep', '600'), port=65001))\n"
        "c.start(); print(c._container.id, flush=True); time.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    name = owner.stdout.readline().strip()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        left = [c.id for c in client.containers.list(all=True)]
        if name not in left:
            return
        time.sleep(0.2)
    pytest.fail(f"{name} is still there")
