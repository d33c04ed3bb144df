"""Plots of an evaluation: slices, curves against the baseline's, and the confusion matrix."""

from collections.abc import Iterator, Mapping
from typing import Any

from mlgate.evidence import Evidence, Measurement
from mlgate.figure import Figure, Series
from mlgate.pareto import Column, ModelSummary

COLUMNS = (
    Column("accuracy", "accuracy", more=True, role="quality"),
    Column("map", "mean average precision", more=True, role="quality"),
    Column("exact_match", "exact match", more=True, role="quality"),
    Column("mae", "mean absolute error", role="quality"),
)


def figures(evidence: Evidence) -> tuple[Figure, ...]:
    """What the evidence has figures for, in a fixed order."""
    return (*_slices(evidence), *_of_curves(evidence))


def summaries(evidence: Evidence) -> tuple[ModelSummary, ...]:
    """How good the model and its baseline are, where both are files."""
    names = {column.name for column in COLUMNS}
    known = {
        row.name: row.value
        for row in evidence.measurements
        if row.name in names and not row.labels and row.value is not None
    }
    reference = {
        row.name: row.reference
        for row in evidence.comparisons
        if row.name in known and not row.labels and row.reference is not None
    }
    found = []
    if "model" in evidence.inputs:
        found.append(ModelSummary(evidence.inputs["model"], "model", known))
    if "baseline.model" in evidence.inputs:
        found.append(ModelSummary(evidence.inputs["baseline.model"], "baseline", reference))
    return tuple(found)


def _slices(evidence: Evidence) -> Iterator[Figure]:
    for name in ("accuracy", "mae", "exact_match"):
        rows = [
            row
            for row in evidence.measurements
            if row.name == name and "slice" in row.labels and row.value is not None
        ]
        if len(rows) < 2:
            continue
        rows.sort(key=lambda row: (row.value or 0.0, row.labels["slice"]))
        whole = next(
            (r.value for r in evidence.measurements if r.name == name and not r.labels), None
        )
        yield Figure(
            title=f"{name} of each slice",
            kind="intervals",
            x="slice",
            y=name,
            series=(
                Series(
                    name=name,
                    x=tuple(float(place) for place in range(len(rows))),
                    y=tuple(row.value or 0.0 for row in rows),
                    low=tuple(_end(row, "low") for row in rows),
                    high=tuple(_end(row, "high") for row in rows),
                    labels=tuple(row.labels["slice"] for row in rows),
                ),
            ),
            limits=() if whole is None else (whole,),
            caption="The worst first; the line is all rows. Each end is a one-sided bound.",
        )


def _end(row: Measurement, side: str) -> float:
    end = getattr(row.bounds[-1], side) if row.bounds else None
    return (row.value or 0.0) if end is None else float(end)


def _of_curves(evidence: Evidence) -> Iterator[Figure]:
    curves = evidence.details.get("curves")
    if not isinstance(curves, dict):
        return
    sides = {name: side for name, side in curves.items() if isinstance(side, dict)}
    roc, pr, calibration = [], [], []
    for whose, side in sides.items():
        for kind, points in _mapping(side.get("of_class")).items():
            name = f"{whose}, {kind}"
            roc.append(_line(name, points["fpr"], points["tpr"]))
            pr.append(_line(name, points["recall"], points["precision"]))
        said = _mapping(side.get("calibration"))
        if said:
            calibration.append(_line(whose, said["said"], said["right"]))
    if roc:
        yield Figure(
            title="ROC curve",
            kind="line",
            x="false positives",
            y="true positives",
            series=tuple(roc),
        )
        yield Figure(
            title="Precision and recall", kind="line", x="recall", y="precision", series=tuple(pr)
        )
    if calibration:
        equal = _line("calibrated", [0.0, 1.0], [0.0, 1.0])
        yield Figure(
            title="Calibration",
            kind="line",
            x="probability that was said",
            y="share that was right",
            series=(*calibration, equal),
        )
    yield from _confusion(evidence, sides)


def _confusion(evidence: Evidence, sides: Mapping[str, Any]) -> Iterator[Figure]:
    """The matrix as bars: of each class, what it was taken for."""
    classes = evidence.details.get("classes")
    model = sides.get("model")
    if not isinstance(classes, list) or model is None:
        return
    counts = model["confusion"]
    names = [str(name) for name in classes]
    wrong = [
        (counts[true][said], f"{name} → {(*names, 'no answer')[said]}")
        for true, name in enumerate(names)
        for said in range(len(names) + 1)
        if said != true and counts[true][said]
    ]
    if not wrong:
        return
    worst = sorted(wrong, reverse=True)[:20]
    yield Figure(
        title="What is taken for what",
        kind="bars",
        x="label → answer",
        y="rows",
        series=(
            Series(
                name="rows",
                x=tuple(float(place) for place in range(len(worst))),
                y=tuple(float(count) for count, _ in worst),
                labels=tuple(name for _, name in worst),
            ),
        ),
        caption="Wrong answers alone, at most the 20 commonest.",
    )


def _line(name: str, x: Any, y: Any) -> Series:
    return Series(name=name, x=tuple(map(float, x)), y=tuple(map(float, y)))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
