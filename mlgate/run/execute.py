"""The one door through which stages are run: for a whole check, and for one job of CI.

Whoever comes through it has a private folder to work in, a journal of what happened, the logs of
what stages printed, and no secret in any of them.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mlgate.files import FOLDER, cannot_write
from mlgate.machine import cores
from mlgate.run.directory import run_directory
from mlgate.run.plan import Key, Plan
from mlgate.run.report import Errored, Result
from mlgate.run.scheduler import Event, Execution, OnEvent
from mlgate.run.store import Store
from mlgate.stage import secrets_of

_LOG_BYTES: Final = 10_000_000


def execute(
    plan: Plan,
    keys: Mapping[str, Key],
    run: str,
    *,
    now: Callable[[], datetime],
    started: datetime,
    on_event: OnEvent = lambda _: None,
    use_cache: bool = True,
    known: Mapping[str, Result] | None = None,
) -> dict[str, Result]:
    """The result of every node of a plan; `known` are those that are there already.

    Leaves `runs/<run>/journal.jsonl` and `runs/<run>/logs/<stage>-<attempt>.log`. `now` is the clock.
    Raises `Interrupted`, `StoreError`.
    """
    root = plan.spec.folder / FOLDER
    folder = root / "runs" / run
    secrets = secrets_to_mask(plan)
    with run_directory(root, run) as work, _journal(folder, now) as note:

        def heard(event: Event) -> None:
            note(event)
            on_event(event)

        execution = Execution(
            plan,
            keys,
            Store(root),
            work,
            started,
            cores(),
            heard,
            use_cache=use_cache,
            secrets=secrets,
            results=dict(known or {}),
        )
        try:
            results = execution.run()
        finally:
            logs = _keep_logs(work, folder, secrets)
        for stage, log in logs.items():
            if isinstance(results[stage], Errored):
                heard(Event(stage, "logged", os.path.relpath(log)))
        return results


@contextlib.contextmanager
def _journal(folder: Path, now: Callable[[], datetime]) -> Iterator[OnEvent]:
    """Appends every event to the run's journal as it happens."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        journal = (folder / "journal.jsonl").open("ab", buffering=0)
    except OSError as error:
        raise cannot_write(folder, error) from None

    def note(event: Event) -> None:
        if event.what == "progress":
            return
        row = {"at": now().isoformat(), "stage": event.stage, "what": event.what}
        if event.detail:
            row["detail"] = event.detail
        if event.result is not None:
            row["outcome"] = str(event.result.outcome)
        try:
            journal.write(json.dumps(row).encode() + b"\n")
        except OSError as error:
            raise cannot_write(folder, error) from None

    with journal:
        yield note


def secrets_to_mask(plan: Plan) -> tuple[bytes, ...]:
    """What must not be written anywhere: values of secrets, and passwords of those that are URLs."""
    names = {name for node in plan.nodes for name in secrets_of(node.options)}
    values = {os.environ.get(name, "") for name in names}
    for value in tuple(values):
        if "://" in value:
            values.add(urlsplit(value).password or "")
    return tuple(sorted((v.encode() for v in values if v), key=len, reverse=True))


def _keep_logs(work: Path, folder: Path, secrets: tuple[bytes, ...]) -> dict[str, Path]:
    """What stages printed, kept where it is not empty: for whoever asks why one errored.

    The last log of each stage.
    """
    kept = {}
    with contextlib.suppress(OSError):
        for log in sorted(work.glob("*/log")):
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - _LOG_BYTES))
                text = file.read(_LOG_BYTES)
            for secret in secrets:
                text = text.replace(secret, b"***")
            if text:
                (folder / "logs").mkdir(exist_ok=True)
                path = folder / "logs" / f"{log.parent.name}.log"
                path.write_bytes(text)
                kept[log.parent.name.rpartition("-")[0]] = path
    return kept
