"""Run a plan here: side by side where it allows, each stage in a process of its own.

A stage starts when everything it waits for has passed. What is under its key already is not
measured again. A stage that measures time has the machine to itself. What finished is kept at
once, so a run that is stopped, however hard, is gone on with by the next one.
"""

import contextlib
import errno
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, ClassVar, Final

from pydantic import ValidationError

from mlgate.errors import Interrupted, StageError
from mlgate.evidence import Artifact, Evidence, Measured
from mlgate.files import cannot_write
from mlgate.gate import Outcome
from mlgate.quantity import seconds
from mlgate.run.plan import Key, Node, Plan, versions, why_missed
from mlgate.run.report import Errored, Ran, Result, Seen, Skipped
from mlgate.run.store import Store
from mlgate.run.worker import ANSWER, order
from mlgate.sources import marks_now
from mlgate.stage import Input, Located, Progress

_GRACE_S: Final = 3.0


@dataclass(frozen=True)
class Event:
    """Something that happened to a stage: for the journal, and for whoever watches."""

    stage: str
    what: str  # cached | started | progress | retry | finished | logged
    detail: str = ""
    progress: Progress | None = None
    result: Result | None = None


OnEvent = Callable[[Event], None]


@dataclass
class _Running:
    node: Node
    process: subprocess.Popen[bytes]
    folder: Path
    deadline: float
    read: tuple[Located, ...]
    attempt: int
    timed_out: bool = False


