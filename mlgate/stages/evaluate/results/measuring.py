"""From a file of results to evidence: items with intervals over units, numbers as they are given."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import JsonValue

from mlgate.errors import StageError, about
from mlgate.evidence import Measurement, measured, unmeasured
from mlgate.metrics.scoring import SHARE, Range, Row, Scoring, level, renumbered
from mlgate.stage import Job
from mlgate.stages.evaluate.results import documents
from mlgate.stages.evaluate.results.items import Found, Item, Number
from mlgate.stages.evaluate.results.junit import read_junit
from mlgate.stages.evaluate.spec import Evaluate, Results
from mlgate.statistics.binomial import normal_quantile
from mlgate.statistics.linear import Clusters, mean

_LISTED: Final = 50
_MOST_GROUPS: Final = 200


def measure_results(job: Job[Evaluate], results: Results) -> tuple[list[Row], dict[str, JsonValue]]:
    """(rows of evidence, details). Raises `StageError` for a file that nobody can read."""
    with about("results"):
        found = read(Path(job.inputs[results.file].location), results.format)
        if found.items and len(found.items) < results.least_items:
            raise StageError(f"{len(found.items)} items are fewer than {results.least_items}")
        if not found.items and not found.numbers:
            raise StageError("there is not one result in it", hint="nothing measured is no pass")
        if found.items and all(item.missing or item.skipped for item in found.items):
            reason = found.items[0].reason or "no outcome"
            raise StageError(f"not one of {len(found.items)} items has an outcome: {reason}")
    scoring = Scoring("classification", "", job.confidences, frozenset())
    rows: list[Row] = [_number(scoring, number) for number in found.numbers]
    if found.items:
        rows += _of_items(scoring, found.items)
    failed = [item for item in found.items if item.passed is False or item.missing]
    listed: list[JsonValue] = [{"item": item.unit, "reason": item.reason} for item in failed]
    return rows, {"tool": found.tool, "failed": listed[:_LISTED]}


def read(path: Path, kind: str) -> Found:
    """The file, by what it says it is. Raises `StageError`."""
    with path.open("rb") as file:
        head = file.read(4096).lstrip()
    if kind == "junit" or (kind == "auto" and head.startswith(b"<")):
        return read_junit(path)
    if path.suffix in (".jsonl", ".ndjson"):
        return _lines(path)
    document = documents.read_json(path)
    readers = {
        "promptfoo": (documents.is_promptfoo, documents.read_promptfoo),
        "inspect": (documents.is_inspect, documents.read_inspect),
        "lm-eval": (documents.is_lm_eval, documents.read_lm_eval),
    }
    for name, (fits, reader) in readers.items():
        if kind in ("auto", name) and fits(document):
            return reader(document)
    if kind in readers:
        raise StageError(f"{path.name} is not a file of {kind}'s results")
    return documents.read_metrics(document)


def _lines(path: Path) -> Found:
    rows: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise StageError(f"{path.name}: line {number} is not JSON: {error}") from None
            rows.append(row)
    if not rows or not documents.is_lm_eval_samples(rows[0]):
        raise StageError(
            f"{path.name} is no file of samples that is known",
            hint="JSON Lines are read of lm-evaluation-harness (--log_samples)",
        )
    return documents.read_lm_eval_samples(rows)


def _of_items(scoring: Scoring, items: Sequence[Item]) -> Iterator[Row]:
    missing = sum(item.missing for item in items)
    skipped = sum(item.skipped for item in items)
    failed = sum(item.passed is False for item in items)
    counted = [item for item in items if not item.skipped]
    yield measured("items", len(items), unit="count")
    yield measured("items.failed", failed, unit="count")
    yield measured("items.missing", missing, unit="count")
    yield measured("items.skipped", skipped, unit="count")
    yield measured("items.units", len({item.unit for item in counted}), unit="count")
    groups = sorted({item.group for item in counted if item.group})
    yield from _values(scoring, counted, {})
    if 1 < len(groups) <= _MOST_GROUPS:
        for group in groups:
            own = [item for item in counted if item.group == group]
            yield from _values(scoring, own, {"group": group})


def _values(scoring: Scoring, items: Sequence[Item], labels: dict[str, str]) -> Iterator[Row]:
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(i.unit for i in items))}
    units = np.array([numbers[item.unit] for item in items], dtype=np.intp)
    if any(item.passed is not None for item in items):
        passed = [None if item.passed is None else float(item.passed) for item in items]
        yield _mean(scoring, "pass_rate", passed, units, labels, SHARE)
    for name in sorted({name for item in items for name in item.scores}):
        # An item that has other scores was never meant to have this one.
        asked = [place for place, i in enumerate(items) if name in i.scores or i.missing]
        scores = [items[place].scores.get(name) for place in asked]
        known = {score for score in scores if score is not None}
        within = SHARE if known <= {0.0, 1.0} else None
        yield _mean(scoring, f"score.{name}", scores, units[asked], labels, within)


def _mean(
    scoring: Scoring,
    name: str,
    values: Sequence[float | None],
    units: Clusters,
    labels: dict[str, str],
    within: Range | None,
) -> Measurement:
    """The mean over units. An item without an outcome may have been anything within the range."""
    known = np.array([value is not None for value in values])
    if known.all():
        numbers = np.array(values, dtype=np.float64)
        return level(scoring, name, mean(numbers), labels, _renumbered(units), within)
    lost = int((~known).sum())
    if within is None:
        return unmeasured(name, f"{lost} of {len(values)} items have no number", labels=labels)
    ends = []
    for instead in within:
        filled = np.array([instead if v is None else v for v in values], dtype=np.float64)
        ends.append(level(scoring, name, mean(filled), labels, _renumbered(units), within))
    pairs = zip(ends[0].bounds, ends[1].bounds, strict=True)
    return measured(
        name,
        float(np.mean([v for v in values if v is not None])),
        labels=labels,
        bounds=[(low.confidence, low.low, high.high) for low, high in pairs],
        n=ends[0].n,
        because=(f"{lost} of {len(values)} items have no outcome: counted both ways",),
    )


def _renumbered(units: Clusters) -> Clusters | None:
    found = renumbered(units)
    return None if found.max(initial=-1) + 1 == len(units) else found


def _number(scoring: Scoring, number: Number) -> Measurement:
    bounds: list[tuple[float, float | None, float | None]] = list(number.bounds)
    if number.error is not None:
        for confidence in scoring.confidences:
            reach = normal_quantile(confidence) * number.error
            bounds.append((confidence, number.value - reach, number.value + reach))
    alone = "" if bounds else "a value without an interval: judged as if it were exact"
    return measured(
        f"value.{number.name}",
        number.value,
        labels=number.labels,
        unit=number.unit,
        bounds=bounds,
        n=number.n,
        because=(alone,) if alone else (),
    )
