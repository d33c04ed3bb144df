"""The report for a terminal: a line per gate, the worst thing said last."""

from collections.abc import Callable, Iterator, Sequence

from mlgate.errors import obeyed_by_nobody, printable
from mlgate.gate import GateResult, Outcome
from mlgate.policy.rules import RuleRow
from mlgate.run.report import Errored, Ran, Report, Result, Skipped

MARKS = {
    Outcome.PASS: "✓",
    Outcome.WARN: "!",
    Outcome.INCONCLUSIVE: "?",
    Outcome.ERROR: "✗",
    Outcome.FAIL: "✗",
}
WORDS = {
    Outcome.PASS: "may ship",
    Outcome.WARN: "may ship, with warnings",
    Outcome.INCONCLUSIVE: "undecided: there is not enough evidence",
    Outcome.ERROR: "may not ship: something could not be measured",
    Outcome.FAIL: "may not ship",
}

_SO_FAR = {
    Outcome.PASS: "passes as far as it was checked",
    Outcome.WARN: "passes with warnings as far as it was checked",
}


def words(report: Report) -> str:
    """The verdict in words. What was not checked is said, and does not ship."""
    said = WORDS[report.outcome]
    if report.left_out:
        said = _SO_FAR.get(report.outcome, said) + f"; not checked: {', '.join(report.left_out)}"
    return said


Paint = Callable[[str, Outcome], str]


def plain(text: str, _: Outcome) -> str:
    """No colours: for what is not a terminal."""
    return text


def render(
    report: Report,
    *,
    file: str = "mlgate.yaml",
    about: Sequence[str] = (),
    paint: Paint = plain,
) -> str:
    """The report as text. `paint` colours by outcome; `file` is how the spec is called."""
    lines: list[str] = []
    width = max((len(g.metric) for g in _gates(report)), default=0)
    for stage, result in report.results.items():
        lines.append(_heading(stage, report.uses(stage), result, paint))
        lines += _body(result, width, paint)
        lines.append("")
    lines += _policies(report, paint)
    lines += _last(report, paint, file)
    return "\n".join(map(obeyed_by_nobody, lines)) + "\n"


def _gates(report: Report) -> Iterator[GateResult]:
    for result in report.results.values():
        if isinstance(result, Ran):
            yield from result.gates


def _heading(stage: str, uses: str, result: Result, paint: Paint) -> str:
    sign = "–" if isinstance(result, Skipped) else MARKS[result.outcome]
    mark = paint(f"{sign} {stage}", result.outcome)
    cached = " · cached" if isinstance(result, Ran) and result.cached else ""
    kind = "" if uses == stage else f" · {uses}"
    return f"{mark}{kind}{cached}"


def _body(result: Result, width: int, paint: Paint) -> Iterator[str]:
    match result:
        case Ran():
            for gate in result.gates:
                mark = paint(f"{MARKS[gate.rank]} {gate.outcome}", gate.rank)
                pad = " " * (12 - len(gate.outcome))
                message = gate.message.removeprefix(f"{gate.metric} ")
                if gate.message.startswith(gate.metric + "{"):
                    message = gate.message.removeprefix(gate.metric)
                yield f"    {mark}{pad} {gate.metric:<{width}}  {printable(message)}"
        case Errored():
            yield f"    {paint('✗ error', Outcome.ERROR)}        {printable(result.message)}"
            if result.hint:
                yield f"                   hint: {printable(result.hint)}"
        case Skipped():
            yield f"      not run: {result.because}"


def _policies(report: Report, paint: Paint) -> list[str]:
    """The rules that were asked, those that hold counted only."""
    if not report.policies:
        return []
    worst_of = max(rule.rank for rule in report.policies)
    lines = [paint(f"{MARKS[worst_of]} policies", worst_of)]
    width = max(len(rule.rule) for rule in report.policies)
    held = 0
    for rule in report.policies:
        if rule.rank is Outcome.PASS:
            held += 1
            continue
        mark = paint(f"{MARKS[rule.rank]} {rule.outcome}", rule.rank)
        pad = " " * (12 - len(rule.outcome))
        lines.append(f"    {mark}{pad} {rule.rule:<{width}}  {printable(rule_message(rule))}")
    if held:
        lines.append(f"      {held} of {len(report.policies)} rules hold or do not apply")
    return [*lines, ""]


def rule_message(rule: RuleRow) -> str:
    """What a rule says, and why it does not decide where it does not."""
    said = rule.message
    if rule.waived:
        said += f"; waived: {rule.waived}"
    elif rule.would:
        said += f"; advisory: it would have come to {rule.would}"
    if rule.runbook and rule.rank > Outcome.PASS:
        said += f" (see {rule.runbook})"
    return said


def _last(report: Report, paint: Paint, file: str) -> Iterator[str]:
    """What failed, as `file:line: …`, and then the verdict."""
    for stage, result in report.results.items():
        if isinstance(result, Ran):
            for gate, line in zip(result.gates, result.lines, strict=True):
                if gate.rank > Outcome.WARN:
                    word = "error" if gate.rank is not Outcome.INCONCLUSIVE else "warning"
                    said = printable(gate.message)
                    yield f"{file}:{line}: {word}[{stage}/{gate.metric}]: {said}"
        elif isinstance(result, Errored):
            yield f"{file}:{report.line(stage)}: error[{stage}]: {printable(result.message)}"
    for rule in report.policies:
        if rule.rank > Outcome.WARN:
            said = printable(rule.message)
            yield f"{printable(rule.file)}:{rule.line}: error[policy/{rule.rule}]: {said}"
    if report.weakened():
        yield f"asked otherwise than by the spec itself: {printable(report.weakened())}"
    counts = [gate.rank for gate in _gates(report)]
    counts += [rule.rank for rule in report.policies if rule.rank is not Outcome.PASS]
    parts = [f"{counts.count(rank)} {rank}" for rank in reversed(Outcome) if counts.count(rank)]
    tally = f" ({', '.join(parts)})" if parts else ""
    verdict = paint(f"{str(report.outcome).upper()}", report.outcome)
    yield f"{verdict}  {printable(report.name)} {printable(words(report))}{tally}"