@dataclass
class Execution:
    """One execution of one plan.

    `folder` is private to the run, for the stages' work and logs. `now` is the run's clock;
    `cores` bounds how many stages run side by side.
    """

    # How a worker is started; -P: a user's numpy.py beside the spec is not what we import.
    worker: ClassVar[tuple[str, ...]] = (sys.executable, "-P", "-m", "mlgate.run.worker")

    plan: Plan
    keys: Mapping[str, Key]
    store: Store
    folder: Path
    now: datetime
    cores: int
    on_event: OnEvent
    use_cache: bool = True
    secrets: tuple[bytes, ...] = ()
    results: dict[str, Result] = field(default_factory=dict)
    _running: dict[str, _Running] = field(default_factory=dict)
    _events: "queue.Queue[tuple[str, Progress | None]]" = field(default_factory=queue.Queue)
    _again: dict[str, int] = field(default_factory=dict)

    def run(self) -> dict[str, Result]:
        """The result of every node, in the plan's order. Raises `Interrupted`, `StoreError`."""
        try:
            while len(self.results) < len(self.plan.nodes):
                self._start_what_can()
                if self._running:
                    self._wait()
        except KeyboardInterrupt:
            raise Interrupted(
                "stopped: what was finished is kept", hint="run it again to go on"
            ) from None
        finally:
            self._stop_all()
        return {node.id: self.results[node.id] for node in self.plan.nodes}

    def _start_what_can(self) -> None:
        progressed = True
        while progressed:
            progressed = False
            for node in self.plan.nodes:
                if node.id in self.results or node.id in self._running:
                    continue
                if all(other in self.results for other in node.after):
                    progressed |= self._start(node)

    def _start(self, node: Node) -> bool:
        """Settle a node at once, or start it; False when it must wait for room."""
        key = self.keys[node.id]
        if missed := blocked(node, self.results):
            self._settle(node, missed)
            return True
        if key.broken is not None:
            self._settle(node, self._broke(node, key.broken))
            return True
        if known := self._recalled(node):
            self._settle(node, self._judged(node, known))
            return True
        if not self._has_room(node):
            return False
        try:
            self._spawn(node)
        except StageError as error:
            self._settle(node, self._broke(node, error))
        return True

    def _recalled(self, node: Node) -> Seen | None:
        """What was measured under the node's key, if it is about what the node would read now."""
        key = self.keys[node.id]
        if not self.use_cache or key.digest is None:
            return None
        known = self.store.recall(key.digest)
        if known is None or not node.is_of(known[1], self._inputs(node)):
            return None
        digest, evidence = known
        return Seen(evidence, digest, cached=True)

    def _broke(self, node: Node, error: StageError) -> Errored:
        at = self.plan.spec.nearest("stages", node.id, *error.option)
        return Errored(error.message, error.hint, at.line if error.option else None)

    def _has_room(self, node: Node) -> bool:
        if not self._running:
            return True
        if _alone(node) or any(_alone(r.node) for r in self._running.values()):
            return False
        if node.stage.gpu(node.options) and any(
            r.node.stage.gpu(r.node.options) for r in self._running.values()
        ):
            return False
        return len(self._running) < max(1, self.cores)

    def _spawn(self, node: Node) -> None:
        key = self.keys[node.id]
        attempt = self._again.get(node.id, 0)
        folder = self.folder / f"{node.id}-{attempt}"
        located = {
            source.model_dump_json(by_alias=True): self._located(source.from_, key, source, folder)
            for source in node.inputs().values()
        }
        read = tuple(located.values())
        _refuse_changed(read, "since the run began")
        self._refuse_altered(node, "since it was made")
        limit = seconds(node.options.timeout)
        try:
            read_end, write_end = os.pipe()
        except OSError as error:
            raise _cannot_start(error) from None
        try:
            work = folder / "work"
            work.mkdir(parents=True)
            told = order(
                node.id,
                node.options,
                located,
                confidences=node.confidences,
                confidence=self.plan.spec.confidence,
                now=self.now,
                threads=max(1, self.cores),
                seconds=limit,
                news=write_end,
                earlier=self.store.earlier(node.id) if node.stage.looks_again else (),
            )
            (work / "order.json").write_bytes(told)
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen(
                    [*self.worker, str(work / "order.json")],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=(write_end,),
                    start_new_session=True,
                    env={**_environment(), **_QUIET},
                )
        except OSError as error:
            os.close(read_end)
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise cannot_write(folder, error) from None
            raise _cannot_start(error) from None
        finally:
            os.close(write_end)
        deadline = time.monotonic() + limit
        running = _Running(node, process, folder, deadline, read, attempt)
        self._running[node.id] = running
        threading.Thread(
            target=self._listen, args=(node.id, os.fdopen(read_end, "rb")), daemon=True
        ).start()
        self._say(Event(node.id, "started", self._why(node)))

    def _why(self, node: Node) -> str:
        key = self.keys[node.id]
        if key.reason:
            return key.reason
        if not self.use_cache:
            return "the cache is off"
        return why_missed(key.parts, self.store.last_parts(node.id))

    def _located(self, ref: str | None, key: Key, source: Input, folder: Path) -> Located:
        """Where an input lies; what another stage made is linked under its own name."""
        if ref is None:
            return key.located[source]
        made = self._made(ref)
        blob = self.store.path(made.digest)
        link = folder / "inputs" / ref.split(".", 1)[0] / made.name
        with contextlib.suppress(FileExistsError):
            link.parent.mkdir(parents=True, exist_ok=True)
            try:
                link.hardlink_to(blob)
            except OSError:  # a filesystem without hard links
                link.symlink_to(blob.resolve())
        return Located(str(link), made.digest, (link,))

    def _listen(self, stage: str, pipe: IO[bytes]) -> None:
        """Pass a worker's news on; a thread per worker. Its end is news too."""
        with pipe:
            for line in pipe:
                with contextlib.suppress(ValueError, TypeError):
                    self._events.put((stage, Progress(*json.loads(line))))
        self._events.put((stage, None))

    def _wait(self) -> None:
        """Until something happens, or the first time limit is over."""
        remaining = min(r.deadline for r in self._running.values()) - time.monotonic()
        try:
            stage, progress = self._events.get(timeout=max(0.01, min(remaining, 1.0)))
        except queue.Empty:
            self._stop_late_ones()
            return
        running = self._running.get(stage)
        if running is None:
            return
        if progress is not None:
            self._say(Event(stage, "progress", progress.message, progress))
            return
        del self._running[stage]
        self._finish(running)

    def _stop_late_ones(self) -> None:
        for running in self._running.values():
            if time.monotonic() > running.deadline:
                running.timed_out = True
                _kill(running.process, signal.SIGKILL)

    def _finish(self, running: _Running) -> None:
        node = running.node
        try:
            running.process.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:  # it closed its pipe, and lives
            _kill(running.process, signal.SIGKILL)
            running.process.wait()
        _reap(running.process)  # and whatever it left behind
        result = self._answer(running)
        wrong = _error(result)
        if wrong is not None and running.attempt < node.options.retries:
            self._again[node.id] = running.attempt + 1
            self._say(Event(node.id, "retry", wrong))
            return
        if isinstance(result, Ran):
            self._keep(node, result)
        self._settle(node, result)

    def _answer(self, running: _Running) -> Ran | Errored:
        node = running.node
        if running.timed_out:
            limit = node.options.timeout
            return Errored(f"ran longer than its timeout of {limit}", "give it more: timeout: 2h")
        try:
            answer = json.loads((running.folder / "work" / ANSWER).read_bytes())
        except (OSError, ValueError):
            return _crash(running)
        if "error" in answer:
            told = answer["error"]
            option = tuple(told.get("option", ()))
            return self._broke(node, StageError(told["message"], hint=told["hint"], option=option))
        try:
            _refuse_changed(running.read, "while it was read")
            self._refuse_altered(node, "while it was read")
        except StageError as error:
            return self._broke(node, error)
        try:
            found = Measured.model_validate_json(json.dumps(self._masked_value(answer["measured"])))
        except ValidationError as error:
            return Errored(f"what it measured is malformed: {error.error_count()} problems")
        evidence = self._evidence(node, found)
        for made in evidence.outputs.values():
            self.store.adopt(running.folder / "work" / made.name, made)
        digest = self.store.put(evidence.canonical())
        return self._judged(node, Seen(evidence, digest))

    def _evidence(self, node: Node, found: Measured) -> Evidence:
        """What a stage measured, with what the spine knows: on what, and with which tools."""
        return Evidence(
            uses=node.options.uses,
            inputs=self._inputs(node),
            tools=versions(node.stage.packages),
            measurements=found.measurements,
            comparisons=found.comparisons,
            outputs=found.outputs,
            details=found.details,
        )

    def _inputs(self, node: Node) -> dict[str, str]:
        """The digest of what lies at each port; one that is not known before it is read has none."""
        found = {}
        for port, source in node.inputs().items():
            if source.from_ is None:
                digest = self.keys[node.id].located[source].digest
            else:
                digest = self._made(source.from_).digest
            if digest is not None:
                found[port] = digest
        return found

    def _refuse_altered(self, node: Node, when: str) -> None:
        """Raise `StageError` for an output of another stage that is not what that stage made."""
        for source in node.inputs().values():
            if source.from_ is not None and not self.store.verify(self._made(source.from_)):
                hint = "run it again: it is made anew"
                raise StageError(f"{source.from_} was altered {when}", hint=hint)

    def _made(self, ref: str) -> Artifact:
        """The output that `stage.output` names. Raises `StageError` where there is none."""
        maker, output = ref.split(".", 1)
        result = self.results[maker]
        assert isinstance(result, Ran)
        made = result.evidence.outputs.get(output)
        if made is None:
            raise StageError(f"{maker} made no {output}")
        return made

    def _judged(self, node: Node, seen: Seen) -> Ran:
        return node.terms.judge(seen, confidence=self.plan.spec.confidence)

    def _keep(self, node: Node, result: Ran) -> None:
        key = self.keys[node.id]
        if key.digest is not None and is_answer(node, result):
            self.store.remember(node.id, key.digest, key.parts, result.digest)

    def _settle(self, node: Node, result: Result) -> None:
        if isinstance(result, Errored):
            message, hint = self._masked(result.message), result.hint and self._masked(result.hint)
            result = Errored(message, hint, result.line)
        self.results[node.id] = result
        what = "cached" if isinstance(result, Ran) and result.cached else "finished"
        self._say(Event(node.id, what, result=result))

    def _say(self, event: Event) -> None:
        """Pass an event on, without secrets."""
        progress = event.progress
        if progress is not None:
            progress = replace(progress, message=self._masked(progress.message))
        self.on_event(replace(event, detail=self._masked(event.detail), progress=progress))

    def _masked_value(self, value: Any) -> Any:
        """A JSON value whose texts hold no secrets: a library may put them into any."""
        if isinstance(value, str):
            return self._without_secrets(value)
        if isinstance(value, list):
            return [self._masked_value(item) for item in value]
        if isinstance(value, dict):
            return {key: self._masked_value(item) for key, item in value.items()}
        return value

    def _without_secrets(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret.decode(errors="replace"), "***")
        return text

    def _masked(self, text: str) -> str:
        """Without secrets, and without this machine's path to the spec, which readers know."""
        return self._without_secrets(text).replace(f"{self.plan.spec.folder}/", "")

    def _stop_all(self) -> None:
        for running in self._running.values():
            _kill(running.process, signal.SIGTERM)
        for running in self._running.values():
            try:
                running.process.wait(timeout=_GRACE_S)
            except subprocess.TimeoutExpired:
                pass
            _reap(running.process)
        self._running.clear()


