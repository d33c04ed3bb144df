"""The main job: plan, execute, judge, report, and leave a record that can be judged again.

.mlgate/runs/<run>/verdict.json   canonical: the same bytes for the same evidence
.mlgate/runs/<run>/run.json       what verdict.json leaves out: times, host, versions
.mlgate/runs/<run>/evidence/      <stage>.json; and outputs/<stage>/<file>: with verdict.json all
                                  that `mlgate verify` needs
.mlgate/runs/<run>/report.html    for people; and logs/<stage>.log
.mlgate/latest                    the last run
"""

import contextlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Final
from urllib.parse import urlsplit

from mlgate import __version__
from mlgate.errors import StoreError, UsageError
from mlgate.evidence import Evidence, canonical
from mlgate.files import FOLDER, write_atomic
from mlgate.gate import Gate, Outcome, judge_all
from mlgate.machine import cores, hardware
from mlgate.render import github, html, junit, markdown, sarif, text
from mlgate.render import json as as_json
from mlgate.run.plan import Key, Plan, keys, resolve
from mlgate.run.report import Errored, Ran, Report, Result, Skipped
from mlgate.run.scheduler import Event, Execution, run_directory
from mlgate.run.store import Store
from mlgate.sources import DigestCache
from mlgate.spec.spec import Spec
from mlgate.stage import secrets_of

RUN_SCHEMA: Final = "mlgate/run/v1"
_LOG_BYTES: Final = 10_000_000


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


def prepare(
    spec: Spec, *, only: Iterable[str] = (), now: datetime, include_deploys: bool = False
) -> tuple[Plan, dict[str, Key]]:
    """The plan and every node's key; reads every input's digest."""
    plan = resolve(spec, only=only, include_deploys=include_deploys)
    memory = spec.folder / FOLDER / "cache" / "digests.json"
    digests = DigestCache(memory, int(now.timestamp() * 1e9))
    found = keys(plan, lambda source: digests.located(source, spec.folder))
    with contextlib.suppress(StoreError):
        digests.save()
    return plan, found


def check(
    spec: Spec,
    *,
    only: Iterable[str] = (),
    use_cache: bool = True,
    now: Callable[[], datetime],
    on_event: Callable[[Event], None] = lambda _: None,
) -> Checked:
    """Run every stage, judge it, and keep the record. `now` is the clock, aware."""
    started = now()
    plan, found = prepare(spec, only=only, now=started)
    root = spec.folder / FOLDER
    run = run_name(started)
    folder = root / "runs" / run
    store = Store(root)
    secrets = _secrets(plan)
    with run_directory(root, run) as work, _journal(folder, now) as note:

        def heard(event: Event) -> None:
            note(event)
            on_event(event)

        execution = Execution(
            plan,
            found,
            store,
            work,
            started,
            cores(),
            heard,
            use_cache=use_cache,
            secrets=secrets,
        )
        try:
            results = execution.run()
        finally:
            _keep_logs(work, folder, secrets)
    return keep(spec, plan, results, run=run, started=started, ended=now())


def left_out(spec: Spec, results: Iterable[str]) -> tuple[str, ...]:
    """The stages that a check has and these results do not."""
    there = set(results)
    return tuple(node.id for node in resolve(spec).nodes if node.id not in there)


def run_name(started: datetime) -> str:
    """A new name for a run: names sort by time."""
    return f"{started:%Y%m%dT%H%M%SZ}-{token_hex(3)}"


def keep(
    spec: Spec,
    plan: Plan,
    results: Mapping[str, Result],
    *,
    run: str,
    started: datetime,
    ended: datetime,
) -> Checked:
    """The report of a plan's results, and its record on disk under the name `run`."""
    root = spec.folder / FOLDER
    folder = root / "runs" / run
    report = Report(
        name=spec.name,
        spec_digest=spec.digest,
        profile=spec.profile,
        confidence=spec.confidence,
        uses={node.id: node.options.uses for node in plan.nodes},
        lines={node.id: node.line for node in plan.nodes},
        results=results,
        left_out=left_out(spec, results),
    )
    record = _record(plan, report, run, started, ended)
    checked = Checked(report, folder, spec.file, _about(record))
    write_atomic(folder / "run.json", canonical(record))
    write_atomic(folder / "verdict.json", report.verdict())
    for name, content in rendered(checked).items():
        write_atomic(folder / name, content.encode())
    # Last: a run that is stopped before its verdict is written leaves no model to pick up.
    _link_files(Store(root), folder, results)
    _point_latest(root, run)
    return checked


