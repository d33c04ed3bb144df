"""The gate grammar and its judge: evidence in, verdict out, the world untouched.

One language for every stage, for policies and for rollback triggers. A gate names a metric,
selects by label, and states a limit. It holds for every match; the worst match is reported.

    {metric: latency_ms.p99, where: {scenario: single}, max: 20ms}
    {metric: accuracy, compared_to: source, max_drop: 0.01}

An interval passes only when all of it clears the limit, fails when all of it is beyond, and is
inconclusive in between. What is missing, not finite or empty is an error, never a pass.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from mlgate.evidence import Bounds, Comparison, Frozen, Measured, Measurement, rounded
from mlgate.quantity import UNITS, Quantity


class Outcome(IntEnum):
    """Ordered from best to worst, so that the worst of many is `max`."""

    PASS = 0
    WARN = 1
    INCONCLUSIVE = 2
    ERROR = 3
    FAIL = 4

    def __str__(self) -> str:
        return self.word

    @property
    def word(self) -> "Word":
        return _WORDS[self]

    @property
    def exit_code(self) -> int:
        return _EXIT_CODES[self]


Word = Literal["pass", "warn", "inconclusive", "error", "fail"]

_WORDS: Final[Mapping[Outcome, Word]] = {
    Outcome.PASS: "pass",
    Outcome.WARN: "warn",
    Outcome.INCONCLUSIVE: "inconclusive",
    Outcome.ERROR: "error",
    Outcome.FAIL: "fail",
}
_EXIT_CODES: Final = {
    Outcome.PASS: 0,
    Outcome.WARN: 0,
    Outcome.FAIL: 1,
    Outcome.ERROR: 3,
    Outcome.INCONCLUSIVE: 4,
}


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst outcome. Nothing checked is an error, never a pass."""
    return max(outcomes, default=Outcome.ERROR)


def _parses(limit: float | str) -> float | str:
    Quantity.parse(limit)
    return limit


def _not_negative(limit: float | str) -> float | str:
    if Quantity.parse(limit).number < 0:
        raise ValueError("an allowed drop or increase cannot be negative")
    return limit


# For editors; the judge's own words are better.
_NUMBER: Final = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*"
_UNIT: Final = f"(?:{'|'.join(unit for unit in UNITS if unit != '1')})\\s*$"
_Written = Annotated[str, Field(json_schema_extra={"pattern": rf"^\s*[+-]?{_NUMBER}{_UNIT}"})]
_Allowed = Annotated[str, Field(json_schema_extra={"pattern": rf"^\s*\+?{_NUMBER}{_UNIT}"})]
_Positive = Annotated[float, Field(json_schema_extra={"minimum": 0})]

Limit = Annotated[float | _Written, AfterValidator(_parses)]
Allowance = Annotated[_Positive | _Allowed, AfterValidator(_parses), AfterValidator(_not_negative)]
Severity = Literal["fail", "warn"]


def _any(*names: str) -> JsonDict:
    return {"anyOf": [{"required": [name]} for name in names]}


_ONE_CONDITION: Final[JsonDict] = {
    "if": {"required": ["compared_to"]},
    "then": {"allOf": [_any("max_drop", "max_increase"), {"not": _any("min", "max", "equals")}]},
    "else": {"allOf": [_any("min", "max", "equals"), {"not": _any("max_drop", "max_increase")}]},
    "not": {"allOf": [{"required": ["equals"]}, _any("min", "max")]},
}


