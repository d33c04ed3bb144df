"""Plots of a search: accuracy against size, sensitivity of layers, change of each class."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from mlgate.evidence import Comparison, Evidence
from mlgate.figure import Advice, Figure, Series
from mlgate.pareto import Column, ModelSummary

_MAIN = ("accuracy", "recall_at_k", "mae", "cosine", "map", "exact_match", "agreement")
COLUMNS = (
    Column("accuracy", "accuracy", more=True, role="quality"),
    Column("map", "mean average precision", more=True, role="quality"),
    Column("exact_match", "exact match", more=True, role="quality"),
    Column("recall_at_k", "recall at k", more=True, role="quality"),
    Column("mae", "mean absolute error", role="quality"),
    Column("perplexity", "perplexity", role="quality"),
    Column("size_bytes", "size", "MB", per=1e6),
)


def figures(evidence: Evidence) -> tuple[Figure, ...]:
    """What the evidence has figures for, in a fixed order."""
    made = (_candidates(evidence), _sensitivity(evidence), _classes(evidence))
    return tuple(figure for figure in made if figure is not None)


def summaries(evidence: Evidence) -> tuple[ModelSummary, ...]:
    """How good and how large the source model and the one that was made are."""
    names = {column.name for column in COLUMNS}
    pairs = {
        c.name: c
        for c in evidence.comparisons
        if c.to == "source" and not c.labels and c.name in names
    }
    approved = evidence.outputs.get("model")
    made = approved or evidence.outputs.get("best_effort")
    known = {name: c.value for name, c in pairs.items() if c.value is not None}
    source = {name: c.reference for name, c in pairs.items() if c.reference is not None}
    found = []
    if made is not None:
        found.append(ModelSummary(made.digest, made.name, known, approved=approved is not None))
    if "model" in evidence.inputs:
        found.append(ModelSummary(evidence.inputs["model"], "source", source))
    return tuple(found)


def advice(evidence: Evidence) -> tuple[Advice, ...]:
    """What a reader should know before relying on the verdict."""
    again = evidence.details.get("looked_again")
    if not isinstance(again, dict):
        return ()
    times = again.get("times")
    text = (
        f"Rows of this evaluation file have confirmed {times} time(s) before, split another way. Each "
        "look is another chance to pass by luck: an interval at 95 % is wrong more often than once in "
        "twenty when it is the best of several. Rows that never decided before settle it."
    )
    return (Advice(title="These rows have decided before", text=text),)


def _candidates(evidence: Evidence) -> Figure | None:
    entries = list(_entries(evidence, "candidates"))
    metric = next((m for m in _MAIN if any(m in _metrics(e) for e in entries)), None)
    if metric is None:
        return None
    measured = [entry for entry in entries if metric in _metrics(entry)]
    points = [_metrics(entry)[metric] for entry in measured]
    values = tuple(_number(point, "value") for point in points)
    tried = Series(
        name="on search rows",
        x=tuple(_number(entry, "size_ratio") for entry in measured),
        y=values,
        low=tuple(_number(p, "low", v) for p, v in zip(points, values, strict=True)),
        high=tuple(_number(p, "high", v) for p, v in zip(points, values, strict=True)),
        labels=tuple(str(entry["name"]) for entry in measured),
    )
    confirmed = _confirmed(evidence, metric)
    return Figure(
        title="Quality against size",
        kind="scatter",
        x="size over the source's",
        y=metric,
        series=(tried,) if confirmed is None else (tried, confirmed),
        caption="Each end is a one-sided bound. Candidates that were too large or too slow have no "
        "point; those that ended early have met fewer rows.",
    )


def _confirmed(evidence: Evidence, metric: str) -> Series | None:
    """The source and what came out, on the rows that no candidate was chosen by."""
    size = next((m.value for m in evidence.measurements if m.name == "size_ratio"), None)
    paired = next(_rows(evidence, metric), None)
    own = next((m for m in evidence.measurements if m.name == metric and not m.labels), None)
    if size is None or own is None or own.value is None:
        return None
    low, high = (own.bounds[-1].low, own.bounds[-1].high) if own.bounds else (None, None)
    x, y = [size], [own.value]
    lows, highs = [own.value if low is None else low], [own.value if high is None else high]
    labels = ["approved" if evidence.details.get("approved") is True else "best effort"]
    if paired is not None and paired.reference is not None:
        x, y, labels = [*x, 1.0], [*y, paired.reference], [*labels, "source"]
        lows, highs = [*lows, paired.reference], [*highs, paired.reference]
    return Series(
        name="on confirm rows",
        x=tuple(x),
        y=tuple(y),
        low=tuple(lows),
        high=tuple(highs),
        labels=tuple(labels),
    )


def _sensitivity(evidence: Evidence) -> Figure | None:
    layers = list(_entries(evidence, "sensitivity"))
    if not layers:
        return None
    worst = sorted(layers, key=lambda entry: -_number(entry, "error"))[:30]
    return Figure(
        title="Sensitivity of layers to int8",
        kind="bars",
        x="layer",
        y="squared change of the outputs over their square",
        series=(
            Series(
                name="error",
                x=tuple(float(index) for index in range(len(worst))),
                y=tuple(_number(entry, "error") for entry in worst),
                labels=tuple(str(entry["node"]) for entry in worst),
            ),
        ),
        caption="Each layer quantized alone, on samples without labels; at most the 30 worst.",
    )


def _classes(evidence: Evidence) -> Figure | None:
    rows = [c for c in evidence.comparisons if c.name == "recall" and "slice" not in c.labels]
    kept = [c for c in rows if c.value is not None and c.reference is not None and c.difference]
    if not kept:
        return None
    changes = tuple((c.value or 0.0) - (c.reference or 0.0) for c in kept)
    ends = [c.difference[-1] for c in kept]
    return Figure(
        title="Change of each class's recall",
        kind="intervals",
        x="class",
        y="recall − source's recall",
        series=(
            Series(
                name="change",
                x=tuple(float(index) for index in range(len(kept))),
                y=changes,
                low=tuple(-1.0 if b.low is None else b.low for b in ends),
                high=tuple(1.0 if b.high is None else b.high for b in ends),
                labels=tuple(c.labels.get("class", "") for c in kept),
            ),
        ),
        limits=(0.0,),
        caption=f"Bounds are one-sided at {ends[0].confidence:g}, each class by itself.",
    )


def _rows(evidence: Evidence, metric: str) -> Iterator[Comparison]:
    return (c for c in evidence.comparisons if c.name == metric and not c.labels)


def _entries(evidence: Evidence, name: str) -> Iterator[dict[str, JsonValue]]:
    found = evidence.details.get(name)
    entries = found if isinstance(found, list) else []
    return (entry for entry in entries if isinstance(entry, dict))


def _metrics(entry: Mapping[str, JsonValue]) -> dict[str, dict[str, JsonValue]]:
    found = entry.get("metrics")
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, dict)}


def _number(entry: Mapping[str, JsonValue], name: str, default: float = 0.0) -> float:
    value = entry.get(name)
    return float(value) if isinstance(value, int | float) else default
