"""What `promote` and `canary` share: the rollout that a spec describes, and its folder."""

import getpass
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from pydantic import JsonValue

from mlgate.errors import MlgateError, UsageError, printable
from mlgate.files import FOLDER
from mlgate.quantity import seconds
from mlgate.rollout import journal as journals
from mlgate.rollout.connections import HttpProbe, Mlflow, NoRegistry, Webhooks
from mlgate.rollout.controller import Clock, Registry, World
from mlgate.rollout.progress import Move, Progress
from mlgate.rollout.routers.haproxy import Haproxy
from mlgate.rollout.sources.access_log import AccessLog
from mlgate.spec.spec import Spec
from mlgate.stages.canary.spec import Canary

ROLLOUTS = "rollouts"


@dataclass(frozen=True)
class Planned:
    """One canary stage of a spec, and where its rollouts are kept."""

    stage: str
    options: Canary
    root: Path

    @property
    def folder(self) -> Path:
        return self.root / FOLDER / ROLLOUTS / self.stage

    def attempts(self) -> list[Path]:
        """Folders of all its rollouts, oldest first."""
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if (path / "journal.jsonl").exists()]
        return sorted(found, key=lambda path: (path / "journal.jsonl").stat().st_mtime_ns)

    def latest(self) -> Path:
        """The folder of the last rollout. Raises `UsageError` where there was none."""
        attempts = self.attempts()
        if not attempts:
            raise UsageError(
                f"no rollout of {self.stage} was begun", hint="mlgate promote begins one"
            )
        return attempts[-1]


def planned(spec: Spec, root: Path, stage: str | None) -> Planned:
    """The canary stage of a spec. Raises `UsageError` where it is not clear which."""
    found = {name: o for name, o in spec.stages.items() if isinstance(o, Canary)}
    if not found:
        raise UsageError("the spec has no stage with uses: canary", hint="see docs/canary.md")
    if stage is None and len(found) > 1:
        raise UsageError(f"which of them: --stage {' or '.join(sorted(found))}?")
    name = stage or next(iter(found))
    if name not in found:
        raise UsageError(
            f"there is no canary stage {name!r} (there is: {', '.join(sorted(found))})"
        )
    return Planned(name, found[name], root.resolve())


def model_file(chosen: Planned, given: Path | None) -> Path:
    """The file of the version that is rolled out: what is verified, and what names it."""
    written = chosen.options.model.path
    path = given if given is not None else None if written is None else chosen.root / written
    if path is None:
        raise UsageError(
            f"{chosen.stage} rolls out {chosen.options.model.from_}: say which file that is",
            hint="--artifact FILE",
        )
    if not path.is_file():
        raise UsageError(f"{path} is not a file")
    return path


def version_of(path: Path) -> str:
    """What a version is known by: its digest."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def folder_for(chosen: Planned, version: str, *, again: bool) -> Path:
    """Where this version's rollout is kept: the one that goes on, or a new one.

    A version that was rolled back is not tried again by itself. Raises `UsageError`.
    """
    short = version.removeprefix("sha256:")[:12]
    mine = [path for path in chosen.attempts() if path.name.startswith(f"{short}-")]
    if not mine:
        return chosen.folder / f"{short}-1"
    last = mine[-1]
    ends = [entry for entry in journals.read(last / "journal.jsonl") if entry.kind == "ended"]
    if not ends or ends[-1].body["state"] == "promoted":
        return last
    if not again:
        raise UsageError(
            f"this version ended {ends[-1].body['state']}: {ends[-1].body['why']}",
            hint="build a new version, or try the same one with --again",
        )
    passed = (datetime.now(UTC) - datetime.fromisoformat(ends[-1].at)).total_seconds()
    if passed < seconds(chosen.options.cool_down):
        raise UsageError(
            f"this version ended {passed / 60:.0f} min ago, and cool_down is "
            f"{chosen.options.cool_down}"
        )
    return chosen.folder / f"{short}-{len(mine) + 1}"


def world(chosen: Planned, on_event: Callable[[Progress, Move], None]) -> World:
    """The real world that the spec names."""
    options, root = chosen.options, chosen.root
    missing = [name.env for name in options.notify if not os.environ.get(name.env)]
    if missing:
        raise UsageError(f"{missing[0]} is not set: nobody would be told how it ends")
    arms = {"stable": options.router.stable, "canary": options.router.canary}
    token = options.mlflow.token if options.mlflow else None
    registry: Registry = NoRegistry()
    if options.mlflow is not None:
        registry = Mlflow(options.mlflow, os.environ.get(token.env) if token else None)
    return World(
        Haproxy(options.router, root),
        AccessLog(options.source, root, arms, options.gates),
        HttpProbe(options.probe, root),
        registry,
        Webhooks({name.env: os.environ[name.env] for name in options.notify}),
        Clock(),
        on_event,
    )


def about(chosen: Planned, version: str, **more: JsonValue) -> dict[str, JsonValue]:
    """What every message about this rollout says, and what its journal begins with."""
    return {
        "rollout": chosen.stage,
        "version": version,
        "previous": chosen.options.previous,
        **more,
    }


def who() -> str:
    """The name of whoever gives an order."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}"


class LiveView:
    """Progress for people on standard error: one line that changes, or a line per step."""

    def __init__(self) -> None:
        self._told = ""

    def __call__(self, progress: Progress, move: Move) -> None:
        share = 100 * progress.share
        served = progress.engine.canary_requests
        line = f"{share:5.1f} %  {served:>9,} on the canary  {move.kind}: {move.why}"
        shown = printable(line)
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"\r\x1b[K{shown[:width]}", err=True, nl=move.kind != "hold")
        elif (now := f"{share} {move.kind}") != self._told:
            click.echo(shown, err=True)
            self._told = now


def journal_of(folder: Path) -> tuple[journals.Entry, ...]:
    """A rollout's journal. Raises `MlgateError` where it has none."""
    entries = journals.read(folder / "journal.jsonl")
    if not entries:
        raise MlgateError(f"{folder} holds no journal")
    return entries
