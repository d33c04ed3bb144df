"""HAProxy 2.6 and newer on this machine, moved through its stats socket.

The split is a hash of the user (or a random number) against `canary_bps` of a map, in hundredths
of a percent, while the clock is before `lease_ms` of the same map. So the share is exact, users who
are on the canary stay there when it rises, and traffic goes back to stable by itself when nobody
renews the lease. `configuration` writes the lines that this needs.
"""

import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from mlgate.errors import printable
from mlgate.evidence import Frozen
from mlgate.files import write_atomic
from mlgate.rollout.controller import RouterError

_SHARE: Final = "canary_bps"
_LEASE: Final = "lease_ms"
_TIMEOUT: Final = 5.0
_LARGEST: Final = 16 * 2**20
# One refused connection is enough: the backup answers until a check has found the canary again.
_AT_ONCE: Final = "observe layer4 error-limit 1 on-error mark-down"


class HaproxyOptions(Frozen):
    """`kind: haproxy`: where its socket, map and configuration are, and what the arms are called."""

    kind: Literal["haproxy"]
    socket: str = Field(description="Path of the stats socket, `level admin`.")
    map: str = Field(description="The map's name, exactly as the configuration has it.")
    config: str = Field(description="Path of haproxy.cfg: rewritten after a promotion.")
    stable: str = Field("stable/stable", pattern=r"^[\w.-]+/[\w.-]+$", description="backend/server")
    canary: str = Field("canary/canary", pattern=r"^[\w.-]+/[\w.-]+$", description="backend/server")


@dataclass(frozen=True)
class _Server:
    backend: str
    name: str
    address: str
    port: int


class Haproxy:
    """One running HAProxy."""

    def __init__(self, options: HaproxyOptions, root: Path) -> None:
        self._options = options
        self._socket = root / options.socket
        self._config = root / options.config

    def check(self) -> None:
        """Both servers and both map entries must be there, and the file must hold share 0."""
        for written in (self._options.stable, self._options.canary):
            self._server(written)
        entries = self._map()
        for key in (_SHARE, _LEASE):
            if key not in entries:
                raise RouterError(
                    f"the map {self._options.map} of HAProxy has no entry {key}",
                    hint="`mlgate canary config` prints the lines that it needs",
                )
        self._lines()

    def set_share(self, share: float) -> None:
        self._set(_SHARE, round(10_000 * share))

    def share(self) -> float:
        entries = self._map()
        try:
            return int(entries[_SHARE]) / 10_000
        except (KeyError, ValueError):
            raise RouterError(f"HAProxy has no share in {self._options.map}") from None

    def renew(self, lease: float) -> None:
        self._set(_LEASE, round(1000 * (time.time() + lease)))

    def settle(self) -> None:
        """The stable server gets the canary's address: in the file, then at run time, then share 0.

        A reload at any moment of this finds the new version or the old lease, never the old model.
        """
        canary = self._server(self._options.canary)
        # While the addresses change, the canary serves everybody: it must not lapse.
        self._set(_LEASE, 2**53)
        others = [
            s for s in self._servers() if (s.backend, s.name) != (canary.backend, canary.name)
        ]
        self._rewrite(canary, others)
        for server in others:
            command = f"set server {server.backend}/{server.name} addr"
            told = self._ask(f"{command} {canary.address} port {canary.port}")
            if not re.search(r"changed|no need to change|nothing changed", told):
                raise RouterError(f"HAProxy did not move {server.name}: {printable(told.strip())}")
        self._set(_SHARE, 0)
        self._set(_LEASE, 0)

    # The configuration file.

    def _lines(self) -> list[str]:
        try:
            return self._config.read_text(encoding="utf-8").splitlines(keepends=True)
        except (OSError, UnicodeDecodeError) as error:
            raise RouterError(f"{self._config} cannot be read: {error}") from None

    def _rewrite(self, canary: _Server, others: list[_Server]) -> None:
        """Give the other servers of both backends the canary's address; nothing else changes."""
        wanted = {(server.backend, server.name) for server in others}
        section = ""
        lines, changed = [], set()
        for line in self._lines():
            if start := re.match(r"(backend|listen)\s+(\S+)", line):
                section = start[2]
            elif re.match(r"(frontend|global|defaults|\w+)\s", line):
                section = ""
            server = re.match(r"(\s+server\s+(\S+)\s+)(\S+)(.*\n?)", line)
            if server and (section, server[2]) in wanted:
                changed.add((section, server[2]))
                line = f"{server[1]}{_address(canary)}{server[4]}"
            lines.append(line)
        if missing := wanted - changed:
            names = ", ".join(sorted("/".join(pair) for pair in missing))
            raise RouterError(f"{self._config} has no server {names}: is it the file that runs?")
        mode = self._config.stat().st_mode
        write_atomic(self._config, "".join(lines).encode())
        self._config.chmod(mode)

    # The stats socket.

    def _server(self, written: str) -> _Server:
        backend, _, name = written.partition("/")
        found = self._servers()
        for server in found:
            if (server.backend, server.name) == (backend, name):
                return server
        known = ", ".join(f"{s.backend}/{s.name}" for s in found) or "none"
        raise RouterError(f"HAProxy has no server {written}", hint=f"in these backends: {known}")

    def _servers(self) -> list[_Server]:
        """All servers of both backends."""
        backends = {w.partition("/")[0] for w in (self._options.stable, self._options.canary)}
        found = []
        for backend in sorted(backends):
            text = self._ask(f"show servers state {backend}")
            found += list(_state(text))
        return found

    def _map(self) -> dict[str, str]:
        text = self._ask(f"show map {self._options.map}")
        rows = [line.split() for line in text.splitlines()]
        return {row[1]: row[2] for row in rows if len(row) == 3}

    def _set(self, key: str, number: int) -> None:
        told = self._ask(f"set map {self._options.map} {key} {number}").strip()
        if told:
            raise RouterError(f"HAProxy did not set {key}: {printable(told)}")

    def _ask(self, command: str) -> str:
        received = bytearray()
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_TIMEOUT)
                connection.connect(str(self._socket))
                connection.sendall(command.encode() + b"\n")
                while part := connection.recv(65536):
                    received += part
                    if len(received) > _LARGEST:
                        raise RouterError("HAProxy answers without end")
        except OSError as error:
            raise RouterError(
                f"HAProxy does not answer on {self._options.socket}: {error.strerror or error}",
                hint="it must run, with `stats socket … level admin`",
            ) from None
        return received.decode(errors="replace")


