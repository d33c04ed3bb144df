"""The one judge: what every stage was found to be, and by which terms it is judged, give a Report.

check, judge, verify and the verdict of CI all come here, so that none of them can reach another
verdict. What an organisation asks of every model is asked here too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from mlgate.documents import (
    Changed,
    GateRow,
    MeasurementRow,
    OutputRow,
    ReportDocument,
    StageRow,
    VerdictDocument,
)
from mlgate.evidence import Artifact, Comparison, Evidence, Measurement
from mlgate.gate import Gate, GateResult, Outcome, judge_all, worst
from mlgate.policy.facts import (
    ChangedFact,
    Facts,
    GateFact,
    GateResultFact,
    LabelFact,
    MeasurementFact,
    ReportFacts,
    SpecFacts,
    StageFact,
    StageResultFact,
)
from mlgate.policy.judge import judge as judge_policies
from mlgate.policy.rules import Policies, RuleRow
from mlgate.quantity import Quantity


@dataclass(frozen=True)
class Seen:
    """A stage that was measured, now or earlier: its evidence, and the digest of that."""

    evidence: Evidence
    digest: str
    cached: bool = False


@dataclass(frozen=True)
class Ran:
    """A stage that was measured and judged. `lines` are its gates', in the spec."""

    evidence: Evidence
    digest: str
    gates: tuple[GateResult, ...]
    lines: tuple[int, ...]
    cached: bool

    @property
    def outcome(self) -> Outcome:
        return worst(gate.rank for gate in self.gates)


@dataclass(frozen=True)
class Errored:
    """A stage that could not measure, and why. `line`: of the option at fault, where known."""

    message: str
    hint: str | None = None
    line: int | None = None

    @property
    def outcome(self) -> Outcome:
        return Outcome.ERROR


@dataclass(frozen=True)
class Skipped:
    """A stage that was not started, and because of what. Its outcome is its cause's."""

    because: str
    outcome: Outcome


Result = Ran | Errored | Skipped
Found = Seen | Ran | Errored | Skipped


@dataclass(frozen=True)
class StageTerms:
    """By what one stage is judged: its gates, and where they and the stage stand in the spec."""

    uses: str
    line: int
    gates: tuple[Gate, ...] = ()
    gate_lines: tuple[int, ...] = ()

    def judge(self, seen: Seen | Ran, *, confidence: float) -> Ran:
        """The results of the gates on what was seen."""
        gates = judge_all(self.gates, seen.evidence, confidence=confidence)
        return Ran(seen.evidence, seen.digest, gates, self.gate_lines, seen.cached)


@dataclass(frozen=True)
class Terms:
    """By what a whole run is judged, out of a spec or out of a run's record.

    `left_out` are stages of the spec that this run was not asked for: no verdict covers them.
    `changed` are settings from outside the spec that differ from what it says by itself.
    """

    name: str
    spec_digest: str
    profile: str | None
    confidence: float
    stages: Mapping[str, StageTerms]
    left_out: tuple[str, ...] = ()
    changed: tuple[Changed, ...] = ()
    policies: Policies = field(default_factory=Policies)


def judge(terms: Terms, found: Mapping[str, Found]) -> "Report":
    """The report of what was found, in the order of `found`. Pure.

    Raises `KeyError` for a stage that the terms do not have.
    """
    results: dict[str, Result] = {}
    for stage, one in found.items():
        if isinstance(one, Seen | Ran):
            results[stage] = terms.stages[stage].judge(one, confidence=terms.confidence)
        else:
            results[stage] = one
    facts = Facts(spec=terms.policies.spec, report=_report_facts(terms, results))
    return Report(terms, results, judge_policies(terms.policies, facts))


