"""Plots of a benchmark: latency distribution, ratio to the baseline, capacity, cost against p99."""

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from mlgate.evidence import Comparison, Evidence
from mlgate.figure import Figure, Series


def figures(evidence: Evidence) -> tuple[Figure, ...]:
    """What the evidence has data for; nothing is drawn of what was not measured."""
    drawn = (_distribution(evidence), _ratio(evidence), _capacity(evidence), _pareto(evidence))
    return tuple(figure for figure in drawn if figure is not None)


def _rows(value: JsonValue) -> list[Mapping[str, JsonValue]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _number(value: JsonValue) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _numbers(value: JsonValue) -> tuple[float, ...]:
    return tuple(_number(item) for item in value) if isinstance(value, list) else ()


def _distribution(evidence: Evidence) -> Figure | None:
    series = tuple(
        Series(
            name=f"{row['scenario']}, batch {row['batch']}",
            x=_numbers(row["latency_ms"]),
            y=_numbers(row["share"]),
        )
        for row in _rows(evidence.details.get("distributions"))
    )
    if not series:
        return None
    return Figure(
        title="Latency distribution",
        kind="step",
        x="latency (ms)",
        y="share of queries",
        series=series,
        x_scale="log",
        caption="Open-loop latencies run from the intended arrival.",
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
        caption=f"Knee at {_number(ramp.get('knee_qps')):.4g} queries per second.",
    )


def _pareto(evidence: Evidence) -> Figure | None:
    rows = [
        row
        for row in _rows(evidence.details.get("configurations"))
        if row.get("p99_ms") is not None and row.get("usd_per_million") is not None
    ]
    if not rows:
        return None
    series = []
    for name, best in (("on the Pareto front", True), ("beaten", False)):
        mine = [row for row in rows if row.get("best") is best]
        if mine:
            series.append(
                Series(
                    name=name,
                    x=tuple(_number(row["usd_per_million"]) for row in mine),
                    y=tuple(_number(row["p99_ms"]) for row in mine),
                    labels=tuple(str(row["name"]) for row in mine),
                )
            )
    return Figure(
        title="Cost against latency",
        kind="scatter",
        x="USD per million answers",
        y="p99 (ms)",
        series=tuple(series),
        x_scale="log",
        y_scale="log",
    )