# Each is given how its reader calls the spec's file.
RENDERERS: Final[Mapping[str, Callable[[Checked, str], str]]] = {
    "github": lambda run, file: github.render(run.report, file=file),
    "html": lambda run, _: html.render(run.report, about=run.about),
    "json": lambda run, _: as_json.render(run.report),
    "junit": lambda run, file: junit.render(run.report, file=file),
    "markdown": lambda run, file: markdown.render(run.report, file=file),
    "sarif": lambda run, file: sarif.render(run.report, file=file),
    "text": lambda run, file: text.render(run.report, file=file),
}


def rendered(checked: Checked) -> dict[str, str]:
    """Every file that a run's record has for people and other tools.

    They call the spec as its repository does, for that is how services find its lines.
    """
    file = _in_repository(checked)
    kept = {
        "report.html": "html",
        "report.md": "markdown",
        "junit.xml": "junit",
        "results.sarif": "sarif",
    }
    return {name: RENDERERS[form](checked, file) for name, form in kept.items()}


def _in_repository(checked: Checked) -> str:
    """The spec's path from the root of the git repository around it, or its name without one."""
    # .mlgate/runs/<run>, beside the spec
    beside = checked.folder.resolve().parents[2]
    for above in (beside, *beside.parents):
        if (above / ".git").exists():
            return (beside / checked.file).relative_to(above).as_posix()
    return checked.file


def stored_runs(root: Path) -> tuple[str, ...]:
    """Names of the runs in a spec's `.mlgate` folder that came to an end, oldest first."""
    return tuple(sorted(path.parent.name for path in (root / "runs").glob("*/run.json")))


def judge(root: Path, run: str | None, *, file: str | None = None) -> Checked:
    """The report of a stored run, judged again from its evidence alone.

    `root` is the spec's `.mlgate` folder; `run` is a run's name, the last one if None: the last of
    the spec called `file`, if that is given, for a folder may hold several. Raises `UsageError`
    for a run that is not there, `StoreError` for evidence that is not whole.
    """
    folder = folder_of(root, run, file=file)
    report = recorded(folder, Store(root).evidence)
    with _reading(folder):
        record = _recorded(folder)
        return Checked(report, folder, file_in(record), _about(record))


def folder_of(root: Path, run: str | None, *, file: str | None = None) -> Path:
    """The folder of a stored run; the arguments and errors are those of `judge`."""
    if run is None and file is not None:
        run = _last_of(root, file)
    return _run_folder(root, run)


def recorded(folder: Path, evidence: Callable[[str], Evidence]) -> Report:
    """The report that the gates in a run's record make of the evidence; `evidence` finds it.

    Raises `StoreError` for a record that cannot be read.
    """
    with _reading(folder):
        record = _recorded(folder)
        results = {row["id"]: _result(row, record, evidence) for row in record["stages"]}
        report = Report(
            name=record["name"],
            spec_digest=record["spec_digest"],
            profile=record.get("profile"),
            confidence=record["confidence"],
            uses={row["id"]: row["uses"] for row in record["stages"]},
            lines={row["id"]: row["line"] for row in record["stages"]},
            results=results,
            left_out=tuple(record["left_out"]),
        )
        report.verdict()  # what cannot be written down was never a record
    return report


