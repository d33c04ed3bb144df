"""Expressions: what is wrong is found before they run, and no error is ever a yes."""

import pytest

from mlgate.policy.engine import Answer, Compiled, Wrong, engine
from mlgate.policy.facts import (
    Facts,
    GateFact,
    GateResultFact,
    MeasurementFact,
    ReportFacts,
    SpecFacts,
    StageFact,
    StageResultFact,
)

GATE = GateFact(metric="accuracy", severity="fail", max_drop=0.01)
FACTS = Facts(
    spec=SpecFacts(
        name="fraud",
        confidence=0.95,
        stages=(StageFact(id="data", uses="validate"), StageFact(id="q", gates=(GATE,))),
    ),
    report=ReportFacts(
        outcome="pass",
        stages=(
            StageResultFact(id="data", gates=(GateResultFact(metric="rows", outcome="pass"),)),
        ),
        measurements=(
            MeasurementFact(name="latency_ms.p99", value=3.0, low=2.0, high=4.0),
            MeasurementFact(name="latency_ms.p99", value=5.0, low=4.5, high=6.0),
            MeasurementFact(name="rss_bytes", value=0.0, low=0.0, high=0.0),
            MeasurementFact(name="accuracy"),
            MeasurementFact(name="open", value=1.0, low=0.5),
        ),
    ),
)


def answer(source: str, facts: Facts = FACTS) -> Answer:
    compiled = engine(report=True).compile(source)
    assert isinstance(compiled, Compiled), compiled
    return compiled.of(engine(report=True).activation(facts))


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("spec.name == 'fraud'", True),
        ("spec.confidence >= 0.95", True),
        ("has(spec.profile)", False),
        ("spec.profile == 'production'", False),  # what is absent equals nothing
        ("spec.stages.exists(s, s.gates.exists(g, g.min == 0.0))", False),
        ("spec.has_stage('validate')", True),
        ("spec.has_stage('canary')", False),
        ("spec.gated('accuracy')", True),
        ("spec.gated('recall')", False),
        ("report.measured('latency_ms.p99')", True),
        ("report.measured('accuracy')", False),
        ("report.highest('latency_ms.p99') == 6.0", True),
        ("report.lowest('latency_ms.p99') == 2.0", True),
        ("report.value('rss_bytes') == 0.0", True),
        ("report.stages.exists(s, s.gates.exists(g, g.outcome == 'pass'))", True),
    ],
)
def test_what_may_be_asked(source: str, value: bool) -> None:
    assert answer(source) == Answer(value)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("spec.stages.exists(s, s.gates.exists(g, g.max > 0.0))", "not there"),
        ("spec.stages.exists(s, s.gates.exists(g, g.min <= 0.1))", "not there"),
        ("report.value('accuracy') > 0.0", "has no value"),
        ("report.value('nothing') <= 1.0", "no measurement"),
        ("report.value('latency_ms.p99') <= 9.0", "2 measurements"),
        ("report.highest('open') <= 9.0", "no upper end"),
        ("report.lowest('nothing') >= 0.0", "no measurement"),
        ("1 / (size(spec.changed) - 0) == 1", "divide by zero"),
        ("spec.stages[7].id == 'x'", ""),
    ],
)
def test_an_error_is_no_answer(source: str, says: str) -> None:
    found = answer(source)
    assert found.value is None
    assert found.error is not None
    assert says in found.error


# Fifty mistakes of those that people make: each is found before anything runs.
_FIELDS = ("nam", "stage", "confidense", "profil", "gates", "Name", "changes", "params")
_WRONG = [
    *(f"spec.{name} == 'x'" for name in _FIELDS),
    *(f"report.{name} == 'x'" for name in ("outcom", "verdict", "stage", "measurement", "left")),
    *(f"spec.stages.exists(s, s.{name} == 'x')" for name in ("name", "kind", "use", "gate", "ID")),
    *(
        f"spec.stages.exists(s, s.gates.exists(g, g.{name}))"
        for name in ("metrics", "maximum", "drop", "warn", "level")
    ),
    *(f"report.measurements.exists(m, m.{name} == 'x')" for name in ("unt", "metric", "val", "n")),
    "spec.name",
    "spec.confidence",
    "size(spec.stages)",
    "spec.name > 3",
    "spec.confidence == '0.95'",
    "spec.confidence >= 1",
    "report.highest('latency_ms.p99') <= 12",
    "report.highest(latency_ms.p99) <= 12.0",
    "report.highest() <= 12.0",
    "report.heighest('x') <= 12.0",
    "report.value(3) <= 12.0",
    "spec.gated(accuracy)",
    "spec.has_stages('validate')",
    "report.gated('accuracy')",
    "spec.value('accuracy') > 0.0",
    "specs.name == 'x'",
    "result.outcome == 'pass'",
    "spec.name = 'x'",
    "spec.name == 'x",
    "spec.name == 'x' and true",
    "not spec.gated('x')",
    "spec.stages.all(s, s.uses)",
    "spec.stages.exists(s.uses == 'x')",
]


@pytest.mark.parametrize("source", _WRONG)
def test_a_mistake_is_found_before_it_runs_and_at_its_place(source: str) -> None:
    found = engine(report=True).compile(source)
    assert isinstance(found, Wrong)
    assert found.message
    assert 1 <= found.column <= len(source) + 1


def test_there_are_fifty_planted_mistakes() -> None:
    assert len(_WRONG) >= 50


def test_a_field_that_is_not_there_is_told_with_those_that_are() -> None:
    found = engine(report=True).compile("spec.profil == 'x'")
    assert isinstance(found, Wrong)
    assert found.message == "there is no 'profil' in SpecFacts"
    assert "profile" in (found.hint or "")


def test_a_message_must_give_text() -> None:
    assert isinstance(engine(report=True).compile("spec.name + '!'", text=True), Compiled)
    assert isinstance(engine(report=True).compile("1 == 1", text=True), Wrong)
