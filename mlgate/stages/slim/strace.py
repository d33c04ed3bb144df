"""Tracing without privileges: strace, with its own loader, mounted into the container.

It needs nothing of the image and no capability: a process may trace its own children under the
default seccomp profile, as any user. strace is taken from this machine (Debian package `strace`).
"""

import codecs
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mlgate.errors import StageError

TOOLS: Final = "/.mlgate/tools"
LOGS: Final = "/.mlgate/logs"
LARGEST_LOG: Final = 2 << 30  # bytes
_LIBRARY: Final = re.compile(r"(/\S+) \(0x")
_CALL: Final = re.compile(r"^(\d+) +(\w+)\((.*)$")
_RESUMED: Final = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_RETURNED: Final = re.compile(r"= (-?\d+|\?)(?:<((?:[^>\\]|\\.)*)>)?(?: (\w+))?[^=]*$")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FOLDER: Final = re.compile(r"^\w+<((?:[^>\\]|\\.)*)>")
_UNFINISHED: Final = " <unfinished ...>"


@dataclass
class Trace:
    """Paths that processes used: `opened` and `run` were there, `missed` were not."""

    opened: set[str] = field(default_factory=set)
    run: set[str] = field(default_factory=set)
    looked_at: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    calls: int = 0

    @property
    def used(self) -> set[str]:
        return self.opened | self.run | self.looked_at


def tools(folder: Path) -> Path:
    """strace, its loader and its libraries, in a folder to be mounted at `TOOLS`."""
    program = shutil.which("strace")
    if program is None:
        raise StageError("strace is not installed", hint="apt-get install strace")
    (folder / "lib").mkdir(parents=True)
    shutil.copy(program, folder / "strace")
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    for library in _LIBRARY.findall(listed.stdout):
        loader = "/ld-linux" in library or "/ld-musl" in library
        shutil.copy(library, folder / "ld.so" if loader else folder / "lib")
    if not (folder / "ld.so").exists():
        raise StageError(
            "strace's loader was not found on this machine", hint="is strace Debian's?"
        )
    return folder


def traced(command: Iterable[str], log: str) -> tuple[str, ...]:
    """The command under strace, its log below `LOGS`. The command keeps its process id."""
    return (
        f"{TOOLS}/ld.so", "--library-path", f"{TOOLS}/lib", f"{TOOLS}/strace",
        "-D", "-f", "-qq", "-y", "-s", "0", "-e", "trace=%file", "--seccomp-bpf",
        "-o", f"{LOGS}/{log}", *command,
    )  # fmt: skip


def read_trace(logs: Iterable[Path]) -> Trace:
    """What logs say. Raises `StageError` for one that is too large to be one probe's."""
    trace = Trace()
    for log in logs:
        if log.stat().st_size > LARGEST_LOG:
            raise StageError(f"the trace is larger than {LARGEST_LOG >> 30} GiB", hint="ask less")
        waiting: dict[str, str] = {}
        with log.open(errors="surrogateescape") as lines:
            for line in lines:
                _take(trace, waiting, line.rstrip("\n"))
    return trace


def _take(trace: Trace, waiting: dict[str, str], line: str) -> None:
    resumed = _RESUMED.match(line)
    if resumed:
        name, rest = resumed[2], waiting.pop(resumed[1], "") + resumed[3]
    else:
        call = _CALL.match(line)
        if call is None:
            return
        name, rest = call[2], call[3]
        if rest.endswith(_UNFINISHED):
            waiting[call[1]] = rest.removesuffix(_UNFINISHED)
            return
    returned = _RETURNED.search(rest)
    path = _path(rest)
    if returned is None or (path is None and returned[2] is None):
        return
    trace.calls += 1
    if returned[1].startswith("-"):
        if path is not None and returned[3] == "ENOENT":
            trace.missed.add(path)
    elif name in ("open", "openat", "openat2", "creat"):
        opened = _plain(returned[2]) if returned[2] else path
        if opened is not None:
            trace.opened.add(opened)
    elif path is not None:
        (trace.run if name.startswith("execve") else trace.looked_at).add(path)


def _path(rest: str) -> str | None:
    """The first path of a call, absolute."""
    quoted = _QUOTED.search(rest)
    if quoted is None:
        return None
    path = _plain(quoted[1])
    if path.startswith("/"):
        return path
    folder = _FOLDER.match(rest)
    return None if folder is None else f"{_plain(folder[1])}/{path}"


def _plain(text: str) -> str:
    if "\\" not in text:
        return text
    data, _ = codecs.escape_decode(text.encode("utf-8", "surrogateescape"))
    return data.decode("utf-8", "surrogateescape")
