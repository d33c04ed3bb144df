"""The one that moves traffic: asks the journal what comes next, does it, and writes it down.

Every effect is written as an intent before and as done after it, and is absolute, so that doing it
twice is doing it once. Killed at any instruction, the next controller reads the journal and goes
on; meanwhile the lease in the router sends everybody to stable.
"""

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import JsonValue

from mlgate.errors import MlgateError
from mlgate.evidence import tuples
from mlgate.quantity import seconds
from mlgate.rollout.batch import Batch
from mlgate.rollout.course import Course
from mlgate.rollout.engine import Answer
from mlgate.rollout.journal import Journal
from mlgate.rollout.people import Orders
from mlgate.rollout.progress import EFFECTS, Move, Progress, State, replay
from mlgate.rollout.trigger import slow_factors

# Shares that differ by less are the same: routers round.
_TOLERANCE: Final = 0.0051
_TRIES: Final = 3


class RouterError(MlgateError):
    """A router did not answer, or did not do what it was told."""


class NotEffective(RouterError):
    """The router acknowledged a share and has another."""


class Router(Protocol):
    """What splits the traffic. Shares are absolute, in [0, 1], of the canary."""

    def check(self) -> None:
        """Raise `RouterError` where the router or one of the arms is not there."""

    def set_share(self, share: float) -> None:
        """Give the canary this share: raise the one arm before the other is lowered."""

    def share(self) -> float:
        """The share that the router has now, read back from it."""

    def renew(self, lease: float) -> None:
        """All traffic goes to stable when this is not called again within so many seconds."""

    def settle(self) -> None:
        """After a promotion: make the new version the stable one, also for the next reload."""


class Source(Protocol):
    """What tells how the arms do."""

    def thresholds(self) -> dict[str, float] | None:
        """Quantiles of stable's latency so far, in ms; None while there is too little of it."""

    def read(self, batch: Batch, thresholds: Mapping[str, float]) -> tuple[Batch, dict[str, Any]]:
        """`batch` filled with what was seen since the last call, and where reading goes on.

        A source that does not answer is named in `down`; what is missing is never a zero.
        """

    def resume(
        self,
        offsets: Sequence[Mapping[str, Any]],
        batches: Sequence[Batch],
        thresholds: Mapping[str, float],
    ) -> None:
        """Go on where a controller before this one stopped: its batches, and where each ended."""


class Probe(Protocol):
    """Inference on one arm, past the router."""

    def infer(self, arm: str) -> str | None:
        """One inference; what is wrong with its answer, or None."""


class Registry(Protocol):
    """Where the name `champion` is kept."""

    def promote(self) -> None:
        """Point the alias at the new version, and keep the previous one under its own name."""


class Notifier(Protocol):
    """Where people hear of it."""

    def tell(self, news: Mapping[str, JsonValue]) -> str | None:
        """Deliver; what went wrong, or None."""


