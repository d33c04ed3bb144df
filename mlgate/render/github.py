"""The report as workflow commands of GitHub Actions: annotations on the gates' own lines.

GitHub shows ten annotations of each kind per step and drops the rest without a word; so the
worst come first, and the last one says how many more there are.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from mlgate.errors import MlgateError, Problem
from mlgate.gate import Outcome
from mlgate.render.text import rule_message, words
from mlgate.run.report import Errored, Ran, Report, Skipped

PER_KIND: Final = 10


def render(report: Report, *, file: str = "mlgate.yaml", about: Sequence[str] = ()) -> str:
    """One workflow command per line. `file` is the spec's path from the repository's root."""
    found = sorted(_annotations(report), key=lambda row: -row[0])
    lines = []
    for kind in ("error", "warning"):
        rows = [row for row in found if _kind(row[0]) == kind]
        shown = rows if len(rows) <= PER_KIND else rows[: PER_KIND - 1]
        lines += [
            command(kind, text, title=title, file=file, line=n) for _, title, text, n in shown
        ]
        if len(rows) > len(shown):
            more = f"+{len(rows) - len(shown)} more: see the summary"
            lines.append(command(kind, more, title="mlgate", file=file, line=1))
    verdict = f"{str(report.outcome).upper()}: {report.name} {words(report)}"
    lines.append(command("notice", verdict, title="mlgate"))
    return "\n".join(lines) + "\n"


def problems(found: Sequence[Problem]) -> str:
    """What is wrong with a spec, each problem at its own line."""
    shown = found if len(found) <= PER_KIND else found[: PER_KIND - 1]
    lines = []
    for problem in shown:
        hint = f"\nhint: {problem.hint}" if problem.hint else ""
        at = problem.position
        title = f"mlgate {problem.code}"
        text = problem.message + hint
        lines.append(command("error", text, title=title, file=at.file, line=at.line))
    if len(found) > len(shown):
        more = f"+{len(found) - len(shown)} more: see the log"
        lines.append(command("error", more, title="mlgate"))
    return "".join(f"{line}\n" for line in lines)


def error(found: MlgateError) -> str:
    """An error that stands at no line."""
    hint = f"\nhint: {found.hint}" if found.hint else ""
    return command("error", found.message + hint, title="mlgate") + "\n"


def command(
    kind: str, message: str, *, title: str, file: str | None = None, line: int | None = None
) -> str:
    """One workflow command, on one line whatever the texts hold."""
    properties = {"title": title}
    if file is not None:
        properties |= {"file": file, "line": str(line or 1)}
    written = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{kind} {written}::{_data(message)}"


def _annotations(report: Report) -> Iterator[tuple[Outcome, str, str, int]]:
    for stage, result in report.results.items():
        own = report.line(stage)
        match result:
            case Ran():
                for gate, line in zip(result.gates, result.lines, strict=True):
                    if gate.rank is not Outcome.PASS:
                        yield gate.rank, f"{stage}: {gate.metric}", gate.message, line
                if not result.gates:
                    yield Outcome.ERROR, stage, "it has no gates: nothing was judged", own
            case Errored():
                hint = f"\nhint: {result.hint}" if result.hint else ""
                yield Outcome.ERROR, f"{stage}: error", result.message + hint, own
            case Skipped():
                why = f"not run: {result.because}"
                yield Outcome.WARN, f"{stage}: not run", why, own

    for rule in report.policies:
        if rule.rank is not Outcome.PASS:
            where = f"\n{rule.file}:{rule.line}"
            yield rule.rank, f"policy: {rule.rule}", rule_message(rule) + where, 1


def _kind(outcome: Outcome) -> str:
    return "error" if outcome in (Outcome.ERROR, Outcome.FAIL) else "warning"


def _data(text: str) -> str:
    # The toolkit's escapes; other line ends would end the command for some log readers.
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return "".join(char if char.isprintable() else " " for char in text)


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
