"""A world for a controller in which nothing is real and everything can be killed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from pydantic import JsonValue

from mlgate.rollout.batch import Batch, Tally
from mlgate.rollout.controller import Clock, RouterError, World
from mlgate.rollout.course import Course


class Killed(BaseException):
    """kill -9: nobody catches it."""


@dataclass
class Knife:
    """Kills at the n-th dangerous instruction."""

    at: int = -1
    passed: int = 0

    def __call__(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            raise Killed


class FakeClock(Clock):
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.time)

    def monotonic(self) -> float:
        return self.time

    def sleep(self, duration: float) -> None:
        self.time += duration


@dataclass
class FakeRouter:
    """Two arms and a lease. `stable` is the version behind the stable arm."""

    clock: FakeClock
    knife: Knife = field(default_factory=Knife)
    stable: str = "v1"
    weight: float = 0.0
    leased_until: float = 0.0
    deaf: bool = False
    gone: bool = False
    shares: list[float] = field(default_factory=list)

    def check(self) -> None:
        if self.gone:
            raise RouterError("the router does not answer")

    def set_share(self, share: float) -> None:
        self.check()
        self.knife()
        if not self.deaf:
            self.weight = share
            self.shares.append(share)
        self.knife()

    def share(self) -> float:
        self.check()
        return self.weight

    def renew(self, lease: float) -> None:
        self.check()
        self.leased_until = self.clock.time + lease

    def settle(self) -> None:
        self.knife()
        self.stable = "v2"
        self.knife()
        self.weight = 0.0
        self.knife()

    @property
    def served_by_canary(self) -> float:
        return self.weight if self.clock.time < self.leased_until else 0.0


@dataclass
class FakeSource:
    """Traffic that follows the router; `bad` is the canary's share of errors."""

    router: FakeRouter
    rate: int = 1000
    bad: float = 0.01
    down: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def thresholds(self) -> dict[str, float] | None:
        return {"p99": 60.0}

    def read(self, batch: Batch, thresholds: Mapping[str, float]) -> tuple[Batch, dict[str, Any]]:
        if self.down:
            return batch.model_copy(update={"down": {"log": "no answer"}}), {}
        canary = round(self.rate * self.router.served_by_canary)
        tallies = {}
        for arm, units, bad in (
            ("canary", canary, self.bad),
            ("stable", self.rate - canary, 0.01),
        ):
            tallies[arm] = Tally(units=units, events={"error": int(self._rng.binomial(units, bad))})
        return batch.model_copy(update=tallies), {"log": 7}

    def resume(
        self,
        offsets: Sequence[Mapping[str, Any]],
        batches: Sequence[Batch],
        thresholds: Mapping[str, float],
    ) -> None:
        assert len(offsets) == len(batches)


@dataclass
class FakeProbe:
    """Answers after so many failures."""

    cold: int = 0

    def infer(self, arm: str) -> str | None:
        if arm == "canary" and self.cold > 0:
            self.cold -= 1
            return "502"
        return None


@dataclass
class FakeRegistry:
    knife: Knife
    champion: str = "v1"
    previous: str = "v0"

    def promote(self) -> None:
        self.knife()
        if self.champion != "v2":
            self.previous = self.champion
            self.knife()
            self.champion = "v2"
        self.knife()


@dataclass
class FakeNotifier:
    news: list[dict[str, JsonValue]] = field(default_factory=list)
    wrong: str | None = None

    def tell(self, news: Mapping[str, JsonValue]) -> str | None:
        self.news.append(dict(news))
        return self.wrong


class Universe:
    """All of it, and a course that takes some simulated seconds."""

    def __init__(self, **traffic: Any) -> None:
        self.knife = Knife()
        self.clock = FakeClock()
        self.router = FakeRouter(self.clock, self.knife)
        self.source = FakeSource(self.router, **traffic)
        self.probe = FakeProbe()
        self.registry = FakeRegistry(self.knife)
        self.notifier = FakeNotifier()
        self.on_look: Callable[[], None] = lambda: None

    def world(self) -> World:
        return World(
            self.router,
            self.source,
            self.probe,
            self.registry,
            self.notifier,
            self.clock,
            lambda _progress, _move: self.on_look(),
        )


def course(**changes: Any) -> Course:
    written: dict[str, Any] = {
        "steps": (
            {"weight": 10, "min": "3s", "min_requests": 10},
            {"weight": 50, "min": "3s", "min_requests": 10},
        ),
        "triggers": ({"metric": "errors", "compared_to": "stable", "max_increase": "200%"},),
        "warmup_requests": 3,
        "max_duration": "10min",
        **changes,
    }
    return Course.model_validate(written)