def wiring(folder: Path) -> dict[str, dict[str, str | None]]:
    """Where each stage's inputs came from, as a run's record says: `stage.output`, by port.

    None: from outside. Raises `StoreError` for a record that cannot be read.
    """
    with _reading(folder):
        found = {row["id"]: dict(row["from"]) for row in _recorded(folder)["stages"]}
        for source in (source for ports in found.values() for source in ports.values()):
            if not isinstance(source, str | None):
                raise TypeError(source)
    return found


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise StoreError(
            f"the record of {folder.name} cannot be read: {type(error).__name__}",
            hint="it was altered, or the run was stopped before it was judged",
        ) from None


def _recorded(folder: Path) -> Any:
    record = json.loads((folder / "run.json").read_bytes())
    if record["schema"] != RUN_SCHEMA:
        raise StoreError(f"{folder / 'run.json'} is of another version: {record['schema']}")
    return record


def file_in(record: Mapping[str, Any]) -> str:
    """The name of the spec that a run's record is of. Raises `TypeError`, `LookupError`."""
    file = record["file"]
    if not isinstance(file, str):
        raise TypeError(file)
    return file


def _about(record: Mapping[str, Any]) -> tuple[str, ...]:
    """What a record says of a run that its verdict does not. What it lacks is left out."""
    said = [f"run {record['run']}"] if "run" in record else []
    if "started" in record:
        started = datetime.fromisoformat(record["started"]).astimezone(UTC)
        said.append(f"{started:%Y-%m-%d %H:%M} UTC")
    said += [
        f"{title} {record[name]}"
        for name, title in (("mlgate", "mlgate"), ("python", "Python"))
        if name in record
    ]
    machine = record.get("hardware", {})
    for name, words in (
        ("processor", "{}"),
        ("machine", "{}"),
        ("cores", "{} cores"),
        ("gpus", "GPU {}"),
    ):
        if machine.get(name):
            said.append(words.format(machine[name]))
    return tuple(said)


def compare_with_stored(checked: Checked) -> None:
    """Raise `StoreError` when the stored verdict is not what the evidence says."""
    try:
        stored = (checked.folder / "verdict.json").read_bytes()
    except OSError:
        raise StoreError(f"{checked.folder.name} has no verdict.json") from None
    if stored != checked.report.verdict():
        raise StoreError(
            "the stored verdict.json is not what the evidence says",
            hint="it was altered, or was judged by another version of mlgate",
        )


def _result(
    row: Mapping[str, Any], record: Mapping[str, Any], find: Callable[[str], Evidence]
) -> Result:
    if "broke" in row:
        return Errored(row["broke"], row.get("hint"), row.get("at"))
    if "not_run" in row:
        return Skipped(row["not_run"], Outcome[row["outcome"].upper()])
    evidence = find(row["evidence"])
    gates = [Gate.model_validate_json(json.dumps(gate)) for gate in row["gates"]]
    judged = judge_all(gates, evidence, confidence=record["confidence"])
    return Ran(evidence, row["evidence"], judged, tuple(row["lines"]), row["cached"])


def _record(
    plan: Plan, report: Report, run: str, started: datetime, ended: datetime
) -> dict[str, Any]:
    rows = []
    for node in plan.nodes:
        row: dict[str, Any] = {"id": node.id, "uses": node.options.uses, "line": node.line}
        row["from"] = {port: source.from_ for port, source in node.inputs().items()}
        match report.results[node.id]:
            case Ran() as ran:
                gates = [g.model_dump(mode="json", exclude_none=True) for g in node.options.gates]
                row |= {"evidence": ran.digest, "gates": gates, "lines": list(ran.lines)}
                row["cached"] = ran.cached
            case Errored() as broke:
                row |= {"broke": broke.message, "hint": broke.hint, "at": broke.line}
            case Skipped() as missed:
                row |= {"not_run": missed.because, "outcome": str(missed.outcome)}
        rows.append(row)
    return {
        "schema": RUN_SCHEMA,
        "run": run,
        "name": report.name,
        "file": plan.spec.file,
        "spec_digest": report.spec_digest,
        "profile": report.profile,
        "confidence": report.confidence,
        "left_out": list(report.left_out),
        "started": started.isoformat(),
        "ended": ended.isoformat(),
        "host": platform.node(),
        "hardware": hardware(),
        "mlgate": __version__,
        "python": platform.python_version(),
        "stages": rows,
    }


