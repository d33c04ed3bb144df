"""What was seen in some seconds of a rollout, as counts: the engine knows nothing else."""

from pydantic import Field

from mlgate.evidence import Frozen


class Tally(Frozen):
    """Counts of one arm: units (requests, or users where they are sticky), and events by name.

    Events: `error`; `slow:p99:1.1` (answers slower than 1.1 times stable's frozen p99);
    `class:cat`; `confidence:9`; `abstained`; `wrong`; a business event by its own name.
    """

    units: int = Field(0, ge=0)
    events: dict[str, int] = {}

    def of(self, event: str) -> int:
        return self.events.get(event, 0)


class Labelled(Frozen):
    """Labels that arrived, for requests made while the canary's observed share was `share`."""

    share: float = Field(gt=0, lt=1)
    canary: Tally
    stable: Tally


class Batch(Frozen):
    """Some seconds of traffic.

    `asked` is the share that the router was told, in [0, 1]; what it delivered is in the tallies.
    `served` are the answers per arm that labels may come for. `gauges` are readings of the canary
    by metric (saturation, cost). `down` says which source did not answer, and why.
    """

    seconds: float = Field(ge=0)
    asked: float = Field(ge=0, le=1)
    canary: Tally = Tally()
    stable: Tally = Tally()
    labels: tuple[Labelled, ...] = ()
    gauges: dict[str, float] = {}
    down: dict[str, str] = {}

    @property
    def share(self) -> float | None:
        """The observed share of the canary; None where an arm had no traffic."""
        if not self.canary.units or not self.stable.units:
            return None
        return self.canary.units / (self.canary.units + self.stable.units)
