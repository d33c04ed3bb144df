"""The report as GitHub-flavoured markdown: a job summary, or a pull request's one comment.

The worst comes first, so that what a size limit cuts off is what matters least; the cut says
what is missing. No text out of a spec or a data set can become markup, a link or a mention.
"""

import html
import re
from collections.abc import Iterator, Sequence
from typing import Final

from mlgate.errors import printable
from mlgate.gate import GateResult, Outcome
from mlgate.render.text import MARKS, rule_message, words
from mlgate.run.report import Errored, Ran, Report, Result, Skipped

# GitHub refuses a larger summary of one step, and shows no more of a comment than 65,536
# characters: give that limit for a comment.
SUMMARY_BYTES: Final = 1_048_576
COMMENT_BYTES: Final = 65_536

_MARKUP: Final = re.compile(r"([\\`*_{}\[\]()#+\-!|~>:.=^$])")


def render(
    report: Report,
    *,
    file: str = "mlgate.yaml",
    about: Sequence[str] = (),
    limit: int = SUMMARY_BYTES,
) -> str:
    """The report in at most `limit` bytes of UTF-8. `file` is how the spec is called."""
    mark = MARKS[report.outcome]
    head = [
        f"## {mark} {_safe(report.name)}: {str(report.outcome).upper()}",
        "",
        f"{_safe(report.name)} {_safe(words(report))}.",
        "",
    ]
    rows = list(_stage_rows(report))
    gates = _gate_rows(report, file)
    tail = ["", f"spec `{report.spec_digest}` · confidence {report.confidence:g}"]
    if report.weakened():
        tail[-1] += f" · asked otherwise than by the spec itself: {_safe(report.weakened())}"
    tables = [
        (_STAGES, rows, "stages"),
        (_POLICIES, _policy_rows(report), "rules"),
        (_GATES, gates, "gates"),
    ]
    return _cut(head, tables, tail, limit)


_STAGES: Final = ["| stage | uses | outcome | gates |", "|---|---|---|---|"]
_POLICIES: Final = ["| rule | result | place |", "|---|---|---|"]
_GATES: Final = ["| gate | limit | result | line |", "|---|---|---|---|"]


def _stage_rows(report: Report) -> Iterator[str]:
    ordered = sorted(report.results.items(), key=lambda pair: -pair[1].outcome)
    for stage, result in ordered:
        outcome = f"{MARKS[result.outcome]} {result.outcome}"
        yield f"| {_safe(stage)} | {_safe(report.uses(stage))} | {outcome} | {_remark(result)} |"


def _remark(result: Result) -> str:
    match result:
        case Ran():
            held = sum(gate.rank is Outcome.PASS for gate in result.gates)
            cached = " · cached" if result.cached else ""
            return f"{held} of {len(result.gates)} pass{cached}"
        case Errored():
            hint = f" ({_safe(result.hint)})" if result.hint else ""
            return _safe(result.message) + hint
        case Skipped():
            return f"not run: {_safe(result.because)}"


def _policy_rows(report: Report) -> list[str]:
    """The rules that do not simply hold; the worst first."""
    rows = []
    for rule in sorted(report.policies, key=lambda rule: -rule.rank):
        if rule.rank is Outcome.PASS:
            continue
        result = f"{MARKS[rule.rank]} {rule.outcome}: {_safe(rule_message(rule))}"
        rows.append(f"| {_safe(rule.rule)} | {result} | {_safe(rule.file)}:{rule.line} |")
    return rows


def _gate_rows(report: Report, file: str) -> list[str]:
    found: list[tuple[Outcome, str]] = []
    for stage, result in report.results.items():
        if isinstance(result, Ran):
            for gate, line in zip(result.gates, result.lines, strict=True):
                found.append((gate.rank, _gate_row(stage, gate, f"{_safe(file)}:{line}")))
    return [row for _, row in sorted(found, key=lambda pair: -pair[0])]


def _gate_row(stage: str, gate: GateResult, place: str) -> str:
    outcome = f"{MARKS[gate.rank]} {gate.outcome}"
    limit, message = _safe(gate.limit), _safe(gate.message)
    return f"| {_safe(stage)} · {_safe(gate.metric)} | {limit} | {outcome}: {message} | {place} |"


def _cut(
    head: list[str], tables: list[tuple[list[str], list[str], str]], tail: list[str], limit: int
) -> str:
    """Rows for as long as they fit; what does not fit is counted, never dropped silently."""
    # Room for the end, and for one remark per table about what was left out.
    room = limit - _size(tail) - sum(_size(["", _left_out(10**9, what)]) for _, _, what in tables)
    if _size(head) > room:
        return _left_out(1, "report")[:limit]
    lines, used = list(head), _size(head)
    for columns, rows, what in tables:
        left = len(rows)
        for row in [*columns, *rows] if rows else []:
            used += len(row.encode()) + 1
            if used > room:
                break
            lines.append(row)
            left -= row not in columns
        if left:
            lines += ["", _left_out(left, what)]
        if rows:
            lines.append("")
            used += 1
    return "\n".join(lines + tail) + "\n"


def _size(lines: list[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def _left_out(count: int, what: str) -> str:
    return f"**… {count:,} more {what} not shown: the size limit is reached. See the full report.**"


def _safe(text: str) -> str:
    """Text that stays text in a table's cell: no markup, no HTML, no mention of anybody."""
    flat = printable(" ".join(text.split()))
    return _MARKUP.sub(r"\\\1", html.escape(flat, quote=False)).replace("@", "@<!-- -->")
