"""How a rollout is to go: its steps, its patience, its certainty. Written in mlgate.yaml."""

import itertools
from typing import Literal, Self

from pydantic import Field, model_validator

from mlgate.evidence import Frozen
from mlgate.quantity import seconds
from mlgate.rollout.trigger import Trigger
from mlgate.stage import Duration


class Step(Frozen):
    """One share of the traffic, and what must have happened before the next."""

    weight: float = Field(gt=0, lt=100, description="Share of the traffic in percent.")
    min: Duration = Field("5m", description="Shortest time at this share.")
    min_requests: int = Field(100, ge=1, description="Fewest requests on the canary in this step.")
    needs: tuple[str, ...] = Field(
        (), description="Triggers that must have passed before the next step; the last needs all."
    )
    approval: bool = Field(False, description="A person must approve before the next step.")


class Patience(Frozen):
    """How long an answer may be missing, and what happens then. Never a promotion."""

    hold: Duration = Field("10m", description="Wait this long, at the share that is.")
    then: Literal["rollback", "hold"] = Field(
        "rollback", description="`hold`: go on waiting, until max_duration."
    )


class Pace(Frozen):
    """The way from 0 to 100 %: what is not about any one trigger."""

    steps: tuple[Step, ...] = Field(
        min_length=1, description="Shares in rising order; after the last comes the promotion."
    )
    classes: tuple[str, ...] = Field((), description="Predicted classes that are watched.")
    alpha: float = Field(0.02, gt=0, lt=0.5, description="Chance of a false rollback per rollout.")
    beta: float = Field(0.05, gt=0, lt=0.5, description="Chance of a false promotion.")
    max_duration: Duration = Field("24h", description="Undecided for this long: back to stable.")
    warmup_requests: int = Field(
        20,
        ge=1,
        description="Inferences that the canary must answer before any user is sent to it.",
    )
    warmup_timeout: Duration = Field("5m", description="It must have answered them within this.")
    interval: Duration = Field("1s", description="Time between two looks.")
    lease: Duration = Field(
        "5s", description="Without a controller for this long, all traffic goes back to stable."
    )
    cool_down: Duration = Field(
        "1h", description="A version that was rolled back is not tried again within this."
    )
    no_traffic: Patience = Field(Patience(), description="When no request reaches the canary.")
    no_labels: Patience = Field(
        Patience(hold="24h"), description="When no label arrives, and a trigger needs some."
    )
    source_down: Patience = Field(
        Patience(hold="5m"), description="When a source of what is seen does not answer."
    )

    @model_validator(mode="after")
    def _rises(self) -> Self:
        weights = [step.weight for step in self.steps]
        if any(after <= before for before, after in itertools.pairwise(weights)):
            raise ValueError("steps must rise: each weight above the one before it")
        if seconds(self.lease) < 2 * seconds(self.interval):
            raise ValueError("the lease must last two intervals: it is renewed at every look")
        return self


class Course(Pace):
    """A pace, and what is watched on the way."""

    triggers: tuple[Trigger, ...] = Field(min_length=1, description="What is watched.")

    @model_validator(mode="after")
    def _knows_its_triggers(self) -> Self:
        known = {trigger.id for trigger in self.triggers}
        if len(known) < len(self.triggers):
            raise ValueError("two triggers watch the same metric: leave one out")
        if unknown := {name for step in self.steps for name in step.needs} - known:
            raise ValueError(f"a step needs {min(unknown)!r}, which no trigger watches")
        return self