@dataclass(frozen=True)
class Report:
    """The whole answer: what every stage came to, in the plan's order, and by which terms.

    Made by `judge` alone.
    """

    terms: Terms
    results: Mapping[str, Result]
    policies: tuple[RuleRow, ...] = ()

    @property
    def name(self) -> str:
        return self.terms.name

    @property
    def spec_digest(self) -> str:
        return self.terms.spec_digest

    @property
    def profile(self) -> str | None:
        return self.terms.profile

    @property
    def confidence(self) -> float:
        return self.terms.confidence

    @property
    def left_out(self) -> tuple[str, ...]:
        return self.terms.left_out

    @property
    def changed(self) -> tuple[Changed, ...]:
        return self.terms.changed

    @property
    def outcome(self) -> Outcome:
        """The worst of all; a run without stages is an error, never a pass."""
        stages = worst(result.outcome for result in self.results.values())
        return max([stages, *(rule.rank for rule in self.policies)])

    @property
    def exit_code(self) -> int:
        return self.outcome.exit_code

    def uses(self, stage: str) -> str:
        """Which kind of stage it is."""
        return self.terms.stages[stage].uses

    def weakened(self) -> str:
        """What is asked otherwise than the spec does by itself, in words; empty if nothing is."""
        said = [f"profile {self.profile}"] if self.profile is not None else []
        for one in self.changed:
            instead = "no default" if one.default is None else f"default {one.default}"
            source = f"{one.source}, " if one.source else ""
            said.append(f"{one.name}={one.value} ({source}{instead})")
        return ", ".join(said)

    def line(self, stage: str) -> int:
        """Where the spec says what a reader of the stage's result may want to change."""
        result = self.results[stage]
        at_fault = result.line if isinstance(result, Errored) else None
        return at_fault or self.terms.stages[stage].line

    def document(self) -> dict[str, Any]:
        """The report as JSON: `mlgate/report/v1`."""
        rows = tuple(self._row(stage, cached=True) for stage in self.results)
        return ReportDocument(**self._head(), stages=rows, policies=self.policies).as_json()

    def verdict(self) -> bytes:
        """Canonical JSON: equal bytes wherever equal evidence was judged."""
        rows = tuple(self._row(stage, cached=False) for stage in self.results)
        head = self._head()
        if self.changed:  # a parameter is the same, whichever way it was given
            head["changed"] = tuple(
                Changed(name=one.name, value=one.value, default=one.default) for one in self.changed
            )
        return VerdictDocument(**head, stages=rows, policies=self.policies).canonical()

    def _head(self) -> dict[str, Any]:
        head: dict[str, Any] = {
            "name": self.name,
            "outcome": self.outcome.word,
            "exit_code": self.exit_code,
            "spec_digest": self.spec_digest,
            "confidence": self.confidence,
        }
        if self.profile is not None:
            head["profile"] = self.profile
        if self.left_out:
            head["left_out"] = self.left_out
        if self.changed:
            head["changed"] = self.changed
        if any(rule.waived for rule in self.policies):
            head["day"] = self.terms.policies.day
        return head

    def _row(self, stage: str, *, cached: bool) -> StageRow:
        result = self.results[stage]
        row: dict[str, Any] = {
            "id": stage,
            "uses": self.uses(stage),
            "outcome": result.outcome.word,
        }
        match result:
            case Ran():
                row |= _measured(result, self.confidence)
                if cached:
                    row["cached"] = result.cached
            case Errored():
                row["reason"] = result.message
                if result.hint:
                    row["hint"] = result.hint
            case Skipped():
                row["reason"] = f"not run: {result.because}"
        return StageRow(**row)


def _measured(ran: Ran, confidence: float) -> dict[str, Any]:
    gates = [
        GateRow(**gate.model_dump(), line=line)
        for gate, line in zip(ran.gates, ran.lines, strict=True)
    ]
    comparisons = [
        Comparison(**comparison.model_dump(exclude_none=True))
        for comparison in ran.evidence.comparisons
    ]
    return {
        "evidence": ran.digest,
        "gates": tuple(gates),
        "measurements": tuple(_measurement(m, confidence) for m in ran.evidence.measurements),
        "comparisons": tuple(comparisons),
        "outputs": {port: _output(made) for port, made in ran.evidence.outputs.items()},
    }


