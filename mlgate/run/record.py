"""The record of a run on disk: written whole, read by its model, judged again from its evidence.

.mlgate/runs/<run>/verdict.json   canonical: the same bytes for the same evidence
.mlgate/runs/<run>/run.json       what verdict.json leaves out: times, host, versions
.mlgate/runs/<run>/evidence/      <stage>.json; and outputs/<stage>/<file>: with verdict.json all
                                  that `mlgate verify` needs
.mlgate/runs/<run>/report.html    for people; and logs/<stage>-<attempt>.log
.mlgate/latest                    the last run
"""

import contextlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from mlgate import __version__
from mlgate.documents import ErrorRow, RunDocument, RunStage, SkippedRow
from mlgate.errors import StoreError, UsageError
from mlgate.evidence import Evidence
from mlgate.files import read_bytes, write_atomic
from mlgate.gate import Outcome
from mlgate.machine import hardware
from mlgate.policy.rules import Policies
from mlgate.run.plan import Node, Plan
from mlgate.run.report import (
    Errored,
    Found,
    Ran,
    Report,
    Result,
    Seen,
    Skipped,
    StageTerms,
    Terms,
    judge,
)
from mlgate.run.store import Store

# A record names every gate of every stage; a thousand stages come to a few megabytes.
_LARGEST_RECORD: Final = 256_000_000


@dataclass(frozen=True)
class Checked:
    """A finished run: its report, and the folder that holds its record.

    `file` is the spec's name in its own folder. `about` says what the verdict leaves out: when the
    run was, by which versions and on which hardware.
    """

    report: Report
    folder: Path
    file: str
    about: tuple[str, ...] = ()


def run_name(started: datetime) -> str:
    """A new name for a run: names sort by time."""
    return f"{started:%Y%m%dT%H%M%SZ}-{token_hex(3)}"


def described(
    plan: Plan, report: Report, run: str, *, started: datetime, ended: datetime
) -> RunDocument:
    """The record of a run that was just judged."""
    policies = report.terms.policies
    asked: dict[str, Any] = {"policies": policies} if policies.rules else {}
    return RunDocument(
        **asked,
        run=run,
        name=report.name,
        file=plan.spec.file,
        spec_digest=report.spec_digest,
        profile=report.profile,
        confidence=report.confidence,
        left_out=report.left_out,
        changed=report.changed,
        started=started.isoformat(),
        ended=ended.isoformat(),
        host=platform.node(),
        hardware=hardware(),
        mlgate=__version__,
        python=platform.python_version(),
        stages=tuple(_stage(node, report.results[node.id]) for node in plan.nodes),
    )


def _stage(node: Node, result: Result) -> RunStage:
    head: dict[str, Any] = {
        "id": node.id,
        "uses": node.options.uses,
        "line": node.line,
        "from_": {port: source.from_ for port, source in node.inputs().items()},
    }
    match result:
        case Ran():
            return RunStage(
                **head,
                gates=node.options.gates,
                lines=result.lines,
                evidence=result.digest,
                cached=result.cached,
            )
        case Errored():
            row = ErrorRow(message=result.message, hint=result.hint, line=result.line)
            return RunStage(**head, errored=row)
        case Skipped():
            skipped = SkippedRow(because=result.because, outcome=result.outcome.word)
            return RunStage(**head, skipped=skipped)


def write(root: Path, checked: Checked, record: RunDocument, rendered: Mapping[str, str]) -> None:
    """The whole record, in an order in which a run that is stopped leaves nothing that misleads."""
    folder = checked.folder
    write_atomic(folder / "run.json", record.canonical())
    write_atomic(folder / "verdict.json", checked.report.verdict())
    for name, content in rendered.items():
        write_atomic(folder / name, content.encode())
    # Last: a run that is stopped before its verdict is written leaves no model to pick up.
    _copy_files(Store(root), folder, checked.report.results)
    _point_latest(root, folder.name)


def stored_runs(root: Path) -> tuple[str, ...]:
    """Names of the runs in a spec's `.mlgate` folder that came to an end, oldest first."""
    return tuple(sorted(path.parent.name for path in (root / "runs").glob("*/run.json")))


def read(folder: Path) -> RunDocument:
    """A run's record. Raises `StoreError` for one that cannot be read."""
    try:
        return RunDocument.read(read_bytes(folder / "run.json", most=_LARGEST_RECORD))
    except ValueError as wrong:
        raise StoreError(
            f"the record of {folder.name} cannot be read: run.json: {wrong}",
            hint="it was altered, or written by another version of mlgate",
        ) from None
    except OSError as error:
        raise StoreError(
            f"the record of {folder.name} cannot be read: run.json: {error.strerror or error}",
            hint="it was altered, or the run was stopped before it was judged",
        ) from None


def judge_stored(root: Path, run: str | None, *, file: str | None = None) -> Checked:
    """The report of a stored run, judged again from its evidence alone.

    `root` is the spec's `.mlgate` folder; `run` is a run's name, the last one if None: the last of
    the spec called `file`, if that is given, for a folder may hold several. Raises `UsageError`
    for a run that is not there, `StoreError` for evidence that is not whole.
    """
    folder = folder_of(root, run, file=file)
    record = read(folder)
    report = judge_record(record, Store(root).evidence)
    return Checked(report, folder, record.file, about(record))


