"""A metric over the stored runs of a spec, and what its trend is.

A trend is made of points that may be compared: each measured anew (what a cache gave again is no
second point); against the same reference model as the last one; or else, where the stage's figures
hold for one kind of hardware, on the same hardware as the last one.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from mlgate.documents import RunDocument
from mlgate.errors import MlgateError, StoreError
from mlgate.evidence import Bounds, Comparison, Evidence, Labels, Measurement, rounded
from mlgate.gate import GateResult, Outcome
from mlgate.run import record as runs
from mlgate.run.report import Ran, Report
from mlgate.run.store import Store
from mlgate.spec.spec import FILE
from mlgate.stages import STAGES
from mlgate.trend import Trend, percent, weekly_growth
from mlgate.trend import judge as judge_trend

_DAY_S: Final = 86_400.0


@dataclass(frozen=True)
class Point:
    """One run's value of a metric: a ratio, where it is compared to a reference.

    `left_out` says why a trend does not count it. `footing` is what has to be equal for two
    points to be comparable.
    """

    run: str
    at: datetime
    stage: str
    labels: Labels
    value: float | None
    low: float | None
    high: float | None
    reason: str | None
    evidence: str
    cached: bool
    footing: tuple[str, str]
    left_out: str | None = None


@dataclass(frozen=True)
class Line:
    """The points of one metric of one stage under one set of labels, oldest first."""

    stage: str
    labels: Labels
    points: tuple[Point, ...]
    latest: bool

    def counted(self) -> list[Point]:
        """The points that a trend is made of."""
        return [point for point in self.points if point.left_out is None]


@dataclass(frozen=True)
class History:
    """What the stored runs say of a metric; `confidence` is the last run's, of its intervals.

    The runs are those of one spec, called `file`; `others` is how many of other specs lie beside.
    """

    file: str
    others: int
    metric: str
    to: str | None
    points: tuple[Point, ...]
    last: str | None
    unreadable: tuple[str, ...]
    confidence: float

    def lines(self) -> list[Line]:
        """The points, by stage and labels; a line is the latest if the last run has it."""
        found: dict[tuple[str, tuple[tuple[str, str], ...]], list[Point]] = {}
        for point in self.points:
            key = point.stage, tuple(sorted(point.labels.items()))
            found.setdefault(key, []).append(point)
        return [
            Line(stage, dict(labels), _compared(points, self.to), points[-1].run == self.last)
            for (stage, labels), points in sorted(found.items())
        ]

    def rows(self) -> list[Point]:
        """Every point with its `left_out`, oldest first."""
        marked = (point for line in self.lines() for point in line.points)
        return sorted(marked, key=lambda point: point.run)


def read(
    root: Path,
    metric: str,
    *,
    file: str | None = None,
    where: Mapping[str, str] | None = None,
    to: str | None = None,
    within_s: float | None = None,
) -> History:
    """A metric in the stored runs under `root`, those of the last `within_s` seconds if given.

    Only runs of one spec can be compared: of `file`; if None, of mlgate.yaml where that was ever
    checked, else of what was checked last. `to` asks for its ratio to that reference instead of
    its value. Runs that cannot be read are named in `unreadable`.
    """
    points: list[Point] = []
    confidence, last = 0.95, None
    records, unreadable = _records(root)
    files = [record.file for record in records.values()]
    if file is None:
        file = files[-1] if files and FILE not in files else FILE
    for run, record in records.items():
        if record.file != file:
            continue
        try:
            report = runs.judge_record(record, Store(root).evidence)
            at = datetime.fromisoformat(record.started or "")
            at.timestamp()
        except (MlgateError, ValueError, OverflowError):
            unreadable.append(run)
            continue
        hardware = json.dumps(record.hardware, sort_keys=True)
        points += _points(report, metric, where or {}, to, (run, at, hardware))
        confidence, last = report.confidence, run
        latest = at
    if within_s is not None and last is not None:
        points = [p for p in points if (latest - p.at).total_seconds() <= within_s]
    return History(
        file=file,
        others=sum(name != file for name in files),
        metric=metric,
        to=to,
        points=tuple(points),
        last=last,
        unreadable=tuple(sorted(unreadable)),
        confidence=confidence,
    )


def _records(root: Path) -> tuple[dict[str, RunDocument], list[str]]:
    """The record of each stored run, oldest first; and the runs whose record cannot be read."""
    records: dict[str, RunDocument] = {}
    unreadable = []
    for run in runs.stored_runs(root):
        try:
            records[run] = runs.read(root / "runs" / run)
        except StoreError:
            unreadable.append(run)
    return records, unreadable


def trend_of(line: Line, confidence: float) -> Trend:
    """The line's weekly growth. Raises `ValueError` for values that have none."""
    points = line.counted()
    days = [point.at.timestamp() / _DAY_S for point in points]
    return weekly_growth(days, [point.value or 0.0 for point in points], confidence)


