"""The whole answer: what every stage came to, and the exit code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlgate.evidence import Evidence, Measurement, canonical
from mlgate.gate import GateResult, Outcome, worst

SCHEMA: Final = "mlgate/report/v1"
VERDICT_SCHEMA: Final = "mlgate/verdict/v1"


@dataclass(frozen=True)
class Ran:
    """A stage that was measured, now or earlier, and judged. `lines` are its gates', in the spec."""

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


@dataclass(frozen=True)
class Report:
    """The results of one run, in the plan's order. `uses` says which stage each one is, `lines` where
    the spec names it.

    `left_out` are stages of the spec that this run was not asked for: no verdict covers them.
    """

    name: str
    spec_digest: str
    profile: str | None
    confidence: float
    uses: Mapping[str, str]
    lines: Mapping[str, int]
    results: Mapping[str, Result]
    left_out: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst of all; a run without stages is an error, never a pass."""
        return worst(result.outcome for result in self.results.values())

    @property
    def exit_code(self) -> int:
        return self.outcome.exit_code

    def line(self, stage: str) -> int:
        """Where the spec says what a reader of the stage's result may want to change."""
        result = self.results[stage]
        at_fault = result.line if isinstance(result, Errored) else None
        return at_fault or self.lines[stage]

    def document(self) -> dict[str, Any]:
        """The report as JSON: `mlgate/report/v1`."""
        return self._as(SCHEMA, cached=True)

    def verdict(self) -> bytes:
        """Canonical JSON: equal bytes wherever equal evidence was judged."""
        return canonical(self._as(VERDICT_SCHEMA, cached=False))

    def _as(self, schema: str, *, cached: bool) -> dict[str, Any]:
        stages = [
            _stage(name, self.uses[name], result, self.confidence, cached)
            for name, result in self.results.items()
        ]
        document: dict[str, Any] = {
            "schema": schema,
            "name": self.name,
            "outcome": str(self.outcome),
            "exit_code": self.exit_code,
            "spec_digest": self.spec_digest,
            "confidence": self.confidence,
            "stages": stages,
            "policies": [],
        }
        if self.profile is not None:
            document["profile"] = self.profile
        if self.left_out:
            document["left_out"] = list(self.left_out)
        return document


def _stage(name: str, uses: str, result: Result, confidence: float, cached: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"id": name, "uses": uses, "outcome": str(result.outcome)}
    match result:
        case Ran():
            if cached:
                row["cached"] = result.cached
            row["evidence"] = result.digest
            row["gates"] = [
                {**gate.model_dump(mode="json"), "line": line}
                for gate, line in zip(result.gates, result.lines, strict=True)
            ]
            row["measurements"] = [
                _measurement(m, confidence) for m in result.evidence.measurements
            ]
            row["comparisons"] = [
                c.model_dump(mode="json", exclude_none=True) for c in result.evidence.comparisons
            ]
            row["outputs"] = {
                port: {
                    "path": f".mlgate/store/sha256/{made.digest.removeprefix('sha256:')}",
                    "digest": made.digest,
                    "name": made.name,
                }
                for port, made in result.evidence.outputs.items()
            }
        case Errored():
            row["reason"] = result.message
            if result.hint:
                row["hint"] = result.hint
        case Skipped():
            row["reason"] = f"not run: {result.because}"
    return row


def _measurement(m: Measurement, confidence: float) -> dict[str, Any]:
    """One row; low and high are the interval at the spec's confidence, the value if exact."""
    bounds = next((b for b in m.bounds if b.confidence == confidence), None)
    row = {"name": m.name, "labels": m.labels, "value": m.value, "unit": m.unit, "n": m.n}
    row["low"] = bounds.low if bounds else m.value
    row["high"] = bounds.high if bounds else m.value
    if m.reason:
        row["reason"] = m.reason
    return row
