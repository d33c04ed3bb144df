"""What is watched while traffic moves: gates, judged again and again.

A trigger is a gate in the words of every other stage. Its limit is what must be *proven* before
a promotion; `rollback_over` is what, once proven, takes the traffic back.

    {metric: errors, compared_to: stable, max_increase: 200%}
    {metric: latency_ms.p99, compared_to: stable, max_increase: 10%}
    {metric: accuracy, compared_to: stable, max_drop: 0.02}
    {metric: errors.count, max: 200}
"""

from typing import Final, Literal

from pydantic import Field

from mlgate.gate import Allowance, Gate
from mlgate.quantity import Quantity
from mlgate.stage import Duration, Metric

QUANTILES: Final = ("p50", "p75", "p90", "p95", "p99")
Family = Literal["event", "latency", "classes", "guard"]

# What is compared between the arms: the family, and the event that counts against the canary.
_COMPARED: Final[dict[str, tuple[Family, str]]] = {
    "errors": ("event", "error"),
    "accuracy": ("event", "wrong"),
    "abstained": ("event", "abstained"),
    "outcome": ("event", "outcome"),
    "predicted.share": ("classes", "class"),
    "confidence.share": ("classes", "confidence"),
    "latency_ms": ("latency", "slow"),
}
# How many times as likely a bad event is in the fault that the bet is placed on.
EXPECTED: Final = {"errors": 5.0, "latency_ms": 2.0, "accuracy": 1.25}
# Counted after the fact, by labels that arrive late.
LABELLED: Final = frozenset({"accuracy", "outcome"})

_TO_STABLE: Final = ("stable",)
METRICS: Final = (
    Metric(
        "errors",
        "Share of attempts that failed (5xx, or no answer)",
        compared_to=_TO_STABLE,
        maximum=1.0,
        better="lower",
    ),
    Metric(
        "latency_ms",
        "Time to answer, at the quantiles p50, p75, p90, p95 and p99 together",
        unit="ms",
        compared_to=_TO_STABLE,
        better="lower",
    ),
    Metric(
        "latency_ms.*",
        "Time to answer, at one quantile, e.g. latency_ms.p99",
        unit="ms",
        compared_to=_TO_STABLE,
        better="lower",
    ),
    Metric(
        "accuracy",
        "Share of labelled answers that were right",
        compared_to=_TO_STABLE,
        maximum=1.0,
        better="higher",
    ),
    Metric(
        "predicted.share",
        "Share of answers per predicted class, without labels",
        labels=("class",),
        compared_to=_TO_STABLE,
        maximum=1.0,
    ),
    Metric(
        "confidence.share",
        "Share of answers per tenth of confidence, without labels",
        labels=("bin",),
        compared_to=_TO_STABLE,
        maximum=1.0,
    ),
    Metric(
        "abstained",
        "Share of answers in which the model abstained",
        compared_to=_TO_STABLE,
        maximum=1.0,
        better="lower",
    ),
    Metric(
        "outcome",
        "Share of labelled answers with a business event, named by the label `event`",
        labels=("event",),
        compared_to=_TO_STABLE,
        maximum=1.0,
    ),
    Metric(
        "errors.count",
        "Failed attempts on the canary so far: an absolute budget",
        unit="count",
        better="lower",
    ),
    Metric(
        "errors.burn_rate",
        "How many times as fast as the SLO allows the canary spends its error budget",
        better="lower",
    ),
    Metric(
        "gpu.saturation",
        "Busiest share of the canary's GPUs",
        maximum=1.0,
        better="lower",
    ),
    Metric(
        "cost_usd_per_million",
        "Cost of a million requests on the canary, as the metric source says it",
        unit="USD",
        better="lower",
    ),
)