def _state(text: str) -> Iterator[_Server]:
    """Rows of `show servers state` (management guide, §9.3, version 1 of the format)."""
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 18 and fields[0].isdigit() and fields[18].isdigit():
            yield _Server(fields[1], fields[3], fields[4], int(fields[18]))


def _address(server: _Server) -> str:
    address = f"[{server.address}]" if ":" in server.address else server.address
    return f"{address}:{server.port}"


def configuration(
    options: HaproxyOptions, *, bind: str, stable: str, canary: str, sticky: str | None
) -> str:
    """The lines of haproxy.cfg that a rollout needs; `sticky` is the header that names a user."""
    backend, server = options.stable.split("/")
    canary_backend, canary_server = options.canary.split("/")
    bucket = "rand(10000)"
    if sticky is not None:
        # xxh32, not xxh64: HAProxy's integers are signed, and half of the 64-bit hashes negative.
        bucket = f"req.hdr({sticky}),xxh32(0),mod(10000)"
    log = (
        '{"arm":"%b","server":"%s","status":%ST,"ms":%Ta,"retries":"%rc",'
        '"id":"%[capture.req.hdr(0),json(utf8s)]","user":"%[capture.req.hdr(1),json(utf8s)]",'
        '"class":"%[capture.res.hdr(0),json(utf8s)]",'
        '"confidence":"%[capture.res.hdr(1),json(utf8s)]"}'
    )
    # Predictions can be asked twice without harm, so a killed arm costs a retry, not an answer.
    return f"""\
frontend model
    mode http
    bind {bind}
    log stdout format raw local0 info
    log-format '{log}'
    capture request header x-request-id len 128
    capture request header {sticky or "x-user-id"} len 128
    capture response header x-predicted-class len 64
    capture response header x-confidence len 16
    http-request set-var(txn.share) str({_SHARE}),map_str_int({options.map},0)
    http-request set-var(txn.lease) str({_LEASE}),map_str_int({options.map},0)
    http-request set-var(txn.bucket) {bucket}
    acl chosen var(txn.bucket),sub(txn.share) lt 0
    acl leased date(0,ms),sub(txn.lease) lt 0
    use_backend {canary_backend} if chosen leased
    default_backend {backend}

backend {backend}
    mode http
    server {server} {stable}

backend {canary_backend}
    mode http
    option redispatch 1
    retries 2
    retry-on conn-failure empty-response
    server {canary_server} {canary} check inter 500ms fall 2 rise 2 {_AT_ONCE}
    server stable {stable} backup
"""


def map_file() -> str:
    """What the map holds on the disk: after a reload the canary has nothing."""
    return f"{_SHARE} 0\n{_LEASE} 0\n"
