"""A server as a container of a Docker Engine; a keeper process takes it away when we are killed."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from docker.types import DeviceRequest

from mlgate.errors import StageError
from mlgate.images.engine import connect, engine_errors
from mlgate.serving.ready import free_port, refuse_taken

_LOG_LINES: Final = 200
_LABEL: Final = "io.mlgate.owned"


@dataclass(frozen=True)
class Setup:
    """How an image is run.

    `args` replace the image's own command and may say `{port}`, as may values of `env`. `port` is
    where the server listens inside when neither does. `network` is `host`, `bridge` or `none`;
    with `bridge` the engine publishes the port on 127.0.0.1. `mounts` are (folder here, folder
    inside, writable). `entrypoint` replaces the image's own, for a tracer.
    """

    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    network: str = "host"
    user: str | None = None
    gpus: bool = False
    memory: str | None = None
    read_only: bool = False
    hardened: bool = False
    entrypoint: tuple[str, ...] | None = None
    mounts: tuple[tuple[Path, str, bool], ...] = ()


class Container:
    """A server that was started as a container. Use as a context: it is gone afterwards."""

    def __init__(self, client: Any, image: str, setup: Setup) -> None:
        self.client = client
        self.image = image
        asked = any("{port}" in text for text in (*(setup.args or ()), *setup.env.values()))
        self.port = self._inner_port(setup, asked)
        if setup.network == "host":
            refuse_taken(self.port)
        self._keeper = _Keeper()
        options = self._options(setup)
        try:
            with engine_errors(f"create a container of {image}"):
                self._container = client.containers.create(image, **options)
            self._keeper.holds(self._container.id)
        except BaseException:
            self._keeper.end()
            raise
        self.bridged = setup.network == "bridge"
        self.inner_port = self.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def start(self) -> None:
        """Starts it. Raises `StageError`, for example for an entrypoint that is not there."""
        with engine_errors(f"start {self.image}"):
            self._container.start()
            if self.bridged:
                self._container.reload()
                self.port = self._published()

    def alive(self) -> bool:
        return bool(self._state().get("Running"))

    def pids(self) -> frozenset[int]:
        """Its processes as the host numbers them; none where the engine does not tell."""
        if self.bridged:
            return frozenset()
        try:
            with engine_errors("list processes"):
                rows = self._container.top(ps_args="-eo pid")["Processes"]
        except StageError:
            pid = self._state().get("Pid")
            return frozenset({int(pid)} if pid else ())
        return frozenset(int(row[0]) for row in rows)

    def pid(self) -> int | None:
        """The first process, as the host numbers it."""
        return self._state().get("Pid") or None

    def exit_code(self) -> int | None:
        state = self._state()
        return None if state.get("Running") else state.get("ExitCode")

    def killed_for_memory(self) -> bool:
        return bool(self._state().get("OOMKilled"))

    def log(self) -> str:
        """The last 200 lines that it wrote."""
        try:
            with engine_errors("read the log"):
                written: bytes = self._container.logs(tail=_LOG_LINES)
        except StageError:
            return ""
        return written.decode(errors="replace")

    def run_inside(self, command: Sequence[str], *, user: str = "") -> tuple[int, str]:
        """Exit code and output of a command in the running container; 126 or 127 when none starts."""
        with engine_errors(f"run {command[0]} in {self.image}"):
            result = self._container.exec_run(list(command), user=user)
        return result.exit_code, result.output.decode(errors="replace")

    def stop(self, seconds: float) -> int | None:
        """End it by the image's own stop signal; its exit code, None when it had to be killed."""
        with engine_errors(f"stop {self.image}"):
            self._container.stop(timeout=int(seconds))
        code = self.exit_code()
        return None if code == 137 else code

    def wait(self, seconds: float) -> int:
        """Exit code of a container that ends by itself. Raises `StageError` after `seconds`."""
        with engine_errors(f"wait for {self.image} for {seconds:g}s"):
            return int(self._container.wait(timeout=seconds)["StatusCode"])

    def remove(self) -> None:
        """Nothing of it is left; never raises."""
        with contextlib.suppress(StageError), engine_errors("remove a container"):
            self._container.remove(force=True, v=True)
        self._keeper.end()

    def _state(self) -> dict[str, Any]:
        try:
            with engine_errors("say how a container is"):
                self._container.reload()
        except StageError:
            return {}
        state: dict[str, Any] = self._container.attrs["State"]
        return state

    def _inner_port(self, setup: Setup, asked: bool) -> int:
        if asked and setup.network == "host":
            return free_port()
        if setup.port is not None:
            return setup.port
        if asked:
            return 8080  # a network of its own: any port is free
        with engine_errors(f"read {self.image}"):
            exposed = self.client.images.get(self.image).attrs["Config"].get("ExposedPorts") or {}
        ports = sorted(int(name.split("/")[0]) for name in exposed)
        if len(ports) == 1:
            return ports[0]
        raise StageError(
            f"{self.image} does not say on which one port it listens",
            hint="give run.port, or {port} in run.args",
        )

    def _options(self, setup: Setup) -> dict[str, Any]:
        def filled(text: str) -> str:
            return text.replace("{port}", str(self.port))

        options: dict[str, Any] = {
            "network_mode": setup.network,
            "environment": {name: filled(text) for name, text in setup.env.items()},
            "labels": {_LABEL: str(os.getpid())},
            "detach": True,
            "volumes": {
                str(here): {"bind": inside, "mode": "rw" if writable else "ro"}
                for here, inside, writable in setup.mounts
            },
        }
        if setup.args is not None:
            options["command"] = [filled(word) for word in setup.args]
        if setup.entrypoint is not None:
            options["entrypoint"] = list(setup.entrypoint)
        if setup.network == "bridge":
            options["ports"] = {f"{self.port}/tcp": ("127.0.0.1", None)}
        if setup.user is not None:
            options["user"] = setup.user
        if setup.memory is not None:
            options["mem_limit"] = setup.memory
        if setup.read_only:
            options["read_only"] = True
        if setup.hardened:
            options["cap_drop"] = ["ALL"]
            options["security_opt"] = ["no-new-privileges"]
        if setup.gpus:
            options["device_requests"] = [DeviceRequest(count=-1, capabilities=[["gpu"]])]
        return options

    def _published(self) -> int:
        ports = self._container.attrs["NetworkSettings"]["Ports"] or {}
        for bound in ports.values():
            for binding in bound or ():
                return int(binding["HostPort"])
        raise StageError(f"the engine published no port of {self.image}", hint="use network: host")


