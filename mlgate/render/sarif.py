"""The report as SARIF 2.1.0: every gate that did not pass, at its own line of the spec.

Code-scanning services show it beside the diff, and know from the fingerprint that a finding is
the one of yesterday: it is made of what the gate is, not of where it stands or what it saw.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

from mlgate import __version__
from mlgate.gate import GateResult, Outcome
from mlgate.render.text import rule_message
from mlgate.run.report import Errored, Ran, Report, Skipped

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {
    Outcome.WARN: "warning",
    Outcome.INCONCLUSIVE: "warning",
    Outcome.ERROR: "error",
    Outcome.FAIL: "error",
}


def render(report: Report, *, file: str = "mlgate.yaml", about: Sequence[str] = ()) -> str:
    """The report as one SARIF run. `file` is the spec's path from the repository's root."""
    results = list(_results(report, file))
    rules = sorted({row["ruleId"] for row in results})
    for row in results:
        row["ruleIndex"] = rules.index(row["ruleId"])
    driver = {
        "name": "mlgate",
        "semanticVersion": __version__,
        "rules": [{"id": rule, "shortDescription": {"text": _about(rule)}} for rule in rules],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"mlgate/{report.name}/"},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": report.outcome is not Outcome.ERROR,
                "exitCode": report.exit_code,
            }
        ],
        "properties": {"outcome": str(report.outcome), "spec_digest": report.spec_digest},
        "results": results,
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _results(report: Report, file: str) -> Iterator[dict[str, Any]]:
    for stage, result in report.results.items():
        uses, line = report.uses(stage), report.line(stage)
        match result:
            case Ran():
                yield from _of_gates(stage, uses, result, file)
                if not result.gates:
                    message = f"{stage} has no gates: nothing was judged"
                    yield _row(f"{uses}/gates", "error", message, file, line, (stage,))
            case Errored():
                hint = f" ({result.hint})" if result.hint else ""
                message = f"{stage} could not be measured: {result.message}{hint}"
                yield _row(f"{uses}/measure", "error", message, file, line, (stage,))
            case Skipped():
                message = f"{stage} was not run: {result.because}"
                yield _row(f"{uses}/not-run", "note", message, file, line, (stage,))

    for rule in report.policies:
        if rule.rank is not Outcome.PASS:
            message = f"{rule.rule}: {rule_message(rule)} ({rule.file}:{rule.line})"
            level = _LEVELS[rule.rank]
            yield _row(f"policy/{rule.rule}", level, message, file, 1, (rule.rule,))


def _of_gates(stage: str, uses: str, result: Ran, file: str) -> Iterator[dict[str, Any]]:
    seen: dict[tuple[str, ...], int] = {}
    for gate, line in zip(result.gates, result.lines, strict=True):
        identity = (stage, gate.metric, *(f"{k}={v}" for k, v in sorted(gate.where.items())))
        seen[identity] = seen.get(identity, 0) + 1
        if gate.rank is Outcome.PASS:
            continue
        message = f"{stage}: {gate.message}"
        mark = (*identity, str(seen[identity]))
        row = _row(f"{uses}/{gate.metric}", _LEVELS[gate.rank], message, file, line, mark)
        row["properties"] = _properties(gate, result.digest)
        yield row


def _properties(gate: GateResult, digest: str) -> dict[str, Any]:
    fields = gate.model_dump(mode="json", exclude_none=True, exclude={"metric", "message"})
    return {**fields, "evidence": digest}


def _row(
    rule: str, level: str, message: str, file: str, line: int, identity: tuple[str, ...]
) -> dict[str, Any]:
    mark = hashlib.sha256(json.dumps([rule, *identity]).encode()).hexdigest()
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": message},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(file), "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": line},
                }
            }
        ],
        "partialFingerprints": {"gate/v1": mark},
    }


def _about(rule: str) -> str:
    uses, _, what = rule.partition("/")
    if uses == "policy":
        return f"The rule {what} of the organisation must hold"
    return {
        "gates": f"A {uses} stage must have gates",
        "measure": f"A {uses} stage must be measured",
        "not-run": f"A {uses} stage was not run",
    }.get(what, f"The gate on {what} of a {uses} stage must hold")