def judge_record(record: RunDocument, evidence: Callable[[str], Evidence]) -> Report:
    """The report that the gates in a run's record make of the evidence; `evidence` finds it."""
    found: dict[str, Found] = {}
    for stage in record.stages:
        if stage.evidence is not None:
            found[stage.id] = Seen(evidence(stage.evidence), stage.evidence, stage.cached)
        elif stage.errored is not None:
            row = stage.errored
            found[stage.id] = Errored(row.message, row.hint, row.line)
        elif stage.skipped is not None:
            outcome = Outcome[stage.skipped.outcome.upper()]
            found[stage.id] = Skipped(stage.skipped.because, outcome)
        else:
            raise StoreError(f"the record says nothing of what became of {stage.id}")
        if len(stage.lines) != len(stage.gates):
            raise StoreError(f"the record of {stage.id} has gates without a line")
    return judge(_terms(record), found)


def _terms(record: RunDocument) -> Terms:
    stages = {
        stage.id: StageTerms(stage.uses, stage.line, stage.gates, stage.lines)
        for stage in record.stages
    }
    return Terms(
        name=record.name,
        spec_digest=record.spec_digest,
        profile=record.profile,
        confidence=record.confidence,
        stages=stages,
        left_out=record.left_out,
        changed=record.changed,
        policies=record.policies or Policies(),
    )


def about(record: RunDocument) -> tuple[str, ...]:
    """What a record says of a run that its verdict does not. What it lacks is left out."""
    said = [f"run {record.run}"] if record.run else []
    if record.started:
        started = datetime.fromisoformat(record.started).astimezone(UTC)
        said.append(f"{started:%Y-%m-%d %H:%M} UTC")
    if record.mlgate:
        said.append(f"mlgate {record.mlgate}")
    if record.python:
        said.append(f"Python {record.python}")
    for name, words in (
        ("processor", "{}"),
        ("machine", "{}"),
        ("cores", "{} cores"),
        ("gpus", "GPU {}"),
    ):
        if record.hardware.get(name):
            said.append(words.format(record.hardware[name]))
    return tuple(said)


def compare_with_stored(checked: Checked) -> None:
    """Raise `StoreError` when the stored verdict is not what the evidence says."""
    try:
        stored = read_bytes(checked.folder / "verdict.json", most=_LARGEST_RECORD)
    except OSError:
        raise StoreError(f"{checked.folder.name} has no verdict.json") from None
    if stored != checked.report.verdict():
        raise StoreError(
            "the stored verdict.json is not what the evidence says",
            hint="it was altered, or was judged by another version of mlgate",
        )


def folder_of(root: Path, run: str | None, *, file: str | None = None) -> Path:
    """The folder of a stored run; the arguments and errors are those of `judge_stored`."""
    if run is None and file is not None:
        run = _last_of(root, file)
    if run is None:
        return _latest(root)
    if Path(run).name != run or run in ("", ".", ".."):
        raise UsageError(f"{run!r} is not a run's name", hint="see the folders in .mlgate/runs")
    folder = root / "runs" / run
    if not folder.exists():
        known = sorted(path.name for path in (root / "runs").glob("*"))[-3:]
        hint = f"the last ones: {', '.join(known)}" if known else "run mlgate check first"
        raise UsageError(f"there is no run {run!r}", hint=hint)
    return folder


def _latest(root: Path) -> Path:
    """The last run: what `latest` points to.

    Archives and some file systems keep no links: then it is a text file, or points nowhere. The
    last whole run stands for it, unless a later one is named that is gone: an older run must not
    pass for the last one.
    """
    pointed = (root / "latest").resolve()
    if (pointed / "run.json").exists():
        return pointed
    runs = stored_runs(root)
    if not runs:
        raise UsageError("nothing has been checked here yet", hint="run mlgate check")
    named = _named(root / "latest")
    if named > runs[-1]:
        hint = f"the last one that is whole: {runs[-1]}"
        raise UsageError(f"the last run, {named}, is not there or was not finished", hint=hint)
    return root / "runs" / (named if named in runs else runs[-1])


def _named(latest: Path) -> str:
    """The run that a link or a text file names; empty where there is none."""
    try:
        if latest.is_symlink():
            return latest.readlink().name
        return Path(read_bytes(latest, most=1000).decode().strip()).name
    except (OSError, ValueError):
        return ""


def _last_of(root: Path, file: str) -> str:
    """The last run of the spec of that name. Raises `UsageError` when there is none.

    One that cannot be read may be it: an older one must not pass for it (`StoreError`).
    """
    for run in reversed(stored_runs(root)):
        if read(root / "runs" / run).file == file:
            return run
    raise UsageError(f"{file} has not been checked here yet", hint=f"run mlgate check {file}")


def _copy_files(store: Store, folder: Path, results: Mapping[str, Result]) -> None:
    """The evidence, and the files that stages made, under names that people know.

    Copies, never links into the store: whoever changes one changes nothing that a later run
    believes.
    """
    for stage, result in results.items():
        if not isinstance(result, Ran):
            continue
        with contextlib.suppress(OSError, StoreError):
            write_atomic(folder / "evidence" / f"{stage}.json", store.get(result.digest))
        for made in result.evidence.outputs.values():
            with contextlib.suppress(OSError):
                store.copy_to(folder / "outputs" / stage / made.name, made)


def _point_latest(root: Path, run: str) -> None:
    temporary = root / f".latest.{token_hex(4)}"
    with contextlib.suppress(OSError):
        if (root / "latest").is_dir() and not (root / "latest").is_symlink():
            # A tree that was copied with its links followed: out of the way, but not lost.
            (root / "latest").rename(root / "runs" / f"copied-{token_hex(3)}")
        temporary.symlink_to(Path("runs") / run)
        temporary.replace(root / "latest")
