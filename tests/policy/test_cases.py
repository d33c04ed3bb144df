"""`mlgate policy test`: what it refuses, and that it can fail."""

from pathlib import Path

import pytest

from tests.projects import mlgate, tree

RULE = "rules:\n  - {name: r, assert: spec.confidence >= 0.9, when: spec.name == 'a'}\n"
GOOD = """
cases:
  - {rule: r, expect: pass, spec: {name: a, confidence: 0.9}}
  - {rule: r, expect: fail, spec: {name: a, confidence: 0.89}}
  - {rule: r, expect: pass, name: above, spec: {name: a, confidence: 0.98}}
  - {rule: r, expect: skip, spec: {name: b}}
"""


def run(folder: Path, cases: str, *arguments: str) -> tuple[int, str]:
    tree(folder, {"p.yaml": RULE, "tests/p.yaml": cases})
    done = mlgate("policy", "test", "p.yaml", *arguments, cwd=folder)
    return done.returncode, done.stdout + done.stderr


def test_cases_that_hold_and_notice_every_change(tmp_path: Path) -> None:
    code, said = run(tmp_path, GOOD)
    assert code == 0, said
    assert "0 failures; 5 of 5 changes noticed" in said


@pytest.mark.parametrize(
    ("cases", "says"),
    [
        (GOOD.replace("expect: fail", "expect: pass"), "fail instead of pass"),
        (GOOD.replace("  - {rule: r, expect: skip, spec: {name: b}}\n", ""), "does not apply to"),
        ("cases:\n  - {rule: r, expect: skip, spec: {name: b}}\n", "no case passes"),
        (
            GOOD.replace("rule: r, expect: skip", "rule: q, expect: skip"),
            "a rule that is not there",
        ),
        (GOOD.replace("0.89", "0.1").replace("confidence: 0.9}", "confidence: 0.98}"), "notices"),
        (GOOD.replace("expect: fail", "message: 'x y', expect: fail"), "the message is"),
    ],
)
def test_what_is_not_tested_fails(tmp_path: Path, cases: str, says: str) -> None:
    code, said = run(tmp_path, cases)
    assert code == 1
    assert says in said


def test_a_filter_that_matches_no_case_is_an_error(tmp_path: Path) -> None:
    code, said = run(tmp_path, GOOD, "--filter", "nothing")
    assert code == 2
    assert "no rule with a case" in said


@pytest.mark.parametrize("cases", ["", "cases: []\n", "cases:\n  - {rule: r, expect: maybe}\n"])
def test_a_file_of_no_cases_is_an_error(tmp_path: Path, cases: str) -> None:
    code, said = run(tmp_path, cases)
    assert code == 2
    assert "Traceback" not in said


def test_the_worst_of_all_files_counts(tmp_path: Path) -> None:
    bad = RULE.replace("0.9", "0.5")
    tree(tmp_path, {"a.yaml": bad, "tests/a.yaml": GOOD, "p.yaml": RULE, "tests/p.yaml": GOOD})
    for order in (("a.yaml", "p.yaml"), ("p.yaml", "a.yaml")):
        assert mlgate("policy", "test", *order, cwd=tmp_path).returncode == 1