class Gate(Frozen):
    """One condition that decides whether the model may ship."""

    metric: str = Field(min_length=1, description="Name of the measurement, e.g. `drift.psi`.")
    where: dict[str, str | int | float | bool] = Field(
        {}, description="Labels that a measurement must carry to be judged."
    )
    min: Limit | None = Field(None, description="Smallest value that passes.")
    max: Limit | None = Field(None, description="Largest value that passes.")
    equals: Limit | None = Field(None, description="The only value that passes.")
    compared_to: str | None = Field(
        None,
        min_length=1,
        description="Judge the change against this reference instead of the value.",
    )
    max_drop: Allowance | None = Field(
        None, description="Largest fall below the reference: a number, or a percentage of it."
    )
    max_increase: Allowance | None = Field(
        None, description="Largest rise above the reference: a number, or a percentage of it."
    )
    confidence: float | None = Field(
        None, ge=0.5, lt=1, description="Confidence of the interval; default: the spec's."
    )
    severity: Severity = Field("fail", description="`warn`: a failure is shown, and may ship.")
    on_inconclusive: Literal["extend", "fail", "warn"] = Field(
        "extend", description="When the interval straddles the limit: measure longer, or decide."
    )

    model_config = ConfigDict(json_schema_extra=_ONE_CONDITION)

    @model_validator(mode="after")
    def _states_one_condition(self) -> Self:
        absolute = [n for n in ("min", "max", "equals") if getattr(self, n) is not None]
        relative = [n for n in ("max_drop", "max_increase") if getattr(self, n) is not None]
        if self.compared_to is None and relative:
            raise ValueError(
                f"{relative[0]} needs compared_to: a reference that the stage measures"
            )
        if self.compared_to is not None and absolute:
            raise ValueError(f"{absolute[0]} is absolute: leave it out, or leave out compared_to")
        if not absolute and not relative:
            wanted = "max_drop or max_increase" if self.compared_to else "min, max or equals"
            raise ValueError(f"a gate without a limit checks nothing: add {wanted}")
        if "equals" in absolute and len(absolute) > 1:
            raise ValueError("equals stands alone: leave out min and max")
        if self.min is not None and self.max is not None and _empty(self.min, self.max):
            raise ValueError(f"min {self.min} is above max {self.max}: nothing can pass")
        return self

    def limit(self) -> str:
        """The condition in words, e.g. `≤ 20ms` or `drop ≤ 0.01 vs source`."""
        words = [
            f"{sign} {Quantity.parse(limit)}"
            for sign, limit in (
                ("≥", self.min),
                ("≤", self.max),
                ("=", self.equals),
                ("drop ≤", self.max_drop),
                ("increase ≤", self.max_increase),
            )
            if limit is not None
        ]
        versus = f" vs {self.compared_to}" if self.compared_to else ""
        return " and ".join(words) + versus


def _empty(low: float | str, high: float | str) -> bool:
    a, b = Quantity.parse(low), Quantity.parse(high)
    try:
        return a.within(b.unit) > b.number if b.unit else a.within("1") > b.number
    except ValueError:
        return False  # of different units: the judge says so, where it knows the metric's


class GateResult(Frozen):
    """What one gate concluded. Both sides are kept: what was observed, and the limit.

    For a comparison `observed` is the drop or the increase that the gate limits (a share of the
    reference where the limit is a percentage), and `low` and `high` bound it.
    """

    metric: str
    where: dict[str, str] = {}
    observed: float | None = None
    low: float | None = None
    high: float | None = None
    limit: str
    outcome: Word
    message: str

    @property
    def rank(self) -> Outcome:
        return Outcome[self.outcome.upper()]


@dataclass(frozen=True)
class _Finding:
    """The raw conclusion for one match, before severity has its say."""

    outcome: Outcome
    message: str
    observed: float | None = None
    low: float | None = None
    high: float | None = None


def judge(gate: Gate, evidence: Measured, *, confidence: float) -> GateResult:
    """Judge `gate` on `evidence`; `confidence` is used where the gate states none. Pure."""
    level = gate.confidence or confidence
    where = {key: _label(value) for key, value in gate.where.items()}
    findings: list[tuple[str, _Finding]]
    if gate.compared_to is None:
        measurements = [m for m in evidence.measurements if _selects(gate.metric, where, m)]
        findings = [(_title(m), _absolute(gate, m, level)) for m in measurements]
    else:
        comparisons = [
            c
            for c in evidence.comparisons
            if c.to == gate.compared_to and _selects(gate.metric, where, c)
        ]
        findings = [(_title(c), _relative(gate, c, level)) for c in comparisons]
    if not findings:
        message = _nothing_matched(gate, where, evidence)
        findings = [(gate.metric, _Finding(Outcome.ERROR, message))]
    title, finding = max(findings, key=lambda pair: (pair[1].outcome, _distance(gate, pair[1])))
    outcome = _with_severity(gate, finding.outcome)
    others = sum(f.outcome == finding.outcome for _, f in findings) - 1
    alike = "1 other is like it" if others == 1 else f"{others} others are like it"
    more = f" ({alike})" if others and finding.outcome is not Outcome.PASS else ""
    return GateResult(
        metric=gate.metric,
        where=where,
        observed=finding.observed,
        low=finding.low,
        high=finding.high,
        limit=gate.limit(),
        outcome=outcome.word,
        message=f"{title} {finding.message}{more}",
    )


def judge_all(
    gates: Iterable[Gate], evidence: Measured, *, confidence: float
) -> tuple[GateResult, ...]:
    """One result per gate, in order."""
    return tuple(judge(gate, evidence, confidence=confidence) for gate in gates)