def has_bridge(client: Any) -> bool:
    """Whether the engine gives containers a network of their own that can be reached from here."""
    with engine_errors("list networks"):
        return any(network.name == "bridge" for network in client.networks.list())


class _Keeper:
    """A process that removes what it was told of as soon as we are gone, by whatever death.

    It reads names from a pipe; the pipe's end without a word of parting is our death.
    """

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "mlgate.serving.container"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def holds(self, name: str) -> None:
        self._tell({"holds": name})

    def end(self) -> None:
        """All is well: it goes and removes nothing."""
        self._tell({"end": True})
        with contextlib.suppress(OSError):
            assert self._child.stdin is not None
            self._child.stdin.close()
        threading.Thread(target=self._child.wait, daemon=True).start()

    def _tell(self, word: dict[str, Any]) -> None:
        assert self._child.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._child.stdin.write(json.dumps(word).encode() + b"\n")
            self._child.stdin.flush()


def _keep() -> None:
    held = []
    for line in sys.stdin:
        word = json.loads(line)
        if "end" in word:
            return
        held.append(word["holds"])
    if not held:
        return
    with contextlib.suppress(StageError):
        client = connect(timeout=60)
        for name in held:
            with contextlib.suppress(StageError), engine_errors("remove a container"):
                client.containers.get(name).remove(force=True, v=True)


if __name__ == "__main__":
    _keep()
