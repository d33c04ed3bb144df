"""Answers as the proxy logs them, and labels as they arrive: two files of JSON lines.

A line of the log is one request: which arm, its status, milliseconds, how often it was tried, its
id and user, and what the model said where it says so in headers. An attempt that was retried
elsewhere is an error of the arm that was tried first: the user saw none, the arm had one.

A label names a request: `{"request_id": "…", "right": true, "events": ["converted"]}`. It is
counted with the share that the canary had when the *request* was made.
"""

import json
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from mlgate.evidence import Frozen
from mlgate.rollout.batch import Batch, Labelled, Tally
from mlgate.rollout.trigger import Trigger, slow_event, slow_factors

_QUANTILES: Final = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}
# Fewer answers have no p99.
_ENOUGH: Final = 200
_RECENT: Final = 20_000
_CHUNK: Final = 64 * 2**20
_REMEMBERED: Final = 2_000_000


class AccessLogOptions(Frozen):
    """`kind: access-log`: the proxy's log and, where answers are labelled later, the labels."""

    kind: Literal["access-log"]
    path: str = Field(description="The log: JSON lines, as `mlgate canary config` sets them up.")
    labels: str | None = Field(None, description="Labels: JSON lines with request_id and right.")
    sticky: bool = Field(False, description="Users keep their arm: count users, not requests.")


@dataclass
class _Tail:
    """A growing file, read line by line; a new file under its name is read from its start."""

    path: Path
    at: int = 0
    inode: int = 0
    bad: int = 0

    def skip(self, back: int) -> None:
        """Go to the end of the file, less so many bytes."""
        if self.path.exists():
            status = self.path.stat()
            self.inode, self.at = status.st_ino, max(0, status.st_size - back)

    def lines(self, until: int | None = None) -> Iterator[dict[str, Any]]:
        """New whole lines, up to the offset `until`. Raises `OSError`."""
        status = self.path.stat()
        if status.st_ino != self.inode or status.st_size < self.at:
            self.inode, self.at = status.st_ino, 0
        with self.path.open("rb") as file:
            file.seek(self.at)
            length = _CHUNK if until is None else max(0, until - self.at)
            data = file.read(length)
        whole = data.rfind(b"\n") + 1
        self.at += whole
        for line in data[:whole].splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                yield row
            else:
                self.bad += 1


@dataclass
class _Requests:
    """Which arm answered which request, in which batch; the oldest are forgotten first."""

    arms: OrderedDict[str, tuple[str, int]] = field(default_factory=OrderedDict)

    def add(self, name: str, arm: str, batch: int) -> None:
        self.arms[name] = (arm, batch)
        if len(self.arms) > _REMEMBERED:
            self.arms.popitem(last=False)


def _by_arm() -> dict[str, Counter[str]]:
    return {"canary": Counter(), "stable": Counter()}


@dataclass
class _Counts:
    """What one look saw, per arm."""

    requests: Counter[str] = field(default_factory=Counter)
    events: dict[str, Counter[str]] = field(default_factory=_by_arm)
    users: dict[str, set[str]] = field(default_factory=lambda: {"canary": set(), "stable": set()})