@contextlib.contextmanager
def _journal(folder: Path, now: Callable[[], datetime]) -> Any:
    """Appends every event to the run's journal as it happens."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        journal = (folder / "journal.jsonl").open("ab", buffering=0)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}") from None

    def note(event: Event) -> None:
        if event.what != "progress":
            row = {"at": now().isoformat(), "stage": event.stage, "what": event.what}
            if event.detail:
                row["detail"] = event.detail
            if event.result is not None:
                row["outcome"] = str(event.result.outcome)
            journal.write(json.dumps(row).encode() + b"\n")

    with journal:
        yield note


def _secrets(plan: Plan) -> tuple[bytes, ...]:
    """What must not reach a log: the values of secrets, and the passwords of those that are URLs."""
    values = {os.environ.get(name, "") for node in plan.nodes for name in secrets_of(node.options)}
    for value in tuple(values):
        if "://" in value:
            values.add(urlsplit(value).password or "")
    return tuple(sorted((v.encode() for v in values if v), key=len, reverse=True))


def _keep_logs(work: Path, folder: Path, secrets: tuple[bytes, ...]) -> None:
    """What stages printed, kept where it is not empty: for whoever asks why one broke."""
    with contextlib.suppress(OSError):
        for log in sorted(work.glob("*/log")):
            text = log.read_bytes()[-_LOG_BYTES:]
            for secret in secrets:
                text = text.replace(secret, b"***")
            if text:
                (folder / "logs").mkdir(exist_ok=True)
                (folder / "logs" / f"{log.parent.name}.log").write_bytes(text)


def _link_files(store: Store, folder: Path, results: Mapping[str, Result]) -> None:
    """The evidence, and the files that stages made, under names that people know."""
    for stage, result in results.items():
        if not isinstance(result, Ran):
            continue
        links = {folder / "evidence" / f"{stage}.json": result.digest}
        for made in result.evidence.outputs.values():
            links[folder / "outputs" / stage / made.name] = made.digest
        for link, digest in links.items():
            with contextlib.suppress(OSError):
                link.parent.mkdir(parents=True, exist_ok=True)
                try:
                    link.hardlink_to(store.path(digest))
                except OSError:  # a filesystem without hard links; evidence is small
                    if link.parent.name == "evidence":
                        link.write_bytes(store.get(digest))


def _point_latest(root: Path, run: str) -> None:
    temporary = root / f".latest.{token_hex(4)}"
    with contextlib.suppress(OSError):
        if (root / "latest").is_dir() and not (root / "latest").is_symlink():
            # A tree that was copied with its links followed: out of the way, but not lost.
            (root / "latest").rename(root / "runs" / f"copied-{token_hex(3)}")
        temporary.symlink_to(Path("runs") / run)
        temporary.replace(root / "latest")


def _last_of(root: Path, file: str) -> str:
    """The last run of the spec of that name. Raises `UsageError` when there is none.

    One that cannot be read may be it: an older one must not pass for it (`StoreError`).
    """
    for run in reversed(stored_runs(root)):
        folder = root / "runs" / run
        with _reading(folder):
            if file_in(json.loads((folder / "run.json").read_bytes())) == file:
                return run
    raise UsageError(f"{file} has not been checked here yet", hint=f"run mlgate check {file}")


def _run_folder(root: Path, run: str | None) -> Path:
    if run is None:
        folder = root / "latest"
        if not folder.exists():
            raise UsageError("nothing has been checked here yet", hint="run mlgate check")
        return folder.resolve()
    if Path(run).name != run or run in ("", ".", ".."):
        raise UsageError(f"{run!r} is not a run's name", hint="see the folders in .mlgate/runs")
    folder = root / "runs" / run
    if not folder.exists():
        known = sorted(p.name for p in (root / "runs").glob("*"))[-3:]
        hint = f"the last ones: {', '.join(known)}" if known else "run mlgate check first"
        raise UsageError(f"there is no run {run!r}", hint=hint)
    return folder
