"""What a rule may ask about: the spec and the report, as values with types.

Every number and text may be absent, and reading what is absent is an error of the rule, never a
zero: the engine is given wrapper types for them (`engine`).
"""

from mlgate.evidence import Frozen


class LabelFact(Frozen):
    """One label of a measurement or of a gate's `where`."""

    key: str | None = None
    value: str | None = None


class GateFact(Frozen):
    """A gate as written. Limits are numbers in the metric's unit, shares for percentages."""

    metric: str | None = None
    where: tuple[LabelFact, ...] = ()
    compared_to: str | None = None
    severity: str | None = None
    confidence: float | None = None
    limit: str | None = None
    min: float | None = None
    max: float | None = None
    equals: float | None = None
    max_drop: float | None = None
    max_increase: float | None = None
    mode: str | None = None


class StageFact(Frozen):
    """A stage of the spec."""

    id: str | None = None
    uses: str | None = None
    gates: tuple[GateFact, ...] = ()


class ChangedFact(Frozen):
    """A setting from outside the spec: `--set`, a profile, an environment variable."""

    name: str | None = None
    value: str | None = None


class SpecFacts(Frozen):
    """`spec`: what was asked for."""

    name: str | None = None
    profile: str | None = None
    confidence: float | None = None
    stages: tuple[StageFact, ...] = ()
    changed: tuple[ChangedFact, ...] = ()


class GateResultFact(Frozen):
    """What a gate concluded."""

    metric: str | None = None
    outcome: str | None = None
    message: str | None = None
    observed: float | None = None
    low: float | None = None
    high: float | None = None


class MeasurementFact(Frozen):
    """A number of the evidence; `low` and `high` are its interval at the spec's confidence."""

    stage: str | None = None
    name: str | None = None
    labels: tuple[LabelFact, ...] = ()
    unit: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    samples: int | None = None


class StageResultFact(Frozen):
    """What a stage came to."""

    id: str | None = None
    uses: str | None = None
    outcome: str | None = None
    reason: str | None = None
    gates: tuple[GateResultFact, ...] = ()


class ReportFacts(Frozen):
    """`report`: what was found. `left_out` are stages that this run was not asked for."""

    outcome: str | None = None
    stages: tuple[StageResultFact, ...] = ()
    measurements: tuple[MeasurementFact, ...] = ()
    left_out: tuple[str, ...] = ()


class Facts(Frozen):
    """Everything there is to ask. `report` is None where nothing was measured yet: at lint."""

    spec: SpecFacts
    report: ReportFacts | None = None
