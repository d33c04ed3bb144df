"""The report as one HTML page that stands alone: no scripts, no fonts, nothing fetched."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jinja2

from mlgate import pareto
from mlgate.errors import printable
from mlgate.figure import Figure
from mlgate.gate import GateResult, Outcome
from mlgate.policy.rules import RuleRow
from mlgate.render.svg import draw
from mlgate.render.text import MARKS, rule_message, words
from mlgate.run.report import Errored, Ran, Report, Result, Skipped
from mlgate.stages import STAGES


def _clean(value: Any) -> Any:
    """Text that turns nothing around and commands nobody; markup of ours stays as it is."""
    if type(value) is str:
        return "\n".join(printable(line) for line in value.split("\n"))
    return value


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("mlgate.render", ""),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_clean,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(report: Report, *, file: str = "mlgate.yaml", about: Sequence[str] = ()) -> str:
    """The page. Deterministic: the same report gives the same bytes.

    `about` is said at its foot: when and where the run was.
    """
    stages = [_stage(name, report.uses(name), result) for name, result in report.results.items()]
    # What needs somebody comes first; the others stay in the plan's order.
    stages.sort(key=lambda stage: -report.results[stage["name"]].outcome)
    outcomes = [gate["outcome"] for stage in stages for gate in stage["gates"]]
    outcomes += [rule.outcome for rule in report.policies if rule.rank is not Outcome.PASS]
    return _ENVIRONMENT.get_template("report.html.j2").render(
        report=report,
        outcome=str(report.outcome),
        mark=MARKS[report.outcome],
        words=words(report),
        stages=stages,
        attention=_attention(report, stages),
        tally=[
            (kind, outcomes.count(kind))
            for kind in ("fail", "error", "inconclusive", "warn", "pass")
        ],
        policies=[_rule(rule) for rule in sorted(report.policies, key=lambda rule: -rule.rank)],
        models=_models(report),
        # Evidence digests make the page checkable against the store.
        spec_digest=report.spec_digest,
        about=about,
    )


def _attention(report: Report, stages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What did not simply pass, the worst first, for the first screen."""
    found = []
    for stage in stages:
        anchor = f"stage-{stage['name']}"
        if stage["reason"]:
            found.append(_line(stage["outcome"], stage["name"], anchor, stage["reason"]))
        for gate in stage["gates"]:
            if gate["outcome"] != "pass":
                where = f"{stage['name']}, line {gate['line']}"
                found.append(_line(gate["outcome"], where, anchor, gate["message"]))
    for rule in report.policies:
        if rule.rank is not Outcome.PASS:
            found.append(_line(rule.rank.word, f"policy {rule.rule}", "policies", rule.message))
    found.sort(key=lambda line: -Outcome[line["outcome"].upper()])
    return found


def _line(outcome: str, where: str, anchor: str, message: str) -> dict[str, str]:
    mark = MARKS[Outcome[outcome.upper()]]
    line = {"outcome": outcome, "mark": mark, "where": where, "anchor": anchor}
    return {**line, "message": message}


def _rule(rule: RuleRow) -> dict[str, Any]:
    return {
        "name": rule.rule,
        "outcome": "" if rule.outcome == "skip" else rule.outcome,
        "mark": "–" if rule.outcome == "skip" else MARKS[rule.rank],
        "word": "does not apply" if rule.outcome == "skip" else rule.outcome,
        "message": rule_message(rule),
        "place": f"{rule.file}:{rule.line}",
        "owner": rule.owner or "",
    }


def _models(report: Report) -> dict[str, Any] | None:
    """The models that stages know, side by side, where there are two to compare."""
    summaries = [
        replace(one, name=f"{name}: {one.name}", where=one.where and f"{name}, on {one.where}")
        for name, result in report.results.items()
        if isinstance(result, Ran)
        for one in STAGES[report.uses(name)].summaries(result.evidence)
    ]
    declared = [column for stage in STAGES.values() for column in stage.columns]
    rows = pareto.side_by_side(summaries, declared)
    if len(rows) < 2:
        return None
    columns = pareto.known_columns(rows, declared)
    figure = pareto.figure_of(rows, columns)
    return {
        "figure": figure and _figure(figure),
        "columns": [f"{c.title} ({c.unit})" if c.unit else c.title for c in columns],
        "rows": [
            {
                "names": row.names,
                "digest": row.model.removeprefix("sha256:")[:12],
                "where": row.where or "",
                "cells": [_cell(row.values.get(column.name), column.per) for column in columns],
                "best": row.best,
                "approved": row.approved,
            }
            for row in rows
        ],
    }


def _cell(x: float | None, per: float) -> str:
    return "–" if x is None else f"{x / per:,.4g}"


def _figure(figure: Figure) -> dict[str, str]:
    return {"title": figure.title, "caption": figure.caption, "svg": draw(figure)}


def _stage(name: str, uses: str, result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name,
        "uses": uses,
        "outcome": str(result.outcome),
        "mark": MARKS[result.outcome],
        "gates": [],
        "figures": [],
        "advice": (),
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
            row["figures"] = [_figure(one) for one in STAGES[uses].figures(result.evidence)]
            row["advice"] = STAGES[uses].advice(result.evidence)
            row["measurements"] = [_measurement(m) for m in result.evidence.measurements]
            row["outputs"] = sorted(result.evidence.outputs.items())
            row["tools"] = sorted(result.evidence.tools.items())
        case Errored():
            row["reason"], row["hint"] = result.message, result.hint
        case Skipped():
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
