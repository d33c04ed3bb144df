"""Asking the image under trace: golden requests, the health check, imports, the stop signal."""

import ast
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlgate.errors import StageError
from mlgate.images.tree import Tree
from mlgate.serving.container import Container, Setup
from mlgate.serving.ready import ask, await_ready
from mlgate.serving.recorded import Request
from mlgate.stages.slim import strace

_LARGEST_SOURCE: Final = 4 << 20  # bytes
_IMPORT: Final = (
    "import importlib, json, sys\n"
    "for name in json.loads(sys.argv[1]):\n"
    "    try: importlib.import_module(name)\n"
    "    except BaseException: pass\n"
)
_STOP_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Asked:
    """What is asked while tracing, and how the image is run."""

    image: str
    setup: Setup
    config: Mapping[str, Any]
    ready: Request
    status: int
    seconds: float
    requests: tuple[Request, ...]
    imports: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Seen:
    """The trace at the moment when the server first answered, and after everything."""

    at_ready: strace.Trace
    whole: strace.Trace


def trace_image(client: Any, asked: Asked, folder: Path, tell: Callable[[str], None]) -> Seen:
    """Runs the image under strace and asks it all. Raises `StageError`."""
    tools, logs = strace.tools(folder / "tools"), folder / "logs"
    logs.mkdir()
    logs.chmod(0o777)  # the image's own user writes there
    about = asked.config.get("config") or {}
    command = [*(about.get("Entrypoint") or ()), *(asked.setup.args or about.get("Cmd") or ())]
    if not command:
        raise StageError(
            "the image has neither entrypoint nor command", hint="give run.args: what starts it"
        )
    setup = Setup(
        args=strace.traced(command, "main")[1:],
        env=asked.setup.env,
        port=asked.setup.port,
        network=asked.setup.network,
        gpus=asked.setup.gpus,
        memory=asked.setup.memory,
        entrypoint=strace.traced((), "main")[:1],
        mounts=((tools, strace.TOOLS, False), (logs, strace.LOGS, True)),
    )
    with Container(client, asked.image, setup) as server:
        server.start()
        await_ready(server, asked.ready, status=asked.status, seconds=asked.seconds)
        at_ready = strace.read_trace([logs / "main"])
        tell(f"traced start: {len(at_ready.opened)} files")
        for request in asked.requests:
            answer = ask(server, request)
            if answer.status == 0:
                raise StageError(f"the image gave {request} no answer: {answer.body.decode()}")
        for number, inside in enumerate(_inside(asked, about)):
            server.run_inside(strace.traced(inside, f"inside{number}"))
        server.stop(_STOP_SECONDS)
    whole = strace.read_trace(sorted(logs.iterdir()))
    if not whole.run:
        raise StageError("the trace saw no program start", hint="does the container allow ptrace?")
    return Seen(at_ready, whole)


def first_imports(tree: Tree, folders: tuple[str, ...]) -> tuple[str, ...]:
    """Modules that first-party code names anywhere, function bodies included; nothing is run."""
    names: set[str] = set()
    for path, entry in tree.entries.items():
        inside = any(path.startswith(folder.rstrip("/") + "/") for folder in folders)
        if not inside or not path.endswith(".py") or entry.size > _LARGEST_SOURCE:
            continue
        try:
            parsed = ast.parse(tree.read(path))
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in ast.walk(parsed):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return tuple(sorted(names))


def health_command(about: Mapping[str, Any]) -> tuple[str, ...]:
    """The image's own health check as a command; empty where it has none."""
    test = (about.get("Healthcheck") or {}).get("Test") or ()
    if not test or test[0] == "NONE":
        return ()
    if test[0] == "CMD-SHELL":
        return ("/bin/sh", "-c", test[1])
    return tuple(test[1:])


def _inside(asked: Asked, about: Mapping[str, Any]) -> list[tuple[str, ...]]:
    commands = list(asked.commands)
    health = health_command(about)
    if health:
        commands.append(health)
    if asked.imports:
        commands.append(("python3", "-c", _IMPORT, json.dumps(asked.imports)))
    return commands
