"""Annotations: at most ten of a kind, the worst first, one command per line whatever the text."""

import re

import pytest
from hypothesis import given

from mlgate.render import github
from mlgate.run.report import Report
from tests.render.reports import EVERYTHING, HOSTILE, gate, ran, report, reports

_COMMAND = re.compile(r"^::(error|warning|notice) title=[^:,]*(?:,file=[^:,]+,line=\d+)?::.*$")


def test_annotations_stand_on_the_gates_lines() -> None:
    assert github.render(EVERYTHING, file="ml/mlgate.yaml").splitlines() == [
        "::error title=data%3A drift.psi,file=ml/mlgate.yaml,line=14::fail it is",
        "::error title=data%3A drift.psi,file=ml/mlgate.yaml,line=13::error it is",
        "::error title=broken%3A error,file=ml/mlgate.yaml,line=9::no memory%0Ahint: give it more",
        "::warning title=data%3A drift.psi,file=ml/mlgate.yaml,line=12::inconclusive it is",
        "::warning title=data%3A drift.psi,file=ml/mlgate.yaml,line=11::warn it is",
        "::warning title=later%3A not run,file=ml/mlgate.yaml,line=12::not run: data did not pass",
        "::notice title=mlgate::FAIL: digits may not ship",
    ]


def test_beyond_ten_the_last_says_how_many_more() -> None:
    gates = [gate("warn") for _ in range(25)] + [gate("error") for _ in range(11)] + [gate("fail")]
    lines = github.render(report({"data": ran(*gates)})).splitlines()
    kinds = [line.split(" ")[0] for line in lines]
    assert kinds == ["::error"] * 10 + ["::warning"] * 10 + ["::notice"]
    assert "line=46" in lines[0]  # the one failure, before the errors
    assert lines[9].endswith("::+3 more: see the summary")
    assert lines[19].endswith("::+16 more: see the summary")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_ends_its_command(text: str) -> None:
    rendered = github.render(report({"data": ran(gate("fail", text, text))}, text), file=text)
    lines = rendered.splitlines()
    assert len(lines) == 2
    assert all(_COMMAND.match(line) for line in lines)


@given(reports)
def test_every_line_is_one_whole_command(any_report: Report) -> None:
    for line in github.render(any_report).splitlines():
        assert _COMMAND.match(line), line