def _refuse_changed(read: Iterable[Located], when: str) -> None:
    """Raise `StageError` for an input whose files are not those that were digested."""
    for located in read:
        now, then = dict(marks_now(located)), dict(located.marks)
        for path in sorted({*now, *then}):
            if now.get(path) != then.get(path):
                raise StageError(f"{path} changed {when}", hint="run it again")


# Settings that change how Python itself runs are those of whoever called us, not a worker's.
_NOT_A_WORKERS: Final = frozenset(
    {"PYTHONWARNINGS", "PYTHONDEVMODE", "PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONSTARTUP"}
)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _NOT_A_WORKERS}


def _cannot_start(error: OSError) -> StageError:
    hints = {
        errno.EMFILE: "let it open more files: ulimit -n 1024",
        errno.ENFILE: "the system has too many files open",
        errno.EAGAIN: "the user has too many processes: ulimit -u",
        errno.ENOMEM: "the system is out of memory",
        errno.EACCES: f"may this user run {sys.executable}?",
    }
    hint = hints.get(error.errno or 0)
    return StageError(f"its process cannot be started: {error.strerror}", hint=hint)


# Libraries that a stage loads may not call home or draw progress bars.
_QUIET: Final = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_OFFLINE": "1",
    "TQDM_DISABLE": "1",
    "PYTHONHASHSEED": "0",
}