class Trigger(Gate):
    """One condition on the canary: proven harm takes the traffic back, proven safety promotes."""

    rollback_over: Allowance = Field(
        0.0,
        description="Rise (or drop) that, once proven, rolls back; default: any at all. "
        "In the unit of the limit.",
    )
    expect: float | None = Field(
        None,
        gt=1,
        description="How many times as likely bad events are in the fault that you fear most.",
    )
    required: bool = Field(True, description="A promotion needs its pass.")
    for_: Duration | None = Field(
        None, alias="for", description="A guard fires when it was crossed for this long."
    )
    slo: float | None = Field(
        None, gt=0, lt=1, description="Share of good answers promised: for errors.burn_rate."
    )
    min_coverage: float = Field(
        0.0, ge=0, le=1, description="Share of each arm's answers that labels must cover."
    )
    runbook: str | None = Field(
        None, description="Where a person reads what to do; stands in every message about it."
    )

    @property
    def id(self) -> str:
        """The name that people and the journal know it by."""
        labels = ",".join(f"{key}={value}" for key, value in sorted(self.where.items()))
        return f"{self.metric}{{{labels}}}" if labels else self.metric

    @property
    def family(self) -> Family:
        """How it is judged: by events of one kind, by quantiles, by classes, or as a guard."""
        if self.compared_to is None:
            return "guard"
        return _COMPARED[_stem(self.metric)][0]

    @property
    def event(self) -> str:
        """The event that is counted, as batches name it; for classes and quantiles the prefix."""
        if self.metric == "outcome":
            return str(self.where.get("event", ""))
        return _COMPARED[_stem(self.metric)][1]

    @property
    def labelled(self) -> bool:
        return self.metric in LABELLED

    @property
    def quantiles(self) -> tuple[str, ...]:
        """The quantiles of a latency trigger."""
        _, _, quantile = self.metric.partition(".")
        return (quantile,) if quantile else QUANTILES

    @property
    def expected_ratio(self) -> float | None:
        return self.expect or EXPECTED.get(_stem(self.metric))

    @property
    def sides(self) -> tuple[tuple[float, float, bool, bool], ...]:
        """Per direction: (limit, rollback over, in percent, a rise of the event is the harm).

        A drop of accuracy is a rise of wrong answers.
        """
        found = []
        for allowed, rises in ((self.max_increase, True), (self.max_drop, False)):
            if allowed is None:
                continue
            limit, over = Quantity.parse(allowed), Quantity.parse(self.rollback_over)
            relative = limit.unit == "%"
            scale = 100 if relative else 1
            harmful = rises != (self.metric == "accuracy")
            found.append((limit.number / scale, over.number / scale, relative, harmful))
        return tuple(found)


def _stem(metric: str) -> str:
    return "latency_ms" if metric.startswith("latency_ms") else metric


def conflict(trigger: Trigger) -> tuple[str, str] | None:
    """What is wrong with a trigger whose fields are each right alone: (field, message)."""
    if trigger.family == "guard":
        if trigger.metric in {"errors", "latency_ms", *LABELLED} or trigger.metric in _COMPARED:
            return "metric", f"{trigger.metric} is judged against stable: add compared_to: stable"
        if trigger.max is None or trigger.min is not None or trigger.equals is not None:
            return "metric", f"{trigger.metric} is a guard, and a guard has a max alone"
        if trigger.metric == "errors.burn_rate" and trigger.slo is None:
            return "slo", "errors.burn_rate needs slo: the share of good answers that is promised"
        return None
    if trigger.metric == "outcome" and "event" not in trigger.where:
        return "where", "outcome needs where: {event: …}, as the labels name it"
    for allowed in (trigger.max_increase, trigger.max_drop):
        if allowed is None:
            continue
        limit, over = Quantity.parse(allowed), Quantity.parse(trigger.rollback_over)
        if over.number and (over.unit == "%") != (limit.unit == "%"):
            return "rollback_over", "write rollback_over in the unit of the limit"
        if over.number > limit.number:
            return "rollback_over", f"{over} is beyond the limit {limit}: nothing would roll back"
        if limit.number == 0:
            return "metric", "no amount of traffic proves a difference of exactly 0: allow some"
        if trigger.metric == "accuracy" and limit.unit == "%":
            return "max_drop", "the drop of accuracy is in points: max_drop: 0.02"
        if trigger.family == "latency" and limit.unit != "%":
            return "max_increase", "a rise of latency is in percent: max_increase: 10%"
    if trigger.family == "latency":
        if trigger.max_drop is not None:
            return "max_drop", "a latency that falls is no harm: use max_increase"
        if unknown := set(trigger.quantiles) - set(QUANTILES):
            known = ", ".join(QUANTILES)
            return "metric", f"there is no quantile {unknown.pop()!r} (there are: {known})"
    return None


def slow_factors(triggers: tuple[Trigger, ...]) -> dict[str, tuple[float, ...]]:
    """Per quantile, the multiples of stable's frozen quantile beyond which answers are counted."""
    factors: dict[str, set[float]] = {}
    for trigger in triggers:
        if trigger.family != "latency":
            continue
        for limit, over, _, _ in trigger.sides:
            for quantile in trigger.quantiles:
                factors.setdefault(quantile, {1.0}).update({1 + limit, 1 + over})
    return {quantile: tuple(sorted(found)) for quantile, found in sorted(factors.items())}


def slow_event(quantile: str, factor: float) -> str:
    """The name under which batches count answers slower than `factor` times that quantile."""
    return f"slow:{quantile}:{factor:g}"
