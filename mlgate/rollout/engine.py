"""The judge of a rollout: batches in, one of three answers per trigger out. Pure.

The state is a fold over batches and nothing else, so a journal of batches gives the same answers
to the last bit, on any day and after any crash.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from mlgate.quantity import Quantity, seconds
from mlgate.rollout.batch import Batch, Tally
from mlgate.rollout.eprocess import (
    HARMLESS,
    RATIOS,
    DifferenceProcess,
    RatioProcess,
    log_mean,
)
from mlgate.rollout.trigger import Trigger, slow_event

Verdict = Literal["rollback", "pass", "inconclusive"]
# Shares, as odds ratios of asked and observed, that say that the router does something else.
_MISSPLIT: Final = (0.5, 0.67, 0.8, 0.9, 1 / 0.9, 1.25, 1.5, 2.0)
_BINS: Final = tuple(str(tenth) for tenth in range(10))


@dataclass(frozen=True)
class Answer:
    """What the evidence says of one trigger, and how much of it there is.

    `harm` and `safety` are log wealth; `needed_harm` and `needed_safety` what they must reach.
    """

    trigger: str
    verdict: Verdict
    message: str
    harm: float | None = None
    needed_harm: float | None = None
    safety: float | None = None
    needed_safety: float | None = None
    required: bool = True
    runbook: str | None = None


@dataclass(frozen=True)
class Certainty:
    """Chance of one false rollback, and of one false promotion, in a whole rollout."""

    alpha: float = 0.02
    beta: float = 0.05


class Engine:
    """Judges every trigger on all batches so far.

    `classes` are the predicted classes that are watched. Triggers that compare arms share alpha.
    """

    def __init__(
        self, triggers: Sequence[Trigger], certainty: Certainty, classes: Sequence[str] = ()
    ) -> None:
        compared = [t for t in triggers if t.family != "guard"]
        needed_harm = math.log(max(1, len(compared)) / certainty.alpha)
        needed_safety = math.log(1 / certainty.beta)
        self._watches: list[_Watch | _Guard] = []
        for trigger in triggers:
            if trigger.family == "guard":
                self._watches.append(_Guard(trigger))
            else:
                watch = _Watch(trigger, needed_harm, needed_safety, classes)
                self._watches.append(watch)
        self._split = RatioProcess(1.0, _MISSPLIT)
        self._needed_split = math.log(1 / certainty.alpha)
        self.canary_requests = 0

    def observe(self, batch: Batch) -> None:
        """Count one batch. Call it once for each, in order."""
        self.canary_requests += batch.canary.units
        total = batch.canary.units + batch.stable.units
        if 0 < batch.asked < 1:
            self._split.update(batch.canary.units, total, batch.asked)
        for watch in self._watches:
            watch.observe(batch)

    def answers(self) -> tuple[Answer, ...]:
        """One answer per trigger, in their order."""
        return tuple(watch.answer() for watch in self._watches)

    @property
    def missplit(self) -> bool:
        """The router delivers another share than it was asked for."""
        return self._split.log_wealth >= self._needed_split


class _Watch:
    """One trigger that compares the arms."""

    def __init__(
        self,
        trigger: Trigger,
        needed_harm: float,
        needed_safety: float,
        classes: Sequence[str],
    ) -> None:
        self._trigger = trigger
        self._needed_harm = needed_harm
        self._needed_safety = needed_safety
        self._harm: list[tuple[_Pair, RatioProcess | DifferenceProcess]] = []
        self._safety: list[tuple[_Pair, RatioProcess | DifferenceProcess]] = []
        for side in trigger.sides:
            for name in _names(trigger, classes):
                self._add(name, *side)
        self._counts = [0, 0, 0, 0]
        self._served = [0, 0]
        # Labels that reach one arm more often than its share say less about the other.
        self._coverage = RatioProcess(1.0, _MISSPLIT)

    def _add(self, name: str, limit: float, over: float, relative: bool, rises: bool) -> None:
        """The two bets on one event in one direction."""
        if self._trigger.family == "latency":
            harm_pair = _Pair(slow_event(name, 1 + over), slow_event(name, 1))
            safe_pair = _Pair(slow_event(name, 1 + limit), slow_event(name, 1))
            harm = RatioProcess(1.0, RATIOS, self._trigger.expected_ratio)
            self._harm.append((harm_pair, harm))
            # Slower than the limit means: at least as many beyond the moved threshold.
            self._safety.append((safe_pair, RatioProcess(1.0, HARMLESS_LATENCY)))
            return
        pair = _Pair(name, name)
        self._harm.append((pair, self._harm_bet(over, relative, rises)))
        if relative:
            null = 1 + limit if rises else 1 / (1 - min(limit, 0.999))
            ratios = [ratio / null for ratio in HARMLESS]
            if not rises:
                null, ratios = 1 / null, [1 / ratio for ratio in ratios]
            self._safety.append((pair, RatioProcess(null, ratios)))
        else:
            signed = limit if rises else -limit
            self._safety.append((pair, DifferenceProcess(signed, above=not rises)))

    def _harm_bet(
        self, over: float, relative: bool, rises: bool
    ) -> RatioProcess | DifferenceProcess:
        if over and not relative:
            return DifferenceProcess(over if rises else -over, above=rises)
        expected = self._trigger.expected_ratio
        if rises:
            return RatioProcess(1 + over, RATIOS, expected)
        null = 1 - min(over, 0.999)
        ratios = [1 / ratio for ratio in RATIOS]
        return RatioProcess(null, ratios, None if expected is None else 1 / expected)

    def observe(self, batch: Batch) -> None:
        self._served[0] += batch.canary.units
        self._served[1] += batch.stable.units
        if self._trigger.labelled:
            for labelled in batch.labels:
                self._count(labelled.canary, labelled.stable, labelled.share)
                x, others = labelled.canary.units, labelled.stable.units
                self._coverage.update(x, x + others, labelled.share)
        elif batch.share is not None:
            self._count(batch.canary, batch.stable, batch.share)

    def _count(self, canary: Tally, stable: Tally, share: float) -> None:
        pair = self._safety[0][0]
        self._counts[0] += canary.of(pair.stable)
        self._counts[1] += canary.units
        self._counts[2] += stable.of(pair.stable)
        self._counts[3] += stable.units
        for pair, process in (*self._harm, *self._safety):
            x, others = canary.of(pair.canary), stable.of(pair.stable)
            if isinstance(process, RatioProcess):
                process.update(x, x + others, share)
            else:
                process.update((x, canary.units), (others, stable.units), share)

    def answer(self) -> Answer:
        harm = log_mean([process.log_wealth for _, process in self._harm])
        safety = min(process.log_wealth for _, process in self._safety)
        x, units, y, others = self._counts
        seen = f"{x:,} of {units:,} on the canary, {y:,} of {others:,} on stable"
        verdict: Verdict = "inconclusive"
        message = f"{self._trigger.id} ({self._trigger.limit()}): not decided yet; {seen}"
        if harm >= self._needed_harm:
            verdict, message = "rollback", f"{self._trigger.id} is worse on the canary: {seen}"
        elif uncovered := self._uncovered():
            message = f"{self._trigger.id}: {uncovered}; {seen}"
        elif safety >= self._needed_safety:
            verdict = "pass"
            message = f"{self._trigger.id} ({self._trigger.limit()}) holds: {seen}"
        return Answer(
            trigger=self._trigger.id,
            verdict=verdict,
            message=message,
            harm=harm,
            needed_harm=self._needed_harm,
            safety=safety,
            needed_safety=self._needed_safety,
            required=self._trigger.required,
            runbook=self._trigger.runbook,
        )

    def _uncovered(self) -> str | None:
        """Why labels do not speak for the traffic, if so."""
        if not self._trigger.labelled:
            return None
        if self._coverage.log_wealth >= self._needed_harm:
            return "labels reach the arms in other shares than requests do"
        for served, labelled, arm in (
            (self._served[0], self._counts[1], "the canary"),
            (self._served[1], self._counts[3], "stable"),
        ):
            if labelled == 0:
                return f"no label for an answer of {arm} has arrived"
            if labelled < self._trigger.min_coverage * served:
                return f"labels cover {labelled / served:.1%} of the answers of {arm}"
        return None


@dataclass(frozen=True)
class _Pair:
    """The event as it is counted on each arm; they differ for latency, where the limit moves it."""

    canary: str
    stable: str


# The share of answers beyond a moved threshold, against stable's beyond the still one.
HARMLESS_LATENCY: Final = (0.3, 0.5, 0.7, 0.85)


def _names(trigger: Trigger, classes: Sequence[str]) -> tuple[str, ...]:
    if trigger.family == "latency":
        return trigger.quantiles
    if trigger.family == "event":
        return (trigger.event,)
    if trigger.metric == "predicted.share":
        chosen = trigger.where.get("class")
        known = tuple(classes) if chosen is None else (str(chosen),)
    else:
        chosen = trigger.where.get("bin")
        known = _BINS if chosen is None else (str(chosen),)
    return tuple(f"{trigger.event}:{name}" for name in known)


class _Guard:
    """One absolute limit: no statistics, a stop-loss."""

    def __init__(self, trigger: Trigger) -> None:
        self._trigger = trigger
        assert trigger.max is not None
        self._limit = _plain(trigger.max)
        self._patience = 0.0 if trigger.for_ is None else seconds(trigger.for_)
        self._crossed_for = 0.0
        self._fired = False
        self._value: float | None = None
        self._errors = 0
        self._units = 0

    def observe(self, batch: Batch) -> None:
        self._errors += batch.canary.of("error")
        self._units += batch.canary.units
        value = self._reading(batch)
        if value is None:
            return
        self._value = value
        if value <= self._limit:
            self._crossed_for = 0.0
            return
        self._crossed_for += batch.seconds
        self._fired = self._fired or self._crossed_for >= self._patience

    def _reading(self, batch: Batch) -> float | None:
        if self._trigger.metric == "errors.count":
            return float(self._errors) if self._units else None
        if self._trigger.metric == "errors.burn_rate":
            assert self._trigger.slo is not None
            # At the limit itself ten errors would be expected: one error in a few says nothing.
            if self._units * self._limit * (1 - self._trigger.slo) < 10:
                return None
            return self._errors / self._units / (1 - self._trigger.slo)
        return batch.gauges.get(self._trigger.metric)

    def answer(self) -> Answer:
        name, limit = self._trigger.id, self._trigger.limit()
        verdict: Verdict = "pass"
        if self._value is None:
            verdict, message = "inconclusive", f"{name} was not measured"
        elif self._fired:
            verdict, message = "rollback", f"{name} is {self._value:g}, the limit is {limit}"
        elif self._value > self._limit:
            verdict = "inconclusive"
            message = f"{name} is {self._value:g}, over {limit} for {self._crossed_for:g} s"
        else:
            message = f"{name} is {self._value:g} {limit}"
        return Answer(
            trigger=name,
            verdict=verdict,
            message=message,
            required=self._trigger.required,
            runbook=self._trigger.runbook,
        )


def _plain(limit: float | str) -> float:
    quantity = Quantity.parse(limit)
    return quantity.number / 100 if quantity.unit == "%" else quantity.number
