"""Waiting until the server itself answers, and nobody else on its port.

With the host's network another server may already stand on the port, and answer health checks and
predictions with 200: what is then measured is something else entirely. So a port is looked at
before the start, and its listener has to belong to a process of the server afterwards.
"""

import socket
import time
from pathlib import Path
from typing import Protocol

from mlgate.errors import StageError
from mlgate.serving.exchange import NoAnswer, send
from mlgate.serving.recorded import Answer, Request

_BETWEEN = 0.01  # seconds from one question to the next


class Server(Protocol):
    """A started server. `port` is where it answers on 127.0.0.1."""

    port: int

    def alive(self) -> bool: ...
    def pids(self) -> frozenset[int]: ...
    def exit_code(self) -> int | None: ...
    def log(self) -> str:
        """The last lines that it wrote."""

    def stop(self, seconds: float) -> int | None:
        """End it as its owner would; its exit code, None when it had to be killed."""

    def remove(self) -> None:
        """Nothing of it is left, whatever state it was in. Never raises."""


def free_port() -> int:
    """A TCP port on which nobody listens now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def refuse_taken(port: int) -> None:
    """Raises `StageError` when somebody listens on the port already."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise StageError(
                f"another server already answers on port {port}",
                hint="stop it, or give the server its port as {port} in run.args or run.env",
            )


def await_ready(
    server: Server, question: Request, *, status: int = 200, seconds: float = 60.0
) -> float:
    """Seconds until the server gave `question` an answer of this status. Raises `StageError`.

    Begin the clock right after the start. One that exits is an error with its last lines at once.
    """
    started = time.perf_counter()
    last = "nothing was sent"
    while time.perf_counter() - started < seconds:
        try:
            answer = send(question, server.port, timeout=min(5.0, seconds))
        except NoAnswer as error:
            last = str(error)
        else:
            if answer.status == status:
                took = time.perf_counter() - started
                _own(server)
                return took
            last = f"status {answer.status}"
        if not server.alive():
            raise StageError(
                f"the server ended with {exit_words(server.exit_code())} before it answered"
                f"{_tail(server)}",
            )
        time.sleep(_BETWEEN)
    raise StageError(
        f"the server gave {question} no {status} within {seconds:g}s: {last}{_tail(server)}",
        hint="is ready: right, and run.timeout long enough?",
    )


def ask(server: Server, request: Request, *, timeout: float = 30.0) -> Answer:
    """The server's answer; one of status 0, with the reason as its body, when it gave none."""
    try:
        return send(request, server.port, timeout=timeout)
    except NoAnswer as error:
        return Answer(0, {}, str(error).encode())


def exit_words(code: int | None) -> str:
    """An exit code as people read it; 139 is a segmentation fault."""
    if code is None:
        return "no exit code"
    number = -code if code < 0 else code - 128
    names = {6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM", 2: "SIGINT"}
    if number in names:
        return f"exit code {code} ({names[number]})"
    return f"exit code {code}"


def listeners(port: int) -> frozenset[str]:
    """Inodes of the sockets that listen on a TCP port of this machine."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            words = row.split()
            if words[3] == "0A" and words[1].endswith(f":{port:04X}"):
                found.add(words[9])
    return frozenset(found)


def _own(server: Server) -> None:
    wanted = listeners(server.port)
    pids = server.pids()
    if not wanted or not pids:
        return  # another network namespace forwards to it: the port was made for it
    readable = False
    for pid in pids:
        try:
            links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        readable = True
        if any(link.startswith("socket:[") and link[8:-1] in wanted for link in links):
            return
    if readable:
        raise StageError(f"port {server.port} is answered by a process that is not the server's")


def _tail(server: Server) -> str:
    lines = server.log().strip().splitlines()[-12:]
    return "".join(f"\n  | {line[:300]}" for line in lines)
