"""The report as JUnit XML: a suite per stage, a case per gate.

A failure is an answer, an error is the absence of one, as JUnit has it: a gate beyond its limit
fails, one that could not be judged (or not yet) is an error. Jenkins, GitLab and the test
reporters of GitHub read this dialect.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from mlgate.errors import printable
from mlgate.gate import GateResult, Outcome
from mlgate.render.text import rule_message
from mlgate.run.report import Errored, Ran, Report, Result, Skipped

# XML 1.0, section 2.2: what no document may hold, not even escaped.
_ILLEGAL: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report, *, file: str = "mlgate.yaml", about: Sequence[str] = ()) -> str:
    """The report as a `<testsuites>` document. `file` is the spec, as the repository knows it."""
    root = ET.Element("testsuites", name=_legal(report.name))
    for stage, result in report.results.items():
        _suite(root, stage, report.uses(stage), result, file)
    if report.policies:
        suite = ET.SubElement(root, "testsuite", name="policies")
        for rule in report.policies:
            outcome = "pass" if rule.outcome == "skip" else rule.outcome
            _case(suite, "policies", rule.rule, outcome, rule_message(rule))
        _count(suite)
    if not report.results:
        suite = ET.SubElement(root, "testsuite", name="mlgate")
        _case(suite, "mlgate", "stages", "error", "nothing was checked")
        _count(suite)
    for what in ("tests", "failures", "errors", "skipped"):
        root.set(what, str(sum(int(suite.get(what, "0")) for suite in root)))
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _suite(root: ET.Element, stage: str, uses: str, result: Result, file: str) -> None:
    suite = ET.SubElement(root, "testsuite", name=_legal(stage))
    match result:
        case Ran():
            for title, gate, line in _cases(result):
                case = _case(suite, f"{stage}.{uses}", title, gate.outcome, gate.message)
                case.set("file", _legal(file))
                case.set("line", str(line))
            if not result.gates:
                _case(suite, f"{stage}.{uses}", "gates", "error", "it has no gates")
        case Errored():
            message = f"{result.message}\nhint: {result.hint}" if result.hint else result.message
            _case(suite, f"{stage}.{uses}", "measure", "error", message)
        case Skipped():
            case = _case(suite, f"{stage}.{uses}", "measure", "pass", "")
            ET.SubElement(case, "skipped", message=_legal(f"not run: {result.because}"))
    _count(suite)
    if isinstance(result, Ran):
        ET.SubElement(suite, "system-out").text = f"evidence {result.digest}"


def _cases(result: Ran) -> Iterator[tuple[str, GateResult, int]]:
    """Each gate under a name that is its own within the stage, as reporters compare by name."""
    seen: dict[str, int] = {}
    for gate, line in zip(result.gates, result.lines, strict=True):
        where = ", ".join(f"{key}={value}" for key, value in sorted(gate.where.items()))
        selection = f"{{{where}}}" if where else ""
        title = f"{gate.metric}{selection} {gate.limit}"
        seen[title] = seen.get(title, 0) + 1
        yield (title if seen[title] == 1 else f"{title} #{seen[title]}"), gate, line


def _case(suite: ET.Element, group: str, title: str, outcome: str, message: str) -> ET.Element:
    case = ET.SubElement(suite, "testcase", name=_legal(title), classname=_legal(group))
    rank = Outcome[outcome.upper()]
    if rank in (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE):
        kind = "failure" if rank is Outcome.FAIL else "error"
        first = message.split("\n", 1)[0]
        answer = ET.SubElement(case, kind, message=_legal(first), type=outcome)
        answer.text = _legal(message)
    elif message:
        note = message if rank is Outcome.PASS else f"{outcome}: {message}"
        ET.SubElement(case, "system-out").text = _legal(note)
    return case


def _count(suite: ET.Element) -> None:
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    for what, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(what, str(sum(case.find(tag) is not None for case in cases)))


def _legal(text: str) -> str:
    legal = _ILLEGAL.sub("\ufffd", text)
    return "\n".join(map(printable, legal.split("\n")))
