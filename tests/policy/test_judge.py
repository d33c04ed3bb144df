"""Rules, waivers and what they come to; every way of not judging is an error, never a pass."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.gate import Outcome
from mlgate.policy.facts import ChangedFact, Facts, SpecFacts
from mlgate.policy.judge import judge
from mlgate.policy.rules import PlacedRule, Policies, Rule, RuleRow, Waiver

FACTS = Facts(spec=SpecFacts(name="fraud"))
NO = "spec.name == 'other'"


def placed(assert_: str, **more: Any) -> PlacedRule:
    rule = Rule.model_validate({"name": "r", "assert": assert_, **more})
    return PlacedRule(rule=rule, file="p.yaml", digest="sha256:" + "0" * 64, line=3)


def waiver(**more: Any) -> Waiver:
    given = {"rule": "r", "owner": "o", "reason": "why", "ticket": "T-1", "expires": "2026-12-31"}
    return Waiver(**{**given, **more})


def row(assert_: str, *waivers: Waiver, day: str | None = "2026-11-28", **more: Any) -> RuleRow:
    policies = Policies(rules=(placed(assert_, **more),), waivers=waivers, day=day)
    (found,) = judge(policies, FACTS)
    return found


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ({"assert_": "spec.name == 'fraud'"}, "pass"),
        ({"assert_": NO}, "fail"),
        ({"assert_": NO, "severity": "warn"}, "warn"),
        ({"assert_": NO, "when": NO}, "skip"),
        ({"assert_": "spec.confidence >= 0.9"}, "error"),
        ({"assert_": "spec.confidence >= 0.9", "severity": "warn"}, "error"),
        ({"assert_": "true == true", "when": "spec.confidence >= 0.9"}, "error"),
        ({"assert_": "spec.nothing == 'x'"}, "error"),
        ({"assert_": NO, "when": "spec.nothing == 'x'"}, "error"),
    ],
)
def test_what_a_rule_comes_to(given: dict[str, Any], outcome: str) -> None:
    assert row(given.pop("assert_"), **given).outcome == outcome


def test_an_advisory_rule_says_what_it_would_have_done_and_never_decides() -> None:
    found = row(NO, enforcement="advisory")
    assert (found.outcome, found.would) == ("warn", "fail")
    broken = row("spec.confidence >= 0.9", enforcement="advisory")
    assert (broken.outcome, broken.would) == ("warn", "error")


@pytest.mark.parametrize(
    ("day", "waived"),
    [
        ("2026-11-28", True),
        ("2026-12-31", True),  # the last day is one of them
        ("2027-01-01", False),
        (None, False),
    ],
)
def test_p8_a_waiver_holds_until_its_last_day(day: str | None, waived: bool) -> None:
    found = row(NO, waiver(), day=day)
    assert (found.waived is not None) is waived
    assert found.outcome == ("warn" if waived else "fail")
    assert found.would == ("fail" if waived else None)


@pytest.mark.parametrize(
    "expires",
    [
        "2026-13-40", "2026-02-30", "31.12.2026", "2026-1-1", "never", "", "20261231",
        "2026-12-31T00:00:00Z", "2026-12-31 ", "9999-99-99", "2026/12/31", "+2026-12-31",
    ],
)  # fmt: skip
def test_p8_a_day_that_is_none_is_over(expires: str) -> None:
    assert row(NO, waiver(expires=expires)).outcome == "fail"


def test_a_hard_rule_cannot_be_waived() -> None:
    assert row(NO, waiver(), enforcement="hard").outcome == "fail"


def test_a_waiver_is_for_its_scope_and_its_rule_alone() -> None:
    assert row(NO, waiver(scope="spec.name == 'fraud'")).outcome == "warn"
    assert row(NO, waiver(scope="spec.name == 'other'")).outcome == "fail"
    assert row(NO, waiver(scope="spec.confidence >= 0.9")).outcome == "fail"
    assert row(NO, waiver(rule="another")).outcome == "fail"


def test_what_could_not_be_judged_is_not_waived() -> None:
    assert row("spec.confidence >= 0.9", waiver()).outcome == "error"


def test_the_message_is_the_rules_own_and_its_failure_is_told() -> None:
    assert row(NO, message="'it is ' + spec.name").message == "it is fraud"
    broken = row(NO, message="'it is ' + string(spec.confidence)", description="The name fits.")
    assert broken.message.startswith("The name fits. (its message could not be made")


def test_without_rules_nothing_is_asked() -> None:
    assert judge(Policies(), FACTS) == ()


@given(st.lists(st.sampled_from(["pass", "fail", "warn", "skip", "error"]), min_size=1))
def test_the_worst_rule_counts(words: list[str]) -> None:
    sources = {
        "pass": {"assert_": "spec.name == 'fraud'"},
        "fail": {"assert_": NO},
        "warn": {"assert_": NO, "severity": "warn"},
        "skip": {"assert_": NO, "when": NO},
        "error": {"assert_": "spec.confidence >= 0.9"},
    }
    rows = [row(**sources[word]) for word in words]
    ranks = {"skip": Outcome.PASS}
    wanted = (
        max(ranks.get(word) or Outcome[word.upper()] for word in words if word != "skip")
        if (set(words) - {"skip"})
        else Outcome.PASS
    )
    assert max(found.rank for found in rows) == wanted


def test_p5_a_parameter_that_nobody_sets_is_no_pass() -> None:
    """`params.tier != 'gold' || …` holds on every clean report elsewhere: here it is no name."""
    found = row("params.tier != 'gold' || spec.name == 'fraud'")
    assert found.outcome == "error"
    assert "is not known" in found.message


def test_changes_from_outside_can_be_asked_for() -> None:
    facts = Facts(spec=SpecFacts(changed=(ChangedFact(name="limit"),)))
    (found,) = judge(Policies(rules=(placed("size(spec.changed) == 0"),)), facts)
    assert found.outcome == "fail"
