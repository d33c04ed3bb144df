"""`mlgate policy test`: examples of each rule, and small changes of it that they must notice.

A rule without a case that passes and one that fails is not tested, and a change of its expression
that no case notices is a place where it may be wrong.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field

from mlgate.evidence import Frozen
from mlgate.policy.engine import Wrong, engine
from mlgate.policy.facts import Facts, ReportFacts, SpecFacts
from mlgate.policy.judge import judge
from mlgate.policy.rules import PlacedRule, Policies

Expected = Literal["pass", "fail", "warn", "skip", "error"]


class Case(Frozen):
    """Facts, and what a rule must come to on them."""

    rule: str
    name: str = ""
    spec: SpecFacts = SpecFacts()
    report: ReportFacts = ReportFacts()
    expect: Expected
    message: str | None = Field(None, description="Text that the message must hold.")


class CaseFile(Frozen):
    """A file of cases."""

    cases: tuple[Case, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Failure:
    """A case that came out otherwise, or a rule that is not tested."""

    rule: str
    message: str


@dataclass(frozen=True)
class Tested:
    """What a set of rules came to under its cases."""

    cases: int
    failures: tuple[Failure, ...]
    mutants: int
    survivors: tuple[Failure, ...]

    @property
    def killed(self) -> float:
        """Share of mutants that some case notices; 1 where there are none."""
        return 1.0 if not self.mutants else 1 - len(self.survivors) / self.mutants


def test(rules: Sequence[PlacedRule], cases: Sequence[Case]) -> Tested:
    """Every case, then every mutant of every rule, judged as a run is."""
    known = {placed.rule.name: placed for placed in rules}
    failures: list[Failure] = []
    for case in cases:
        if case.rule not in known:
            failures.append(Failure(case.rule, "a case is for a rule that is not there"))
            continue
        failures += _wrong(known[case.rule], case)
    mutants, survivors = 0, []
    for placed in rules:
        mine = [case for case in cases if case.rule == placed.rule.name]
        failures += _untested(placed, mine)
        expected = [_outcome(placed, case) for case in mine]
        for changed in _mutants(placed):
            mutants += 1
            if [_outcome(changed, case) for case in mine] == expected:
                source = changed.rule.assert_
                survivors.append(Failure(placed.rule.name, f"no case notices: {source}"))
    return Tested(len(cases), tuple(failures), mutants, tuple(survivors))


def _wrong(placed: PlacedRule, case: Case) -> Iterator[Failure]:
    (row,) = judge(Policies(rules=(_deciding(placed),)), _facts(case))
    what = f"case {case.name!r}" if case.name else f"the case that expects {case.expect}"
    if row.outcome != case.expect:
        told = f"{what}: {row.outcome} instead of {case.expect} ({row.message})"
        yield Failure(case.rule, told)
    elif case.message is not None and case.message not in row.message:
        yield Failure(case.rule, f"{what}: the message is {row.message!r}")


def _untested(placed: PlacedRule, cases: Sequence[Case]) -> Iterator[Failure]:
    name, expected = placed.rule.name, {case.expect for case in cases}
    if "pass" not in expected:
        yield Failure(name, "no case passes")
    if not expected & {"fail", "warn"}:
        yield Failure(name, "no case fails")
    if placed.rule.when != "true" and "skip" not in expected:
        yield Failure(name, "no case is one that the rule does not apply to")


def _outcome(placed: PlacedRule, case: Case) -> str:
    (row,) = judge(Policies(rules=(_deciding(placed),)), _facts(case))
    return row.outcome


def _deciding(placed: PlacedRule) -> PlacedRule:
    """The rule as if it decided: an advisory one is tested for what it would say."""
    rule = placed.rule.model_copy(update={"enforcement": "soft"})
    return placed.model_copy(update={"rule": rule})


def _facts(case: Case) -> Facts:
    return Facts(spec=case.spec, report=case.report)


_TOKEN: Final = re.compile(
    r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+\.\d+|\d+|<=|>=|==|!=|<|>|&&|\|\||!(?!=)|."
    r"|\n",
    re.DOTALL,
)
_TURNED: Final[Mapping[str, tuple[str, ...]]] = {
    "<=": ("<", ">="),
    ">=": (">", "<="),
    "<": ("<=", ">"),
    ">": (">=", "<"),
    "==": ("!=",),
    "!=": ("==",),
    "&&": ("||",),
    "||": ("&&",),
    "!": ("",),
}


def _mutants(placed: PlacedRule) -> Iterator[PlacedRule]:
    """The rule with one small change of its assert, each that still compiles."""
    source = placed.rule.assert_
    tokens = [match[0] for match in _TOKEN.finditer(source)]
    for changed in (f"!({source})", *_changed(tokens)):
        if isinstance(engine(report=True).compile(changed), Wrong):
            continue
        rule = placed.rule.model_copy(update={"assert_": changed})
        yield placed.model_copy(update={"rule": rule})


def _changed(tokens: Sequence[str]) -> Iterator[str]:
    """The source with one token turned into another: a comparison, a connective, a number, a text."""
    for index, token in enumerate(tokens):
        for other in _others(token):
            yield "".join([*tokens[:index], other, *tokens[index + 1 :]])


def _others(token: str) -> tuple[str, ...]:
    if token in _TURNED:
        return _TURNED[token]
    if token.isdigit():
        return (str(int(token) + 1),)
    if re.fullmatch(r"\d+\.\d+", token):
        return tuple(repr(float(token) * factor) for factor in (0.9, 1.1))
    if token[:1] in ("'", '"') and len(token) > 2:
        return ("'mlgate mutant'",)
    return ()