class AccessLog:
    """A source that follows both files."""

    def __init__(
        self,
        options: AccessLogOptions,
        root: Path,
        arms: Mapping[str, str],
        triggers: Sequence[Trigger],
    ) -> None:
        """`arms` are `stable` and `canary`, each with its backend/server as the log names it."""
        self._options = options
        self._arms = {written.partition("/")[0]: arm for arm, written in arms.items()}
        self._servers = {arm: written.partition("/")[2] for arm, written in arms.items()}
        self._factors = slow_factors(tuple(triggers))
        self._tail = _Tail(root / options.path)
        self._labels = _Tail(root / options.labels) if options.labels else None
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._requests = _Requests()
        self._shares: list[float | None] = []
        self._bad_users: set[tuple[str, str]] = set()
        self._begin()

    def _begin(self) -> None:
        """What stable did before this: its latencies, and nothing else."""
        self._tail.skip(back=8 * 2**20)
        if self._tail.path.exists():
            for row in self._tail.lines():
                self._learn(row)
        self._tail.bad = 0
        if self._labels is not None:
            self._labels.skip(back=0)

    def _learn(self, row: Mapping[str, Any]) -> str | None:
        """The arm of a line; stable's latencies are remembered."""
        arm = self._arms.get(str(row.get("arm")))
        if arm == "stable" and isinstance(row.get("ms"), int | float) and row["ms"] >= 0:
            self._recent.append(float(row["ms"]))
        return arm

    def thresholds(self) -> dict[str, float] | None:
        if len(self._recent) < _ENOUGH:
            return None
        ordered = sorted(self._recent)
        return {name: ordered[int(q * (len(ordered) - 1))] for name, q in _QUANTILES.items()}

    def read(self, batch: Batch, thresholds: Mapping[str, float]) -> tuple[Batch, dict[str, Any]]:
        down: dict[str, str] = {}
        begun = self._tail.at
        counts = _Counts()
        try:
            for row in self._tail.lines():
                self._count(row, counts, thresholds)
        except OSError as error:
            down["log"] = f"{self._options.path}: {error.strerror}"
        if self._tail.bad:
            down["log"] = f"{self._tail.bad} lines are not JSON"
            self._tail.bad = 0
        tallies = {}
        for arm in ("canary", "stable"):
            n = len(counts.users[arm]) if self._options.sticky else counts.requests[arm]
            tallies[arm] = Tally(units=n, events=dict(sorted(counts.events[arm].items())))
        seen = batch.model_copy(update=tallies)
        self._shares.append(seen.share)
        labels, unknown = self._labelled(down)
        gauges = {"labels.unknown": float(unknown)} if unknown else {}
        seen = seen.model_copy(update={"labels": labels, "gauges": gauges, "down": down})
        return seen, self._offsets(begun)

    def _count(
        self, row: Mapping[str, Any], counts: "_Counts", thresholds: Mapping[str, float]
    ) -> None:
        arm = self._learn(row)
        if arm is None or not isinstance(row.get("status"), int) or row["status"] <= 0:
            return  # another backend, or a client that left before an answer
        user = str(row.get("user"))
        self._requests.add(str(row.get("id")), arm, len(self._shares))
        counts.requests[arm] += 1
        counts.users[arm].add(user)
        for event in self._events(row, thresholds):
            if self._first(user, event):
                counts.events[arm][event] += 1

    def _failed(self, row: Mapping[str, Any]) -> bool:
        """Whether the arm failed, even where a retry or the backup answered the user."""
        server = self._servers[self._arms[str(row["arm"])]]
        retries = str(row.get("retries", "0")).lstrip("+")
        return row["status"] >= 500 or retries not in ("0", "") or row.get("server") != server

    def _events(self, row: Mapping[str, Any], thresholds: Mapping[str, float]) -> Iterator[str]:
        if self._failed(row):
            yield "error"
        taken = row.get("ms")
        if isinstance(taken, int | float):
            for quantile, factors in self._factors.items():
                for factor in factors:
                    if quantile in thresholds and taken > factor * thresholds[quantile]:
                        yield slow_event(quantile, factor)
        if row.get("class"):
            yield f"class:{row['class']}"
            if row["class"] == "abstained":
                yield "abstained"
        confidence = _number(row.get("confidence"))
        if confidence is not None and 0 <= confidence <= 1:
            yield f"confidence:{min(9, int(10 * confidence))}"

    def _first(self, user: str, event: str) -> bool:
        """Whether this event counts: with sticky users, only the first of each user does."""
        if not self._options.sticky:
            return True
        key = (user, event)
        if key in self._bad_users:
            return False
        self._bad_users.add(key)
        return True

    def _labelled(self, down: dict[str, str]) -> tuple[tuple[Labelled, ...], int]:
        """Labels that arrived, by the share of their request, and how many name no request."""
        if self._labels is None:
            return (), 0
        found: dict[float, dict[str, Counter[str]]] = {}
        unknown = 0
        try:
            for row in self._labels.lines():
                arm, batch = self._requests.arms.pop(str(row.get("request_id")), (None, -1))
                if arm is None:
                    unknown += 1
                    continue
                share = self._shares[batch]
                if share is None:
                    continue
                counter = found.setdefault(share, _by_arm())[arm]
                counter["units"] += 1
                events = row.get("events")
                if isinstance(events, list):
                    counter.update(str(event) for event in events)
                if row.get("right") is False:
                    counter["wrong"] += 1
        except OSError as error:
            down["labels"] = f"{self._options.labels}: {error.strerror}"
        if self._labels.bad:
            down["labels"] = f"{self._labels.bad} lines are not JSON"
            self._labels.bad = 0
        rows = []
        for share, arms in sorted(found.items()):
            tallies = {
                arm: Tally(units=counter.pop("units", 0), events=dict(sorted(counter.items())))
                for arm, counter in arms.items()
            }
            rows.append(Labelled(share=share, **tallies))
        return tuple(rows), unknown

    def _offsets(self, begun: int) -> dict[str, Any]:
        labels = self._labels
        return {
            "log": {"inode": self._tail.inode, "from": begun, "at": self._tail.at},
            "labels": {"inode": labels.inode, "at": labels.at} if labels else {},
        }

    def resume(
        self,
        offsets: Sequence[Mapping[str, Any]],
        batches: Sequence[Batch],
        thresholds: Mapping[str, float],
    ) -> None:
        """Read again what was read, to know which request was whose; count only what is new."""
        if not offsets:
            return
        last, first = offsets[-1], offsets[0]["log"]
        self._tail.inode, self._tail.at = last["log"]["inode"], last["log"]["at"]
        if self._labels is not None and last["labels"]:
            self._labels.inode, self._labels.at = last["labels"]["inode"], last["labels"]["at"]
        again = _Tail(self._tail.path, at=first["from"], inode=first["inode"])
        for number, (batch, offset) in enumerate(zip(batches, offsets, strict=True)):
            self._shares.append(batch.share)
            end = offset["log"]
            if end["inode"] != again.inode or not again.path.exists():
                continue  # rotated away: labels for these requests will name nothing that is known
            for row in again.lines(until=end["at"]):
                self._remember(row, number, thresholds)

    def _remember(
        self, row: Mapping[str, Any], batch: int, thresholds: Mapping[str, float]
    ) -> None:
        arm = self._arms.get(str(row.get("arm")))
        if arm is None or not isinstance(row.get("status"), int) or row["status"] <= 0:
            return
        self._requests.add(str(row.get("id")), arm, batch)
        for event in self._events(row, thresholds):
            self._first(str(row.get("user")), event)


def _number(written: object) -> float | None:
    try:
        return float(str(written))
    except ValueError:
        return None
