"""JUnit: the counts are right, errors are not failures, and no text breaks the XML."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given

from mlgate.gate import Outcome
from mlgate.render import junit
from mlgate.run.report import Ran, Report
from tests.render.reports import EVERYTHING, HOSTILE, WORDS, Word, gate, ran, report, reports


def test_a_suite_per_stage_and_a_case_per_gate() -> None:
    root = ET.fromstring(junit.render(EVERYTHING, file="ml/mlgate.yaml"))
    assert [suite.get("name") for suite in root] == ["data", "kept", "broken", "later"]
    data = root[0]
    assert [data.get(k) for k in ("tests", "failures", "errors", "skipped")] == ["5", "1", "2", "0"]
    assert [root.get(k) for k in ("tests", "failures", "errors", "skipped")] == ["8", "1", "3", "1"]
    first = data[0]
    assert (first.get("file"), first.get("line")) == ("ml/mlgate.yaml", "10")
    stored = EVERYTHING.results["data"]
    assert isinstance(stored, Ran)
    assert data.findtext("system-out") == f"evidence {stored.digest}"


@pytest.mark.parametrize("word", WORDS)
def test_what_each_outcome_becomes(word: Word) -> None:
    root = ET.fromstring(junit.render(report({"data": ran(gate(word, "said so"))})))
    case = root[0][0]
    expected = {"pass": None, "warn": None, "fail": "failure"}.get(word, "error")
    found = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
    assert found == ([expected] if expected else [])
    if expected:
        assert case[0].get("type") == word


def test_equal_gates_have_names_of_their_own() -> None:
    root = ET.fromstring(junit.render(report({"data": ran(gate("pass"), gate("fail"))})))
    names = [case.get("name") for case in root.iter("testcase")]
    assert names == ["drift.psi{column=age} ≤ 0.2", "drift.psi{column=age} ≤ 0.2 #2"]


@pytest.mark.parametrize("empty", [report({}), report({"data": ran()})])
def test_nothing_checked_is_an_error(empty: Report) -> None:
    assert ET.fromstring(junit.render(empty)).get("errors") == "1"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_breaks_the_xml(text: str) -> None:
    root = ET.fromstring(junit.render(report({"data": ran(gate("fail", text, text))}, text)))
    assert len(list(root.iter("testcase"))) == 1


@given(reports)
def test_a_report_that_may_not_ship_is_never_all_green(any_report: Report) -> None:
    root = ET.fromstring(junit.render(any_report))
    red = sum(int(root.get(k, "0")) for k in ("failures", "errors", "skipped"))
    assert (red > 0) == (any_report.outcome > Outcome.WARN)
