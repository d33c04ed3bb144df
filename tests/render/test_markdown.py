"""Markdown: the worst first, within the limit, and no text becomes markup."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.render import markdown
from mlgate.run.report import Report
from tests.render.reports import EVERYTHING, HOSTILE, gate, ran, report, reports


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def _table(text: str, heading: str) -> list[list[str]]:
    lines = text.splitlines()
    start = lines.index(heading) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append(_cells(line))
    return rows


def test_headline_stages_and_gates_worst_first() -> None:
    text = markdown.render(EVERYTHING, file="ml/mlgate.yaml")
    assert text.startswith("## ✗ digits: FAIL\n")
    stages = _table(text, "| stage | uses | outcome | gates |")
    assert [row[0] for row in stages] == ["data", "later", "broken", "kept"]
    assert stages[3][3] == "1 of 1 pass · cached"
    gates = _table(text, "| gate | limit | result | line |")
    assert [row[2].split()[1] for row in gates] == [
        "fail:", "error:", "inconclusive:", "warn:", "pass:", "pass:",
    ]  # fmt: skip
    assert gates[0][3] == r"ml/mlgate\.yaml:14"


def test_within_the_limit_it_says_how_many_are_missing() -> None:
    many = report({"data": ran(*(gate("fail", "x" * 100) for _ in range(200)))})
    text = markdown.render(many, limit=4_000)
    shown = len(_table(text, "| gate | limit | result | line |"))
    assert 0 < shown < 200
    assert f"… {200 - shown} more gates not shown" in text
    assert len(text.encode()) <= 4_000


@given(reports, st.integers(min_value=200, max_value=5_000))
def test_no_report_is_longer_than_its_limit_or_cut_silently(any_report: Report, limit: int) -> None:
    text = markdown.render(any_report, limit=limit)
    assert len(text.encode()) <= limit
    whole = markdown.render(any_report)
    assert text == whole or "not shown" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_markup(text: str) -> None:
    rendered = markdown.render(report({"data": ran(gate("fail", text, text))}, text))
    gates = _table(rendered, "| gate | limit | result | line |")
    assert len(gates) == 1
    assert len(gates[0]) == 4
    assert "<script" not in rendered
    assert not re.search(r"@(?!<!-- -->)", rendered)
    assert not re.search(r"(?<!\\)\]\(", rendered)
    assert "https://" not in rendered