def _label(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _selects(metric: str, where: Mapping[str, str], candidate: Measurement | Comparison) -> bool:
    return candidate.name == metric and all(
        candidate.labels.get(key) == label for key, label in where.items()
    )


def _title(candidate: Measurement | Comparison) -> str:
    labels = ", ".join(f"{key}={label}" for key, label in sorted(candidate.labels.items()))
    return f"{candidate.name}{{{labels}}}" if labels else candidate.name


def _nothing_matched(gate: Gate, where: Mapping[str, str], evidence: Measured) -> str:
    rows: tuple[Measurement | Comparison, ...] = evidence.measurements
    if gate.compared_to is not None:
        rows = tuple(c for c in evidence.comparisons if c.to == gate.compared_to)
    same = [row for row in rows if row.name == gate.metric]
    if same and where:
        key = next((k for k in where if all(k not in row.labels for row in same)), None)
        if key is not None:
            labels = sorted({k for row in same for k in row.labels})
            return f"has no label {key!r} (it has: {', '.join(labels) or 'none'})"
        seen = sorted({_title(row) for row in same})
        more = f", … ({len(seen)} in all)" if len(seen) > 5 else ""
        return f"was not measured for this selection (measured: {', '.join(seen[:5])}{more})"
    versus = f" against {gate.compared_to}" if gate.compared_to else ""
    return f"was not measured{versus}: there is nothing to judge"


def _absolute(gate: Gate, m: Measurement, confidence: float) -> _Finding:
    if m.value is None or not math.isfinite(m.value):
        return _Finding(Outcome.ERROR, f"could not be measured: {m.reason or m.value}")
    if m.n == 0:
        return _Finding(Outcome.ERROR, "was measured on zero samples")
    bounds = _bounds(m.bounds, confidence)
    if m.bounds and bounds is None:
        return _Finding(Outcome.ERROR, _other_confidence(m.bounds, confidence), m.value)
    low, high = (bounds.low, bounds.high) if bounds else (m.value, m.value)
    try:
        floor, ceiling = _limits(gate, m.unit)
    except ValueError as error:
        return _Finding(Outcome.ERROR, str(error), m.value, low, high)
    return _against(floor, ceiling, m.value, low, high, unit=m.unit, n=m.n, because=m.because)


def _limits(gate: Gate, unit: str) -> tuple[float | None, float | None]:
    def within(limit: float | str | None) -> float | None:
        return None if limit is None else Quantity.parse(limit).within(unit)

    if gate.equals is not None:
        return within(gate.equals), within(gate.equals)
    return within(gate.min), within(gate.max)


def _relative(gate: Gate, c: Comparison, confidence: float) -> _Finding:
    if c.value is None or c.reference is None:
        return _Finding(Outcome.ERROR, f"could not be compared: {c.reason}")
    if c.n == 0:
        return _Finding(Outcome.ERROR, "was compared on zero samples")
    findings = []
    for limit, sign in ((gate.max_drop, -1.0), (gate.max_increase, 1.0)):
        if limit is not None:
            findings.append(_change(c, Quantity.parse(limit), sign, confidence))
    return max(findings, key=lambda finding: finding.outcome)


def _change(c: Comparison, limit: Quantity, sign: float, confidence: float) -> _Finding:
    """Judge a fall (`sign` −1) or a rise (+1) of at most `limit`."""
    assert c.value is not None
    assert c.reference is not None
    relative = limit.unit == "%"
    intervals = c.ratio if relative else c.difference
    if relative and c.reference <= 0:
        return _Finding(Outcome.ERROR, f"has no percentage: the {c.to} is {c.reference:g}")
    # Rounded: 0.97 − 0.96 must not be beyond 0.01.
    change = c.value / c.reference - 1 if relative else c.value - c.reference
    observed = rounded(sign * change) + 0.0  # −0.0 is 0
    bounds = _bounds(intervals, confidence)
    if bounds is None and (c.difference or c.ratio):
        return _Finding(Outcome.ERROR, _other_confidence(intervals, confidence), observed)
    low: float | None = observed
    high: float | None = observed
    if bounds is not None:
        shift = 1.0 if relative else 0.0
        ends = [
            None if end is None else rounded(sign * (end - shift))
            for end in (bounds.low, bounds.high)
        ]
        low, high = ends if sign > 0 else (ends[1], ends[0])
    try:
        allowed = limit.number / 100 if relative else limit.within(c.unit)
    except ValueError as error:
        return _Finding(Outcome.ERROR, str(error), observed, low, high)
    sides = f"{_show(c.value, c.unit)} vs {c.to} {_show(c.reference, c.unit)}: "
    sides += "drop " if sign < 0 else "increase "
    unit = "%" if relative else c.unit
    return _against(
        None, allowed, observed, low, high, unit=unit, n=c.n, because=c.because, sides=sides
    )


def _against(
    floor: float | None,
    ceiling: float | None,
    value: float,
    low: float | None,
    high: float | None,
    *,
    unit: str,
    n: int | None,
    because: tuple[str, ...],
    sides: str = "",
) -> _Finding:
    """Hold the interval [low, high] (None: unbounded) against [floor, ceiling]."""
    beyond = (ceiling is not None and low is not None and low > ceiling) or (
        floor is not None and high is not None and high < floor
    )
    clears = (ceiling is None or (high is not None and high <= ceiling)) and (
        floor is None or (low is not None and low >= floor)
    )
    exact = low == high == value
    seen = sides + _show(value, unit)
    if not exact:
        start = "−∞" if low is None else _show(low, unit)
        seen += f" [{start}, {_show(high, unit)}]"
    if beyond:
        crossed = ceiling if ceiling is not None and low is not None and low > ceiling else floor
        sign = ">" if crossed is ceiling and crossed is not None else "<"
        if floor == ceiling:
            sign = "≠"
        reasons = f": {'; '.join(because)}" if because else ""
        message = f"{seen} {sign} {_show(crossed, unit)}{reasons}"
        return _Finding(Outcome.FAIL, message, value, low, high)
    limits = " and ".join(
        f"{sign} {_show(limit, unit)}"
        for sign, limit in (("≥", floor), ("≤", ceiling))
        if limit is not None
    )
    if floor == ceiling:
        limits = f"= {_show(floor, unit)}"
    if clears:
        return _Finding(Outcome.PASS, f"{seen} {limits}", value, low, high)
    # A stage knows better than a rule of thumb how many samples it would take.
    need = "; ".join(because) or _samples_needed(n, value, low, high, floor, ceiling)
    more = f": {need}" if need else ""
    message = f"{seen} may or may not be {limits}{more}"
    return _Finding(Outcome.INCONCLUSIVE, message, value, low, high)


def _samples_needed(
    n: int | None,
    value: float,
    low: float | None,
    high: float | None,
    floor: float | None,
    ceiling: float | None,
) -> str | None:
    """How many samples would decide, if the value stays and intervals shrink as 1/√n."""
    sides = [
        (abs(value - limit), abs(end - value))
        for limit, end in ((floor, low), (ceiling, high), (floor, high), (ceiling, low))
        if limit is not None and end is not None
    ]
    if not n or not sides:
        return None
    distance = min(gap for gap, _ in sides)
    half = max(width for gap, width in sides if gap == distance)
    if distance <= 1e-12 * max(1.0, abs(value)):
        return "the value lies on the limit, and more samples will not decide"
    needed = math.ceil(rounded(n * (half / distance) ** 2))
    return f"about {needed:,} samples would decide, {n:,} were there" if needed > n else None


def _bounds(intervals: tuple[Bounds, ...], confidence: float) -> Bounds | None:
    return next((b for b in intervals if abs(b.confidence - confidence) < 1e-9), None)


def _other_confidence(intervals: tuple[Bounds, ...], confidence: float) -> str:
    have = ", ".join(f"{b.confidence:g}" for b in intervals) or "none"
    return f"has no interval at confidence {confidence:g} (measured at: {have}); measure again"


def _show(x: float | None, unit: str) -> str:
    if x is None:
        return "∞"
    if unit == "%":
        return f"{100 * x:.3g} %"
    number = f"{x:,.0f}" if float(x).is_integer() and abs(x) < 1e15 else f"{x:.4g}"
    return number if unit in ("1", "count") else f"{number} {unit}"


def _distance(gate: Gate, finding: _Finding) -> float:
    """How bad a finding is among findings of one outcome: the end of its interval that counts."""
    if finding.observed is None:
        return math.inf
    if gate.min is not None:
        return math.inf if finding.low is None else -finding.low
    return math.inf if finding.high is None else finding.high


def _with_severity(gate: Gate, outcome: Outcome) -> Outcome:
    if outcome is Outcome.INCONCLUSIVE:
        if gate.on_inconclusive == "warn" or gate.severity == "warn":
            return Outcome.WARN
        return Outcome.FAIL if gate.on_inconclusive == "fail" else outcome
    if outcome is Outcome.FAIL and gate.severity == "warn":
        return Outcome.WARN
    return outcome