def _output(made: Artifact) -> OutputRow:
    path = PurePosixPath(".mlgate/store/sha256", made.digest.removeprefix("sha256:"))
    return OutputRow(path=str(path), digest=made.digest, name=made.name)


def _measurement(m: Measurement, confidence: float) -> MeasurementRow:
    """One row; low and high are the interval at the spec's confidence, the value if exact."""
    bounds = next((b for b in m.bounds if b.confidence == confidence), None)
    low, high = (bounds.low, bounds.high) if bounds else (m.value, m.value)
    row = MeasurementRow(
        name=m.name, labels=m.labels, value=m.value, unit=m.unit, n=m.n, low=low, high=high
    )
    return (
        row
        if not m.reason
        else MeasurementRow(**row.model_dump(exclude_unset=True), reason=m.reason)
    )


def spec_facts(terms: Terms, stages: Mapping[str, StageTerms]) -> SpecFacts:
    """What rules may ask of the spec: all its `stages`, also those that a run leaves out."""
    seen = []
    for name, stage in stages.items():
        gates = tuple(_gate_fact(gate) for gate in stage.gates)
        seen.append(StageFact(id=name, uses=stage.uses, gates=gates))
    changed = [ChangedFact(name=c.name, value=c.value) for c in terms.changed]
    return SpecFacts(
        name=terms.name,
        profile=terms.profile,
        confidence=terms.confidence,
        stages=tuple(seen),
        changed=tuple(changed),
    )


def _gate_fact(gate: Gate) -> GateFact:
    return GateFact(
        metric=gate.metric,
        where=_labels({key: str(value) for key, value in gate.where.items()}),
        compared_to=gate.compared_to,
        severity=gate.severity,
        confidence=gate.confidence,
        limit=gate.limit(),
        min=_number(gate.min),
        max=_number(gate.max),
        equals=_number(gate.equals),
        max_drop=_number(gate.max_drop),
        max_increase=_number(gate.max_increase),
    )


def _number(written: float | str | None) -> float | None:
    """A limit as a number: a percentage as a share, anything else in the unit that is written."""
    if written is None:
        return None
    quantity = Quantity.parse(written)
    return quantity.number / 100 if quantity.unit == "%" else quantity.number


def _labels(labels: Mapping[str, str]) -> tuple[LabelFact, ...]:
    return tuple(LabelFact(key=key, value=value) for key, value in labels.items())


def _report_facts(terms: Terms, results: Mapping[str, Result]) -> ReportFacts:
    stages, measurements = [], []
    for name, result in results.items():
        gates: tuple[GateResultFact, ...] = ()
        reason = None
        if isinstance(result, Ran):
            gates = tuple(_gate_result(gate) for gate in result.gates)
            for measurement in result.evidence.measurements:
                measurements.append(_measurement_fact(name, measurement, terms.confidence))
        elif isinstance(result, Errored):
            reason = result.message
        else:
            reason = result.because
        stages.append(
            StageResultFact(
                id=name,
                uses=terms.stages[name].uses,
                outcome=result.outcome.word,
                reason=reason,
                gates=gates,
            )
        )
    return ReportFacts(
        outcome=worst(result.outcome for result in results.values()).word,
        stages=tuple(stages),
        measurements=tuple(measurements),
        left_out=terms.left_out,
    )


def _gate_result(gate: GateResult) -> GateResultFact:
    return GateResultFact(
        metric=gate.metric,
        outcome=gate.outcome,
        message=gate.message,
        observed=gate.observed,
        low=gate.low,
        high=gate.high,
    )


def _measurement_fact(stage: str, measurement: Measurement, confidence: float) -> MeasurementFact:
    row = _measurement(measurement, confidence)
    return MeasurementFact(
        stage=stage,
        name=row.name,
        labels=_labels(row.labels),
        unit=row.unit,
        value=row.value,
        low=row.low,
        high=row.high,
        samples=row.n,
    )