def gates_of(history: History, limit: float) -> list[GateResult]:
    """One result for each line of the last run; an error where that run has none.

    What an older run measured must not pass for what the last one did not.
    """
    lines = [line for line in history.lines() if line.latest]
    if history.unreadable and (history.last is None or history.unreadable[-1] > history.last):
        return [
            _error(history, {}, limit, f"the last run, {history.unreadable[-1]}, is unreadable")
        ]
    if not lines:
        return [_error(history, {}, limit, "was not measured in the last run")]
    return [_gate(history, line, limit) for line in lines]


def title(history: History, line: Line) -> str:
    """How a line is called."""
    labels = ", ".join(f"{key}={value}" for key, value in sorted(line.labels.items()))
    versus = f" vs {history.to}" if history.to else ""
    return f"{line.stage}: {history.metric}{f'{{{labels}}}' if labels else ''}{versus}"


def _gate(history: History, line: Line, limit: float) -> GateResult:
    last = line.points[-1]
    if last.value is None:
        why = f"could not be measured in the last run: {last.reason}"
        return _error(history, line.labels, limit, why)
    try:
        found = trend_of(line, history.confidence)
    except ValueError as error:
        return _error(history, line.labels, limit, f"has no growth: {error}")
    return judge_trend(history.metric, line.labels, found, limit, title(history, line))


def _error(history: History, where: Labels, limit: float, why: str) -> GateResult:
    versus = f" against {history.to}" if history.to else ""
    return GateResult(
        metric=history.metric,
        where=where,
        limit=f"growth ≤ {percent(limit)} a week",
        outcome=Outcome.ERROR.word,
        message=f"{history.metric}{versus} {why}",
    )


def _compared(points: Iterable[Point], to: str | None) -> tuple[Point, ...]:
    """The points, each with why a trend leaves it out, if so."""
    listed, seen = list(points), set[str]()
    marked = []
    for point in listed:
        why = None
        if point.value is None:
            why = "not measured"
        elif point.cached and point.evidence in seen:
            why = "cached"
        elif point.footing != listed[-1].footing:
            why = f"another {to}" if to else "other hardware"
        seen.add(point.evidence)
        marked.append(replace(point, left_out=why))
    return tuple(marked)


def _points(
    report: Report,
    metric: str,
    where: Mapping[str, str],
    to: str | None,
    of: tuple[str, datetime, str],
) -> Iterator[Point]:
    run, at, hardware = of
    for stage, result in report.results.items():
        if not isinstance(result, Ran):
            continue
        for row in _rows(result.evidence, to):
            if row.name != metric or any(row.labels.get(k) != v for k, v in where.items()):
                continue
            value, bounds = _value(row)
            yield Point(
                run=run,
                at=at,
                stage=stage,
                labels=row.labels,
                value=value,
                low=bounds.low if bounds else None,
                high=bounds.high if bounds else None,
                reason=row.reason or ("the reference is 0" if value is None else None),
                evidence=result.digest,
                cached=result.cached,
                footing=_footing(report.uses(stage), result.evidence, to, hardware),
            )


def _rows(evidence: Evidence, to: str | None) -> Iterator[Measurement | Comparison]:
    if to is None:
        yield from evidence.measurements
    else:
        yield from (c for c in evidence.comparisons if c.to == to)


def _value(row: Measurement | Comparison) -> tuple[float | None, Bounds | None]:
    if isinstance(row, Measurement):
        return row.value, row.bounds[0] if row.bounds else None
    if row.value is None or not row.reference:
        return None, None
    return rounded(row.value / row.reference), row.ratio[0] if row.ratio else None


def _footing(uses: str, evidence: Evidence, to: str | None, hardware: str) -> tuple[str, str]:
    """What has to be equal for two points to be comparable: the reference, or the hardware."""
    if to is not None:
        return "reference", evidence.inputs.get(to, "")
    stage = STAGES.get(uses)
    return "hardware", hardware if stage is not None and stage.hardware else ""
