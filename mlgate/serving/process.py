"""A server as a child process, in a session of its own so that all of it can be ended."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from mlgate.errors import StageError
from mlgate.serving.ready import free_port, refuse_taken

_LOG_BYTES = 64 << 10


class Process:
    """A server that was started as a process. Use as a context: it is gone afterwards.

    `command` and the values of `env` may say `{port}`; without that, `port` is where it listens.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        ending: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.port = port if port is not None else free_port()
        self.ending = ending
        refuse_taken(self.port)
        words = [word.replace("{port}", str(self.port)) for word in command]
        given = {name: text.replace("{port}", str(self.port)) for name, text in (env or {}).items()}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the server
        try:
            self._child = subprocess.Popen(
                words,
                env={**os.environ, **given},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise StageError(f"{words[0]} cannot be started: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def alive(self) -> bool:
        return self._child.poll() is None

    def pids(self) -> frozenset[int]:
        """The process and its descendants."""
        found = {self._child.pid}
        waiting = [self._child.pid]
        while waiting:
            pid = waiting.pop()
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    born = {int(word) for word in task.read_text().split()} - found
                    found |= born
                    waiting += born
        return frozenset(found)

    def exit_code(self) -> int | None:
        return self._child.poll()

    def log(self) -> str:
        """The last 64 KiB that it wrote."""
        size = os.fstat(self._log.fileno()).st_size
        start = max(0, size - _LOG_BYTES)
        return os.pread(self._log.fileno(), _LOG_BYTES, start).decode(errors="replace")

    def stop(self, seconds: float) -> int | None:
        """End it by its signal; its exit code, None when it had to be killed."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, self.ending)
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def remove(self) -> None:
        """Nothing of it is left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._log.close()
