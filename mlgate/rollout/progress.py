"""Where a rollout stands, and what comes next: a fold over its journal. Pure.

The controller asks `next_move` and does it; after a crash the same journal gives the same move.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from mlgate.evidence import tuples
from mlgate.quantity import seconds
from mlgate.rollout.batch import Batch
from mlgate.rollout.course import Course, Patience
from mlgate.rollout.engine import Answer, Certainty, Engine
from mlgate.rollout.journal import Entry

Decision = Literal["step", "rollback", "promote"]
State = Literal["promoted", "rolled_back", "aborted", "undecided"]

# What a decision needs done, in this order; each can be done twice without harm.
EFFECTS: Final[dict[str, tuple[str, ...]]] = {
    "rollback": ("share:0",),
    "promote": ("share:1", "alias", "settle"),
}


@dataclass(frozen=True)
class Move:
    """What to do next, and why. `hold` looks on without moving anything."""

    kind: Literal["warm", "step", "hold", "rollback", "promote", "finish"]
    why: str
    state: State | None = None


class Progress:
    """The state of one rollout, as its journal tells it."""

    def __init__(self, course: Course) -> None:
        self.course = course
        certainty = Certainty(course.alpha, course.beta)
        self.engine = Engine(course.triggers, certainty, course.classes)
        self.step = -1
        self.decision: Decision | None = None
        self.why = ""
        self.end_state: State | None = None
        self.ended: State | None = None
        self.notified = False
        self.warmed = False
        self.thresholds: dict[str, float] = {}
        self.done: set[str] = set()
        self.intended: str | None = None
        self.people_read = 0
        self.paused: str | None = None
        self.frozen = False
        self.aborted: str | None = None
        self.approved: set[int] = set()
        self.batches = 0
        self._step_seconds = 0.0
        self._step_requests = 0
        self._seconds = 0.0
        self._quiet = 0.0
        self._unlabelled = 0.0
        self._down = 0.0
        self._down_why = ""

    @property
    def share(self) -> float:
        """The share that the canary is to have now."""
        if self.decision == "rollback" or self.ended in ("rolled_back", "aborted", "undecided"):
            return 0.0
        if self.decision == "promote":
            return 0.0 if "settle" in self.done else 1.0
        return 0.0 if self.step < 0 else self.course.steps[self.step].weight / 100

    def apply(self, entry: Entry) -> None:
        """Take in one line of the journal."""
        body: dict[str, Any] = dict(entry.body)
        match entry.kind:
            case "batch":
                self._observe(Batch.model_validate(tuples(body["batch"])))
            case "warmed":
                self.warmed = True
            case "frozen":
                self.thresholds = body["thresholds"]
            case "decided":
                self._decide(body)
            case "intent":
                self.intended = body["effect"]
            case "done":
                self.done.add(body["effect"])
                self.intended = None
            case "person":
                self._listen(body)
            case "ended":
                self.ended = body["state"]
            case "notified":
                self.notified = body["of"] == "end" or self.notified
            case _:
                pass

    def _decide(self, body: dict[str, Any]) -> None:
        self.decision, self.why = body["decision"], body["why"]
        self.end_state = body.get("state")
        self.done = set()
        if self.decision == "step":
            self.step = body["step"]
            self._step_seconds, self._step_requests = 0.0, 0
            self._quiet = self._unlabelled = 0.0

    def _listen(self, body: dict[str, Any]) -> None:
        self.people_read = body["line"]
        who = f"{body['who']}: {body['why']}" if body.get("why") else str(body["who"])
        match str(body["command"]):
            case "pause":
                self.paused, self.frozen = who, bool(body.get("freeze"))
            case "continue":
                self.paused, self.frozen = None, False
            case "abort":
                self.aborted = who
            case "approve":
                self.approved.add(self.step)
            case _:
                pass

    def _observe(self, batch: Batch) -> None:
        self.engine.observe(batch)
        self.batches += 1
        self._seconds += batch.seconds
        self._step_seconds += batch.seconds
        self._step_requests += batch.canary.units
        self._quiet = 0.0 if batch.canary.units else self._quiet + batch.seconds
        self._unlabelled = 0.0 if batch.labels else self._unlabelled + batch.seconds
        self._down = self._down + batch.seconds if batch.down else 0.0
        self._down_why = "; ".join(f"{name}: {why}" for name, why in sorted(batch.down.items()))

    # What comes next.

    def next_move(self) -> Move:
        """The next thing to do. Rollback comes before everything, promotion after everything."""
        if self.decision in ("rollback", "promote"):
            return Move("finish", self.why, self.end_state)
        if self.aborted is not None:
            return Move("rollback", f"aborted by {self.aborted}", "aborted")
        if not self.warmed:
            return Move("warm", "the canary has not yet answered")
        answers = self.engine.answers()
        harmful = [answer for answer in answers if answer.verdict == "rollback"]
        if harmful and self.frozen:
            return Move("hold", f"frozen by {self.paused}, although {harmful[0].message}")
        if harmful:
            return Move("rollback", "; ".join(map(_told, harmful)), "rolled_back")
        if self._seconds >= seconds(self.course.max_duration):
            why = f"undecided after {self.course.max_duration}: {_undecided(answers)}"
            return Move("rollback", why, "undecided")
        if self.step < 0:
            return Move("step", "warm: the first users")
        if silence := self._silence():
            return silence
        if waiting := self._waiting(answers):
            return Move("hold", waiting)
        if self.step + 1 < len(self.course.steps):
            weight = self.course.steps[self.step + 1].weight
            return Move("step", f"to {weight:g} %")
        return Move("promote", "every required trigger passed", "promoted")

    def _silence(self) -> Move | None:
        """What is missing, and for how long it may be."""
        labelled = any(trigger.labelled for trigger in self.course.triggers)
        missing: tuple[tuple[float, str, Patience], ...] = (
            (self._down, f"no answer from {self._down_why}", self.course.source_down),
            (self._quiet, "no traffic on the canary", self.course.no_traffic),
            (self._unlabelled if labelled else 0.0, "no labels", self.course.no_labels),
        )
        for lasted, what, patience in missing:
            if lasted >= seconds(patience.hold):
                why = f"{what} for {lasted:g} s"
                if patience.then == "rollback" and not self.frozen:
                    return Move("rollback", why, "rolled_back")
                return Move("hold", why)
        if self._down:
            return Move("hold", f"no answer from {self._down_why}")
        return None

    def _waiting(self, answers: tuple[Answer, ...]) -> str | None:
        """What the next step waits for."""
        step = self.course.steps[self.step]
        if self.paused is not None:
            return f"paused by {self.paused}"
        if self._step_seconds < seconds(step.min):
            return f"{self._step_seconds:.0f} s of {step.min} at {step.weight:g} %"
        if self._step_requests < step.min_requests:
            return f"{self._step_requests:,} of {step.min_requests:,} canary requests"
        if self.engine.missplit:
            return "the router delivers another share than it was asked for"
        last = self.step + 1 == len(self.course.steps)
        needed = [a for a in answers if (last and a.required) or a.trigger in step.needs]
        if open_ := [answer for answer in needed if answer.verdict != "pass"]:
            return open_[0].message
        if last and not needed:
            return "no trigger is required, and nothing was proven: it is not promoted by silence"
        if step.approval and self.step not in self.approved:
            return "a person must approve: mlgate canary approve"
        return None


def replay(course: Course, entries: Iterable[Entry]) -> Progress:
    """The state after these lines."""
    progress = Progress(course)
    for entry in entries:
        progress.apply(entry)
    return progress


def _told(answer: Answer) -> str:
    return f"{answer.message} (see {answer.runbook})" if answer.runbook else answer.message


def _undecided(answers: tuple[Answer, ...]) -> str:
    open_ = [answer.message for answer in answers if answer.verdict != "pass"]
    return open_[0] if open_ else "a step was not finished"
