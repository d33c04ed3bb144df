"""The report as one HTML page that stands alone: no scripts, no fonts, nothing fetched."""

from typing import Any

import jinja2

from mlgate.gate import GateResult
from mlgate.render.svg import draw
from mlgate.render.text import MARKS, words
from mlgate.report import Broke, NotRun, Ran, Report, Result
from mlgate.stages import STAGES

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("mlgate.render", ""),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(report: Report) -> str:
    """The page. Deterministic: the same report gives the same bytes."""
    stages = [_stage(name, report.uses[name], result) for name, result in report.results.items()]
    gates = [gate for stage in stages for gate in stage["gates"]]
    return _ENVIRONMENT.get_template("report.html.j2").render(
        report=report,
        outcome=str(report.outcome),
        mark=MARKS[report.outcome],
        words=words(report),
        stages=stages,
        tally=[
            (kind, sum(g["outcome"] == kind for g in gates))
            for kind in ("fail", "error", "inconclusive", "warn", "pass")
        ],
        # Evidence digests make the page checkable against the store.
        spec_digest=report.spec_digest,
    )


def _stage(name: str, uses: str, result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name,
        "uses": uses,
        "outcome": str(result.outcome),
        "mark": MARKS[result.outcome],
        "gates": [],
        "figures": [],
        "measurements": [],
        "outputs": [],
        "reason": None,
        "hint": None,
        "evidence": None,
    }
    match result:
        case Ran():
            row["evidence"] = result.digest
            row["gates"] = [
                _gate(gate, line) for gate, line in zip(result.gates, result.lines, strict=True)
            ]
            row["figures"] = [
                {"title": f.title, "caption": f.caption, "svg": draw(f)}
                for f in STAGES[uses].figures(result.evidence)
            ]
            row["measurements"] = [_measurement(m) for m in result.evidence.measurements]
            row["outputs"] = sorted(result.evidence.outputs.items())
            row["tools"] = sorted(result.evidence.tools.items())
        case Broke():
            row["reason"], row["hint"] = result.message, result.hint
        case NotRun():
            row["reason"] = f"not run: {result.because}"
    return row


def _gate(gate: GateResult, line: int) -> dict[str, Any]:
    return {
        "metric": gate.metric,
        "where": ", ".join(f"{k}={v}" for k, v in sorted(gate.where.items())),
        "outcome": gate.outcome,
        "mark": MARKS[gate.rank],
        "limit": gate.limit,
        "message": gate.message,
        "line": line,
    }


def _measurement(m: Any) -> dict[str, Any]:
    bounds = m.bounds[0] if m.bounds else None
    interval = ""
    if bounds:
        low = "−∞" if bounds.low is None else f"{bounds.low:.4g}"
        high = "∞" if bounds.high is None else f"{bounds.high:.4g}"
        interval = f"[{low}, {high}]"
    value = "–" if m.value is None else f"{m.value:,.6g}"
    return {
        "name": m.name,
        "labels": ", ".join(f"{k}={v}" for k, v in sorted(m.labels.items())),
        "value": value,
        "unit": "" if m.unit in ("1", "count") else m.unit,
        "interval": interval,
        "n": "" if m.n is None else f"{m.n:,}",
        "reason": m.reason or "",
    }