class Clock:
    """The time. Durations come from the monotonic one: a jump of the wall clock moves nothing."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, duration: float) -> None:
        time.sleep(duration)


@dataclass(frozen=True)
class World:
    """Everything that a controller touches."""

    router: Router
    source: Source
    probe: Probe
    registry: Registry
    notifier: Notifier
    clock: Clock
    on_event: Callable[[Progress, Move], None] = lambda _progress, _move: None


@dataclass(frozen=True)
class Ending:
    """How a rollout ended."""

    state: State
    why: str


class Controller:
    """Runs one rollout in one folder: `journal.jsonl`, `orders.jsonl`, `lock`."""

    def __init__(
        self, folder: Path, course: Course, about: Mapping[str, JsonValue], world: World
    ) -> None:
        self._folder = folder
        self._course = course
        self._about = dict(about)
        self._world = world
        self._orders = Orders(folder / "orders.jsonl")
        self._progress = Progress(course)
        self._journal: Journal

    def run(self) -> Ending:
        """Begin, or go on where the journal stops, until there is an end.

        Raises `RouterError` and other `MlgateError`s when it cannot go on; the traffic is then on
        stable, or goes there when the lease runs out, and the next call resumes.
        """
        path = self._folder / "journal.jsonl"
        with (
            one_controller(self._folder),
            Journal(path, self._world.clock.now) as self._journal,
        ):
            self._progress = replay(self._course, self._journal.entries)
            try:
                self._open()
                while self._progress.ended is None:
                    self._move(self._progress.next_move())
            except MlgateError as error:
                self._fail(error)
                raise
            return self._close()

    def _write(self, kind: Any, **body: Any) -> None:
        self._progress.apply(self._journal.append(kind, **body))

    def _open(self) -> None:
        entries = self._journal.entries
        if not entries:
            self._world.router.check()
            share = self._world.router.share()
            if share > _TOLERANCE:
                raise RouterError(
                    f"the router already sends {share:.1%} to the canary",
                    hint="another controller moves it, or one before this left it so: set it to 0",
                )
            self._write("started", course=_json(self._course), about=self._about)
            return
        if self._progress.ended is not None:
            return
        gap = self._world.clock.now() - datetime.fromisoformat(entries[-1].at)
        absent = max(0.0, gap.total_seconds())
        batches, offsets = _batches(self._journal)
        self._world.source.resume(offsets, batches, self._progress.thresholds)
        self._write("resumed", absent_s=absent)
        if self._progress.step >= 0 and absent > seconds(self._course.lease):
            why = f"no controller for {absent:.0f} s: the lease ran out, traffic was on stable"
            self._notify("lease_ran_out", why)
        # The lease may have run out, or the router been reloaded: shares are set anew.
        if self._progress.decision is not None:
            self._share(self._progress.share)

    def _move(self, move: Move) -> None:
        self._world.on_event(self._progress, move)
        match move.kind:
            case "warm":
                self._warm()
            case "step":
                self._step(move)
            case "rollback" | "promote":
                answers = [_answer(answer) for answer in self._progress.engine.answers()]
                body = {"decision": move.kind, "why": move.why, "state": move.state}
                self._write("decided", **body, answers=answers)
            case "finish":
                self._finish(move)
            case "hold":
                self._look()

    def _step(self, move: Move) -> None:
        number = self._progress.step + 1
        thresholds = self._world.source.thresholds()
        if thresholds is not None:
            self._write("frozen", thresholds=thresholds)
        elif not self._progress.thresholds and slow_factors(self._course.triggers):
            self._look()  # what is slow is not known yet, so nobody is sent to find out
            return
        self._write("decided", decision="step", step=number, why=move.why)
        self._share(self._progress.share)
        self._look()

    def _warm(self) -> None:
        """The canary's own inferences decide that it is ready; no user is sent to find out."""
        deadline = self._world.clock.monotonic() + seconds(self._course.warmup_timeout)
        answered, wrong = 0, None
        while answered < self._course.warmup_requests:
            wrong = self._world.probe.infer("canary")
            answered = 0 if wrong else answered + 1
            self._listen()
            if self._progress.aborted is not None:
                return
            if wrong and self._world.clock.monotonic() > deadline:
                why = f"the canary answered no inference within {self._course.warmup_timeout}"
                body = {"decision": "rollback", "state": "rolled_back", "answers": []}
                self._write("decided", **body, why=f"{why}: {wrong}")
                return
            if wrong:
                self._world.clock.sleep(min(0.5, seconds(self._course.interval)))
        if wrong := self._world.probe.infer("stable"):
            raise RouterError(f"stable does not answer an inference: {wrong}")
        self._write("warmed", inferences=answered)

    def _look(self) -> None:
        """Wait for the next look; then write down what was seen."""
        started = self._world.clock.monotonic()
        self._world.router.renew(seconds(self._course.lease))
        self._world.clock.sleep(seconds(self._course.interval))
        self._world.router.renew(seconds(self._course.lease))
        self._listen()
        passed = round(max(0.0, self._world.clock.monotonic() - started), 3)
        empty = Batch(seconds=passed, asked=self._progress.share)
        batch, offsets = self._world.source.read(empty, self._progress.thresholds)
        self._write("batch", batch=_json(batch), offsets=offsets)

    def _listen(self) -> None:
        for order in self._orders.after(self._progress.people_read):
            self._write("person", **order)

    def _finish(self, move: Move) -> None:
        assert self._progress.decision is not None
        for effect in EFFECTS[self._progress.decision]:
            if effect in self._progress.done:
                continue
            if effect.startswith("share:"):
                self._share(float(effect.removeprefix("share:")))
                continue
            self._write("intent", effect=effect)
            if effect == "alias":
                self._world.registry.promote()
            else:
                self._world.router.settle()
            self._write("done", effect=effect)
        self._write("ended", state=move.state, why=move.why)

    def _share(self, share: float) -> None:
        """Set a share and read it back; try again a few times before giving up."""
        effect = f"share:{share:g}"
        self._write("intent", effect=effect)
        seen = -1.0
        for attempt in range(_TRIES):
            if attempt:
                self._world.clock.sleep(0.1)
            self._world.router.renew(seconds(self._course.lease))
            self._world.router.set_share(share)
            seen = self._world.router.share()
            if abs(seen - share) <= _TOLERANCE:
                self._write("done", effect=effect, seen=seen)
                return
        word = "rollback-not-effective" if share == 0 else "share-not-effective"
        raise NotEffective(
            f"{word}: the router was told {share:.1%} and has {seen:.1%}",
            hint="it acknowledges and ignores: look at the router; the canary still has traffic"
            if seen > 0
            else None,
        )

    def _fail(self, error: MlgateError) -> None:
        """Leave traffic on stable where that is possible, and say so."""
        moved = self._progress.step >= 0 and self._progress.decision != "promote"
        if moved and not isinstance(error, NotEffective):
            with contextlib.suppress(MlgateError):
                self._world.router.set_share(0.0)
        with contextlib.suppress(MlgateError):
            if self._journal.entries:
                self._write("failed", message=error.message)
            self._notify("failed", error.message)

    def _close(self) -> Ending:
        state = self._progress.ended
        assert state is not None
        if not self._progress.notified:
            self._notify("end", self._progress.why, state)
        return Ending(state, self._progress.why)

    def _notify(self, of: str, why: str, state: str | None = None) -> None:
        runbooks = {t.id: t.runbook for t in self._course.triggers if t.runbook}
        news: dict[str, JsonValue] = {
            **self._about,
            "event": state or of,
            "why": why,
            "runbooks": dict(runbooks),
        }
        wrong = self._world.notifier.tell(news)
        if self._journal.entries:
            self._write("notified", of=of, wrong=wrong)


@contextlib.contextmanager
def one_controller(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises `MlgateError` where another controller holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise MlgateError(
                "another controller runs this rollout",
                hint="look at it with `mlgate canary status`; stop it with `mlgate canary abort`",
            ) from None
        yield


def _json(model: Batch | Course) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def _answer(answer: Answer) -> dict[str, JsonValue]:
    return {
        "trigger": answer.trigger,
        "verdict": answer.verdict,
        "message": answer.message,
        "harm": answer.harm,
        "safety": answer.safety,
    }


def _batches(journal: Journal) -> tuple[list[Batch], list[dict[str, Any]]]:
    """Every batch so far, and where reading went on after it."""
    batches, offsets = [], []
    for entry in journal.entries:
        if entry.kind == "batch":
            body: dict[str, Any] = dict(entry.body)
            batches.append(Batch.model_validate(tuples(body["batch"])))
            offsets.append(body["offsets"])
    return batches, offsets
