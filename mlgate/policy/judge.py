"""Rules and facts give results. Pure: the day is given, and no file is read.

`when` false: skip. `assert` false: fail or warn. An error in either is an error of the rule, at any
severity: a rule that could not be judged is never a pass.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from mlgate.gate import Outcome
from mlgate.policy.engine import Answer, Compiled, Wrong, engine
from mlgate.policy.facts import Facts
from mlgate.policy.rules import PlacedRule, Policies, Rule, RuleRow, Waiver


def judge(policies: Policies, facts: Facts) -> tuple[RuleRow, ...]:
    """One row for each rule, in the order of the files."""
    if not policies.rules:
        return ()
    activation = engine(report=True).activation(facts)
    waivers = _Waivers(policies, facts)
    return tuple(_row(placed, activation, waivers) for placed in policies.rules)


def judge_spec(policies: Policies) -> tuple[RuleRow, ...]:
    """The rules that ask for no results, on a spec that was not run yet."""
    early = [placed for placed in policies.rules if not reads_report(placed.rule)]
    return judge(policies.model_copy(update={"rules": tuple(early)}), Facts(spec=policies.spec))


def holds(waiver: Waiver, day: date | None) -> bool:
    """Whether a waiver is in force on a day (UTC, its last day included).

    The only place that decides it. A date that is none is over, and so is every waiver where the
    day is not known.
    """
    last = waiver.last_day()
    return last is not None and day is not None and day <= last


def reads_report(rule: Rule) -> bool:
    """Whether a rule asks for results, so that it cannot be judged before there are any."""
    texts = [rule.when, rule.assert_, *([rule.message] if rule.message else [])]
    spec = engine(report=False)
    return any(isinstance(spec.compile(text, text=text is rule.message), Wrong) for text in texts)


def _day(written: str | None) -> date | None:
    """The day of judging; None where a record says none that there is."""
    try:
        return date.fromisoformat(written or "")
    except ValueError:
        return None


class _Waivers:
    def __init__(self, policies: Policies, facts: Facts) -> None:
        self._waivers = policies.waivers
        self._day = _day(policies.day)
        self._spec = engine(report=False)
        self._activation = self._spec.activation(facts)

    def of(self, rule: Rule) -> Waiver | None:
        """The waiver of a rule that is in force and covers this model, if there is one."""
        if rule.enforcement == "hard":
            return None
        for waiver in self._waivers:
            if waiver.rule == rule.name and holds(waiver, self._day) and self._covers(waiver):
                return waiver
        return None

    def _covers(self, waiver: Waiver) -> bool:
        scope = self._spec.compile(waiver.scope)
        return isinstance(scope, Compiled) and scope.of(self._activation).value is True


def _row(placed: PlacedRule, activation: Any, waivers: _Waivers) -> RuleRow:
    rule = placed.rule
    outcome, message = _judged(rule, activation)
    given: dict[str, Any] = {
        "rule": rule.name,
        "file": placed.file,
        "line": placed.line,
        "digest": placed.digest,
        "enforcement": rule.enforcement,
    }
    if rule.owner:
        given["owner"] = rule.owner
    if rule.runbook:
        given["runbook"] = rule.runbook
    if outcome is None:
        return RuleRow(**given, outcome="skip", message=message)
    waiver = waivers.of(rule) if outcome in (Outcome.FAIL, Outcome.WARN) else None
    if waiver is not None:
        given["waived"] = f"{waiver.ticket}: {waiver.reason} ({waiver.owner}, {waiver.expires})"
        given["would"] = outcome.word
        outcome = Outcome.WARN
    elif rule.enforcement == "advisory" and outcome is not Outcome.PASS:
        given["would"] = outcome.word
        outcome = Outcome.WARN
    return RuleRow(**given, outcome=outcome.word, message=message)


def _judged(rule: Rule, activation: Any) -> tuple[Outcome | None, str]:
    """What the rule comes to by itself; None: it does not apply."""
    applies = _answer(rule.when, activation)
    if applies.error is not None:
        return Outcome.ERROR, f"when could not be judged: {applies.error}"
    if applies.value is not True:
        return None, "it does not apply"
    kept = _answer(rule.assert_, activation)
    if kept.error is not None:
        return Outcome.ERROR, f"it could not be judged: {kept.error}"
    if kept.value is True:
        return Outcome.PASS, rule.description or rule.assert_
    outcome = Outcome.FAIL if rule.severity == "fail" else Outcome.WARN
    return outcome, _message(rule, activation)


def _message(rule: Rule, activation: Any) -> str:
    plain = rule.description or f"{rule.assert_} does not hold"
    if rule.message is None:
        return plain
    said = _answer(rule.message, activation, text=True)
    if said.error is not None:
        return f"{plain} (its message could not be made: {said.error})"
    return str(said.value)


def _answer(source: str, activation: Any, *, text: bool = False) -> Answer:
    compiled = engine(report=True).compile(source, text=text)
    if isinstance(compiled, Wrong):
        return Answer(None, compiled.message)
    return compiled.of(activation)


def unused(policies: Policies) -> Sequence[Waiver]:
    """Waivers of rules that are not there."""
    names = {placed.rule.name for placed in policies.rules}
    return [waiver for waiver in policies.waivers if waiver.rule not in names]