def is_answer(node: Node, result: Ran) -> bool:
    """Whether a result answers its gates for good, so that it may be kept under its key.

    What could not be judged is none. Where time is measured an inconclusive result is none either:
    the machine may be quieter next time.
    """
    open_ = {Outcome.ERROR}
    if node.stage.exclusive(node.options):
        open_.add(Outcome.INCONCLUSIVE)
    return all(gate.rank not in open_ for gate in result.gates)


def blocked(node: Node, results: Mapping[str, Result]) -> Skipped | None:
    """Why a stage cannot start, given what those it waits for came to; None when it can."""
    for other in node.after:
        outcome = results[other].outcome
        if outcome > Outcome.WARN:
            how = {
                Outcome.FAIL: "did not pass",
                Outcome.INCONCLUSIVE: "is inconclusive",
                Outcome.ERROR: "could not be measured",
            }[outcome]
            return Skipped(f"{other} {how}", outcome)
    return None


def _error(result: Ran | Errored) -> str | None:
    """Why there is no answer, where trying again may give one."""
    if isinstance(result, Errored):
        return result.message
    return next((gate.message for gate in result.gates if gate.rank is Outcome.ERROR), None)


def _alone(node: Node) -> bool:
    return node.stage.exclusive(node.options)


def _kill(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, how)


def _reap(process: subprocess.Popen[bytes]) -> None:
    _kill(process, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _crash(running: _Running) -> Errored:
    """Why a worker ended without an answer."""
    code = running.process.returncode
    last = _last_line(running.folder / "log")
    if code == -signal.SIGKILL:
        hint = "the system was probably out of memory: lower memory, or give it more"
        return Errored("its process was killed (SIGKILL)", hint)
    if code < 0:
        name = signal.Signals(-code).name
        hint = f"a native library crashed{last and ': ' + last}"
        return Errored(f"its process died of {name}", hint)
    if code == 0:
        return Errored("its process ended without an answer (exit code 0)", "see the stage's log")
    return Errored(f"it failed unexpectedly: {last or f'exit code {code}'}", "see the stage's log")


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip()[:300] if lines else ""
