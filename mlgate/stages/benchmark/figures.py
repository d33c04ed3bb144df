"""Plots of a benchmark: latency distribution, ratio to the baseline, capacity, where the time goes."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import JsonValue

from mlgate.evidence import Comparison, Evidence
from mlgate.figure import Figure, Series
from mlgate.pareto import Column, ModelSummary


def figures(evidence: Evidence) -> tuple[Figure, ...]:
    """What the evidence has data for; nothing is drawn of what was not measured."""
    drawn = (_distribution(evidence), _ratio(evidence), _capacity(evidence), _operators(evidence))
    return tuple(figure for figure in drawn if figure is not None)


def _rows(value: JsonValue) -> list[Mapping[str, JsonValue]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _number(value: JsonValue) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _numbers(value: JsonValue) -> tuple[float, ...]:
    return tuple(_number(item) for item in value) if isinstance(value, list) else ()


def _distribution(evidence: Evidence) -> Figure | None:
    """The tail on a scale of its own: a p99.9 is as far from a p99 as that from a p90."""
    series = []
    for row in _rows(evidence.details.get("distributions")):
        points = zip(_numbers(row["latency_ms"]), _numbers(row["share"]), strict=True)
        slower = [(latency, 1 - share) for latency, share in points if share < 1]
        series.append(
            Series(
                name=f"{row['scenario']}, batch {row['batch']}",
                x=tuple(latency for latency, _ in slower),
                y=tuple(share for _, share in slower),
            )
        )
    if not series:
        return None
    return Figure(
        title="Latency distribution",
        kind="step",
        x="latency (ms)",
        y="share of slower queries",
        series=tuple(series),
        x_scale="log",
        y_scale="log",
        caption="0.01 is the p99. Open-loop latencies run from the intended arrival.",
    )


def _ratio(evidence: Evidence) -> Figure | None:
    rows: list[tuple[Comparison, float, float, float]] = []
    for c in evidence.comparisons:
        if c.to != "baseline":
            continue
        ends = c.ratio[-1] if c.ratio else None
        if ends is None or c.value is None or not c.reference:
            continue
        if ends.low is not None and ends.high is not None:
            rows.append((c, c.value / c.reference, ends.low, ends.high))
    if not rows:
        return None
    confidence = rows[0][0].ratio[-1].confidence
    return Figure(
        title="Latency against the baseline",
        kind="intervals",
        x="percentile",
        y="ratio to the baseline",
        series=(
            Series(
                name="candidate / baseline",
                x=tuple(float(i) for i in range(len(rows))),
                y=tuple(value for _, value, _, _ in rows),
                low=tuple(low for _, _, low, _ in rows),
                high=tuple(high for _, _, _, high in rows),
                labels=tuple(c.name.removeprefix("latency_ms.") for c, _, _, _ in rows),
            ),
        ),
        limits=(1.0,),
        y_scale="log",
        caption=f"Each end is a one-sided bound at {100 * confidence:g} % confidence.",
    )


def _capacity(evidence: Evidence) -> Figure | None:
    ramp = evidence.details.get("ramp")
    if not isinstance(ramp, dict):
        return None
    steps = sorted(_rows(ramp.get("steps")), key=lambda row: _number(row["rate"]))
    if not steps:
        return None

    def line(name: str, key: str, rows: Iterable[Mapping[str, JsonValue]]) -> Series:
        kept = list(rows)
        return Series(
            name=name,
            x=tuple(_number(row["rate"]) for row in kept),
            y=tuple(_number(row[key]) / 1e6 for row in kept),
        )

    name = f"p{100 * _number(ramp.get('percentile')):g}"
    return Figure(
        title="Response time under a rising rate",
        kind="scatter",
        x="offered rate (queries per second)",
        y="response time (ms)",
        series=(line(name, "response", steps), line("mean", "mean", steps)),
        limits=(_number(ramp.get("limit_ms")),),
        x_scale="log",
        y_scale="log",
        caption=_knee(ramp),
    )


def _knee(ramp: Mapping[str, JsonValue]) -> str:
    if ramp.get("knee_qps") is None:
        return "No rate kept the promise."
    return f"The promise holds up to {_number(ramp['knee_qps']):,.0f} queries per second."


def _operators(evidence: Evidence) -> Figure | None:
    profiles = [(row, _rows(row.get("top"))) for row in _rows(evidence.details.get("operators"))]
    shares: dict[str, float] = {}
    for _, top in profiles:
        for row in top:
            name = _operator(row)
            shares[name] = max(shares.get(name, 0.0), _number(row["share"]))
    names = sorted(shares, key=lambda name: (-shares[name], name))[:10]
    if not names:
        return None
    series = []
    for row, top in profiles:
        mine = {_operator(one): _number(one["share"]) for one in top}
        series.append(
            Series(
                name=f"{row['scenario']}, batch {row['batch']}",
                x=tuple(float(i) for i in range(len(names))),
                y=tuple(100 * mine.get(name, 0.0) for name in names),
                labels=tuple(names),
            )
        )
    return Figure(
        title="Where the time goes",
        kind="bars",
        x="operator",
        y="% of the operators' time",
        series=tuple(series),
        caption="ONNX Runtime's profile, taken apart from every measurement.",
    )


def _operator(row: Mapping[str, JsonValue]) -> str:
    """A node by its own name, with what it does where the name does not tell."""
    node, op = str(row["node"]).rstrip("/").rsplit("/", 1)[-1], str(row["op"])
    letters = "".join(itertools.takewhile(str.isalpha, node)).lower()
    return node if letters and letters in op.lower() else f"{op} {node}"


COLUMNS: Final = (
    Column("p99_ms", "p99", "ms", noisy=True, role="latency"),
    Column("usd_per_million", "cost of a million", "USD", noisy=True, role="cost"),
    Column("memory_bytes", "memory", "MB", per=1e6, noisy=True),
    Column("joules", "energy", "J", noisy=True),
)


def summaries(evidence: Evidence) -> tuple[ModelSummary, ...]:
    """What was measured of the candidate, and of the baseline."""
    where = str(evidence.details.get("provider", "")).removesuffix("ExecutionProvider")
    ports = {"candidate": "model", "baseline": "baseline"}
    found = []
    for row in _rows(evidence.details.get("configurations")):
        digest = evidence.inputs.get(ports.get(str(row["name"]), ""))
        if digest is not None:
            names = [column.name for column in COLUMNS]
            known = {name: _number(row[name]) for name in names if row.get(name) is not None}
            found.append(ModelSummary(digest, str(row["name"]), known, where))
    return tuple(found)
