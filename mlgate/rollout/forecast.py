"""What a rollout will need, before anything moves: requests and minutes of every trigger."""

import math
from dataclasses import dataclass
from typing import Final

from mlgate.quantity import seconds
from mlgate.rollout.course import Course
from mlgate.rollout.eprocess import events_needed
from mlgate.rollout.trigger import Trigger

# Share of stable's answers beyond each of its quantiles.
_BEYOND: Final = {"p50": 0.5, "p75": 0.25, "p90": 0.1, "p95": 0.05, "p99": 0.01}


@dataclass(frozen=True)
class Traffic:
    """What comes: requests per second, stable's share of errors and wrong answers, labels."""

    rate: float
    errors: float = 0.001
    wrong: float = 0.08
    labelled: float = 1.0


@dataclass(frozen=True)
class Forecast:
    """One trigger at one step: seconds until its fault is found, and until it is proven safe.

    Infinite where the step can never decide; None where nothing can be said beforehand.
    """

    trigger: str
    weight: float
    harm_s: float | None
    safety_s: float | None


def forecast(course: Course, traffic: Traffic) -> tuple[Forecast, ...]:
    """Every trigger at every step, from the divergence of fault and limit from no difference."""
    rows = []
    for trigger in course.triggers:
        for step in course.steps:
            rows.append(_one(course, trigger, step.weight / 100, traffic))
    return tuple(rows)


def shortfalls(course: Course, traffic: Traffic) -> tuple[str, ...]:
    """Steps that can never gather their samples before the rollout must end."""
    found = []
    longest = seconds(course.max_duration)
    for step in course.steps:
        needed = step.min_requests / max(1e-9, traffic.rate * step.weight / 100)
        if needed > longest:
            found.append(
                f"the step of {step.weight:g} % needs {needed / 3600:.1f} h for "
                f"{step.min_requests:,} canary requests, and max_duration is {course.max_duration}"
            )
    last = course.steps[-1].weight
    for row in forecast(course, traffic):
        if row.weight != last or row.safety_s is None or row.safety_s <= longest:
            continue
        found.append(f"{row.trigger} cannot pass within {course.max_duration} at this traffic")
    return tuple(found)


def _one(course: Course, trigger: Trigger, share: float, traffic: Traffic) -> Forecast:
    events = _events_per_second(trigger, traffic)
    if events is None or not trigger.sides or not trigger.sides[0][2]:
        return Forecast(trigger.id, 100 * share, None, None)
    limit, over, _, rises = trigger.sides[0]
    compared = sum(t.family != "guard" for t in course.triggers)
    harm, safe = math.log(2 * compared / course.alpha), math.log(1 / course.beta)
    fault = trigger.expected_ratio or 1.5
    null = 1 + limit
    if not rises:
        fault, null = 1 / fault, 1 - min(limit, 0.999)
    to_harm = events_needed(share, fault, 1 + over if rises else 1 - over, harm)
    to_safe = events_needed(share, 1.0, null, safe)
    if trigger.family == "latency":
        to_safe = events_needed(share, 0.6, 1.0, safe)  # as a log-normal's tail beyond +10 %
    return Forecast(trigger.id, 100 * share, _time(to_harm, events), _time(to_safe, events))


def _events_per_second(trigger: Trigger, traffic: Traffic) -> float | None:
    if trigger.metric == "errors":
        return traffic.rate * traffic.errors
    if trigger.metric == "accuracy":
        return traffic.rate * traffic.wrong * traffic.labelled
    if trigger.family == "latency":
        return traffic.rate * min(_BEYOND[quantile] for quantile in trigger.quantiles)
    return None


def _time(events: float, rate: float) -> float:
    return math.inf if rate <= 0 else events / rate
