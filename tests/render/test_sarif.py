"""SARIF: valid by the OASIS schema, at the gate's line, with fingerprints that last."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

from mlgate.gate import Outcome
from mlgate.render import sarif
from mlgate.run.report import Report
from tests.render.reports import EVERYTHING, HOSTILE, gate, ran, report, reports

# sarif-2.1/schema/sarif-schema-2.1.0.json of https://github.com/oasis-tcs/sarif-spec, unchanged.
_OASIS = json.loads((Path(__file__).parent / "sarif-schema-2.1.0.json").read_bytes())
_VALIDATOR = jsonschema.Draft7Validator(
    {**_OASIS, "$schema": "http://json-schema.org/draft-07/schema#"}
)


def _run(rendered: str) -> dict[str, Any]:
    document = json.loads(rendered)
    problems = [error.message for error in _VALIDATOR.iter_errors(document)]
    assert problems == []
    run: dict[str, Any] = document["runs"][0]
    return run


def test_the_schema_is_awake() -> None:
    assert not _VALIDATOR.is_valid({"version": "2.1.0", "runs": [{"results": []}]})


def test_what_did_not_pass_at_its_own_line() -> None:
    run = _run(sarif.render(EVERYTHING, file="my models/mlgate.yaml"))
    rows = [
        (
            row["ruleId"],
            row["level"],
            row["locations"][0]["physicalLocation"]["region"]["startLine"],
        )
        for row in run["results"]
    ]
    assert rows == [
        ("validate/drift.psi", "warning", 11),
        ("validate/drift.psi", "warning", 12),
        ("validate/drift.psi", "error", 13),
        ("validate/drift.psi", "error", 14),
        ("validate/measure", "error", 9),
        ("validate/not-run", "note", 12),
    ]
    where = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert where == {"uri": "my%20models/mlgate.yaml", "uriBaseId": "%SRCROOT%"}


def _marks(any_report: Report) -> list[str]:
    results = _run(sarif.render(any_report))["results"]
    return [row["partialFingerprints"]["gate/v1"] for row in results]


def test_a_fingerprint_is_the_gate_not_what_it_saw_or_where_it_stands() -> None:
    before = report({"data": ran(gate("fail", "0.3 > 0.2"))})
    after = report({"data": ran(gate("pass", metric="rows"), gate("fail", "0.4 > 0.2"))})
    assert _marks(before) == _marks(after)


def test_two_gates_never_share_a_fingerprint() -> None:
    marks = _marks(report({"data": ran(gate("fail"), gate("fail"), gate("fail", metric="x"))}))
    assert len(set(marks)) == 3


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_texts(text: str) -> None:
    _run(sarif.render(report({"data": ran(gate("fail", text, text))}, text), file=text))


@settings(max_examples=50)
@given(reports)
def test_every_report_is_valid_and_a_bad_one_never_empty(any_report: Report) -> None:
    run = _run(sarif.render(any_report))
    if any_report.results and any_report.outcome > Outcome.PASS:
        assert run["results"]
