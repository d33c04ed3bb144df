"""The stage on a real Docker Engine: a server of the standard library in Debian's Python."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgate.errors import StageError
from mlgate.evidence import Measured
from mlgate.images import engine
from mlgate.stages.slim.run import measure
from tests.stages.slim.jobs import job

pytestmark = pytest.mark.docker
NAME = f"mlgate-test-server:{os.getpid()}"
RUN = {"args": ["{port}"], "network": "host"}
_SERVER = """
import http.server, json, sys, uuid
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_GET(self): self.say(200 if self.path == "/healthz" else 404, {})
    def do_POST(self):
        value = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.path == "/zone":
            import lazily                      # only this route needs it, and the trace may miss it
            self.say(200, {"answer": lazily.answer()})
        else:
            table = open("/srv/model/table.txt").read()
            self.say(200, {"sum": sum(value) + int(table), "request_id": str(uuid.uuid4())})
    def say(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
_LAZILY = "import fractions\ndef answer(): return str(fractions.Fraction(1, 3))\n"
_DOCKERFILE = """
FROM {base}
LABEL team=ml
COPY app /srv/app
COPY model /srv/model
WORKDIR /srv/app
USER 10001:10001
STOPSIGNAL SIGINT
HEALTHCHECK CMD python3 -c "import json"
ENTRYPOINT ["python3", "server.py"]
"""


def _context(base: str) -> io.BytesIO:
    files = {
        "Dockerfile": _DOCKERFILE.format(base=base),
        "app/server.py": _SERVER,
        "app/lazily.py": _LAZILY,
        "model/table.txt": "7",
    }
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, text in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(text.encode())
            header.mode = 0o644
            archive.addfile(header, io.BytesIO(text.encode()))
    data.seek(0)
    return data


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    base = os.environ.get("MLGATE_TEST_BASE")
    if base is None:
        pytest.skip("MLGATE_TEST_BASE names no base image")
    try:
        found = engine.connect()
    except engine.NoEngine as error:
        pytest.skip(error.message)
    found.images.build(fileobj=_context(base), custom_context=True, tag=NAME, rm=True)
    yield found
    engine.remove(found, NAME)
    found.close()


def _value(said: Measured, name: str, **labels: str) -> float:
    found = [m for m in said.measurements if m.name == name and m.labels == labels]
    assert len(found) == 1, (name, labels)
    assert found[0].value is not None, found[0].reason
    return found[0].value


def _left(client: Any) -> tuple[int, list[str]]:
    """Containers and passing names of this process that are still there."""
    ours = {"label": f"io.mlgate.owned={os.getpid()}"}
    containers = client.containers.list(all=True, filters=ours)
    tags = [tag for image in client.images.list() for tag in image.tags]
    passing = (f"mlgate-candidate:{os.getpid()}-", f"mlgate-source:{os.getpid()}-")
    return len(containers), [tag for tag in tags if tag.startswith(passing)]


def test_it_is_smaller_and_answers_the_same(client: Any, tmp_path: Path) -> None:
    said = measure(job(tmp_path, NAME, run=RUN, tag="mlgate-test-slim:1"))
    try:
        for name in ("golden", "holdout", "negative", "contract"):
            assert _value(said, "replay.mismatches", set=name) == 0, said.details["mismatches"]
        assert _value(said, "size_ratio") < 0.25
        assert said.details["set_aside"] == ["body.request_id"]
        config = client.images.get("mlgate-test-slim:1").attrs["Config"]
        assert (config["User"], config["StopSignal"]) == ("10001:10001", "SIGINT")
        assert config["Healthcheck"]["Test"][0] == "CMD-SHELL"
        assert config["Labels"] == {"team": "ml"}
    finally:
        engine.remove(client, "mlgate-test-slim:1")
    assert _left(client) == (0, [])


def test_s6_an_archive_and_the_engine_give_the_same_image(client: Any, tmp_path: Path) -> None:
    engine.save(client, NAME, tmp_path / "saved.tar")
    made = []
    for name, image in (("a", NAME), ("b", f"docker-archive:{tmp_path}/saved.tar")):
        (tmp_path / name).mkdir()
        said = measure(job(tmp_path / name, image, run=RUN))
        made.append((said.outputs["image"].digest, said.details["image"], said.details["source"]))
    assert made[0] == made[1]
    assert _left(client) == (0, [])


def test_a_needed_file_that_a_rule_drops_fails_and_is_named(client: Any, tmp_path: Path) -> None:
    planted = job(
        tmp_path, NAME, run=RUN, drop=["/srv/model/*"], escalate=False, tag="mlgate-test-slim:2"
    )
    said = measure(planted)
    assert _value(said, "replay.mismatches", set="golden") > 0
    broken = next(m for m in said.measurements if m.labels == {"set": "golden"})
    assert broken.because[0] == "dropped: /srv/model/table.txt"
    assert _left(client) == (0, [])
    assert not client.images.list("mlgate-test-slim:2")


def test_an_image_that_dies_at_start_is_an_error(client: Any, tmp_path: Path) -> None:
    run = {"args": ["no-port"], "network": "host", "port": 65002, "timeout": "20s"}
    with pytest.raises(StageError, match="ended with exit code"):
        measure(job(tmp_path, NAME, run=run))
    assert _left(client) == (0, [])


def test_an_image_that_is_not_there(client: Any, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="has no image"):
        measure(job(tmp_path, "mlgate-no-such-image:1", run=RUN))
