"""Measure each scenario, and measure it longer: what the stage's spec calls `scenarios`."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from mlgate import machine
from mlgate.errors import StageError
from mlgate.quantity import seconds
from mlgate.stages.benchmark import capacity, compare, schedule
from mlgate.stages.benchmark.load import Trace, closed_loop, open_loop, warm_up
from mlgate.stages.benchmark.provider import Runtime
from mlgate.stages.benchmark.recording import MOST
from mlgate.stages.benchmark.session import Prepared, QueryFailed
from mlgate.stages.benchmark.spec import (
    Batch,
    Burst,
    LongTail,
    Ramp,
    Server,
    Single,
    Slo,
)
from mlgate.stages.benchmark.target import Target
from mlgate.statistics.multiplicity import look_sizes
from mlgate.statistics.quantiles import percentile_of, queries_needed

Integers = npt.NDArray[np.int64]

LOAD_LOOKS: Final = (1.0, 2.0, 4.0)
# Loadings of the model in one look at a closed loop: the interval is over them.
SESSIONS: Final = 5
OUT_OF_TIME: Final = "the time limit ended before it was measured: raise time_limit"
_WARM_S: Final = 0.3
_GPU_WARM_S: Final = 3.0


@dataclass
class Load:
    """One load that is measured look by look: closed or open loop, of one batch size.

    `go(seconds, look)` measures for so long, and gives the trace of each loading of the model:
    where a model lies in memory is worth some per cent, so one loading says little of the next.
    `sessions` counts the queries of each. `failed` says why there is nothing.
    """

    id: str
    kind: str
    batch: int
    first: float
    looks: int
    go: Callable[[float, int], Iterator[Trace]]
    notes: dict[str, JsonValue] = field(default_factory=dict)
    failed: str | None = None
    done: int = 0
    latency: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    completed: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    sessions: list[int] = field(default_factory=list)
    throttled: int = 0

    @property
    def key(self) -> str:
        return f"{self.id}.{self.batch}"

    def next_seconds(self, percentile: float) -> float | None:
        """How long the next look is: twice all before, or until a bound can exist. None: no more."""
        if self.failed is not None or self.done >= self.looks or len(self.latency) >= MOST:
            return None
        if self.done == 0:
            return self.first
        planned = self.first * (LOAD_LOOKS[self.done] - LOAD_LOOKS[self.done - 1])
        missing = queries_needed(percentile, 1 - 0.01 / self.looks) - len(self.latency)
        pace = float(self.completed[-1]) / 1e9 / len(self.completed)
        # With room for an interruption, which must not leave it a few queries short.
        return max(planned, 1.1 * missing * pace + 0.05)

    def look(self, duration: float) -> None:
        """Measure once more and add it to what there is, also when a query fails."""
        before = machine.throttling()
        try:
            for trace in self.go(duration, self.done):
                self._take(trace)
        except QueryFailed as error:
            if isinstance(error.seen, Trace):
                self._add(error.seen)
            raise error.in_scenario(self.id, f"after {len(self.latency):,} queries") from None
        self.done += 1
        self.throttled += machine.throttling().since(before).throttled

    def _take(self, trace: Trace) -> None:
        answered = len(trace.latency)
        if answered < trace.offered:
            self.failed = (
                f"the server fell behind: {trace.offered - answered:,} of {trace.offered:,} "
                "queries were not answered in twice the time"
            )
            return
        if answered and int(trace.latency.min()) <= 0:
            raise StageError("the clock ran backwards while measuring", hint="measure again")
        self._add(trace)
        if trace.late is not None and len(trace.late):
            late = np.sort(trace.late)
            self.notes["late_p99_us"] = round(float(late[int(0.99 * len(late))]) / 1e3, 1)
            self.notes["late_share"] = round(float(late.sum() / trace.latency.sum()), 4)

    def _add(self, trace: Trace) -> None:
        offset = int(self.completed[-1]) if len(self.completed) else 0
        self.sessions.append(min(len(trace.latency), MOST - len(self.latency)))
        self.latency = np.concatenate([self.latency, trace.latency])[:MOST]
        self.completed = np.concatenate([self.completed, trace.completed + offset])[:MOST]

    def warmed(self, stationary: bool, runtime: Runtime) -> None:
        """Note how a warm-up ended.

        A CPU that others use is never quite steady; a GPU that is not still tunes or heats up.
        """
        self.notes["stationary"] = stationary and bool(self.notes.get("stationary", True))
        if not stationary and runtime.provider != "cpu":
            self.notes["unsteady"] = True

    def row(self) -> dict[str, JsonValue]:
        """The facts beside its series."""
        row: dict[str, JsonValue] = {
            "id": self.id,
            "kind": self.kind,
            "batch": self.batch,
            "looks": self.looks,
            "throttled": self.throttled,
            **self.notes,
        }
        return row | ({"failed": self.failed} if self.failed else {})


def single(target: Target, scenario: Single, looks: int) -> Load:
    """Closed loop with one batch size."""
    first = seconds(scenario.duration)
    return _closed(target, scenario.id, "single", scenario.batch, first, looks)


def batches(target: Target, scenario: Batch, looks: int) -> list[Load]:
    """One closed loop for each batch size."""
    return [
        _closed(target, scenario.id, "batch", size, seconds(scenario.duration), looks)
        for size in sorted(set(scenario.sizes))
    ]


def _closed(target: Target, id_: str, kind: str, batch: int, first: float, looks: int) -> Load:
    def go(duration: float, _: int) -> Iterator[Trace]:
        for _session in range(SESSIONS):
            prepared = target.prepare(batch)
            load.warmed(warm(prepared, target.runtime), target.runtime)
            yield closed_loop(prepared.run, prepared.bindings, duration / SESSIONS)

    load = Load(id_, kind, batch, first, looks, go)
    return load


def warm(prepared: Prepared, runtime: Runtime) -> bool:
    """Warm up; whether the latency had become stationary."""
    limit = _WARM_S if runtime.provider == "cpu" else _GPU_WARM_S
    return warm_up(prepared.run, prepared.bindings, limit).stationary


def long_tail(target: Target, scenario: LongTail, looks: int) -> Load:
    """Closed loop over a mix of shapes."""

    shares = [shape.share for shape in scenario.shapes]

    def go(duration: float, look: int) -> Iterator[Trace]:
        for session in range(SESSIONS):
            mixed = target.prepare_mix(scenario.shapes)
            bindings = [prepared.bindings for prepared in mixed]
            kinds = schedule.mix(shares, 4096, scenario.seed + SESSIONS * look + session)
            chosen = []
            for i, kind in enumerate(kinds.tolist()):
                chosen.append(bindings[kind][i % len(bindings[kind])])
            for ring in bindings:
                warm_up(mixed[0].run, ring, _WARM_S)
            yield closed_loop(mixed[0].run, chosen, duration / SESSIONS)

    return Load(scenario.id, "long_tail", 1, seconds(scenario.duration), looks, go)


def open_(target: Target, scenario: Server | Burst, rate: float, workers: int, looks: int) -> Load:
    """Open loop at `rate` queries per second, `workers` of them served at once."""

    def go(duration: float, look: int) -> Iterator[Trace]:
        servers = target.prepare_workers(workers) if workers > 1 else [target.prepare()]
        for prepared in servers:
            load.warmed(warm(prepared, target.runtime), target.runtime)
        seed = scenario.seed + look
        if isinstance(scenario, Burst):
            arrivals = schedule.bursts(
                rate,
                duration,
                seed,
                peak=scenario.peak,
                duty=scenario.duty,
                period_s=seconds(scenario.period),
            )
        else:
            arrivals = schedule.poisson(rate, duration, seed)
        rings = [prepared.bindings for prepared in servers]
        yield open_loop(servers[0].run, rings, arrivals[:MOST], patience=duration)

    load = Load(scenario.id, scenario.kind, 1, seconds(scenario.duration), looks, go)
    load.notes["rate"] = round(rate, 3)
    load.notes["workers"] = workers
    return load


class OutOfTime(Exception):
    """The next step would end after the deadline."""


def _in_time(arrivals: Integers, deadline: float) -> None:
    if time.monotonic() + float(arrivals[-1]) / 1e9 > deadline:
        raise OutOfTime


@dataclass
class Ramping:
    """The ramp: rounds of rising rates, and the overload replayed at the end."""

    target: Target
    scenario: Ramp
    slo: Slo | None
    looks: int
    steps: list[capacity.Step] = field(default_factory=list)
    overload: list[capacity.Overload] = field(default_factory=list)
    rounds: int = 0
    limit: float = 0.0
    guess: float = 0.0
    ceiling: float = 0.0
    throttled: int = 0
    failed: str | None = None

    @property
    def percentile(self) -> float:
        """The percentile that the promise is about; the median without one."""
        return self.slo.percentile if self.slo else 0.5

    def go(self, rounds: int, deadline: float) -> None:
        """Measure rounds until there are so many, or until time is out; a half round is dropped."""
        before = machine.throttling()
        try:
            self._measure(rounds, deadline)
        finally:
            self.throttled += machine.throttling().since(before).throttled

    def _measure(self, rounds: int, deadline: float) -> None:
        try:
            servers = self._servers()
            if not self.limit:
                self._unloaded(servers)
            while self.rounds < rounds and self.failed is None:
                self._round(servers, deadline)
            if self.scenario.overload and self.failed is None:
                self._overload(servers, deadline)
        except QueryFailed as error:
            raise error.in_scenario(self.scenario.id, f"after {len(self.steps)} rates") from None
        except OutOfTime:
            self.steps = [step for step in self.steps if step.round < self.rounds]
            if not self.rounds:
                self.failed = OUT_OF_TIME

    def _servers(self) -> list[Prepared]:
        servers = self.target.prepare_workers(self.scenario.workers)
        for server in servers:
            warm(server, self.target.runtime)
        return servers

    def _unloaded(self, servers: list[Prepared]) -> None:
        """A rate near the capacity, and without a promise the limit: from evenly spaced queries."""
        trace = closed_loop(servers[0].run, servers[0].bindings, 0.2)
        mean = float(trace.completed[-1]) / len(trace.latency)
        self.guess = len(servers) * 1e9 / mean
        # Nothing answers faster than its quick queries, one after another, on every core there is.
        quick = percentile_of(np.sort(trace.latency), 0.1)
        self.ceiling = min(len(servers), machine.cores()) * 1e9 / max(quick, 1.0)
        if self.slo is not None:
            self.limit = seconds(self.slo.latency) * 1e9
            return
        # Far enough apart that one interrupted query does not make the next ones wait.
        gap = 5 * mean
        count = max(5, min(2_000, int(0.4e9 / gap)))
        calm = self._serve(servers, (np.arange(count) * gap).astype(np.int64))
        self.limit = capacity.KNEE_FACTOR * float(np.median(calm.latency))

    def _serve(
        self, servers: list[Prepared], arrivals: Integers, max_inflight: int | None = None
    ) -> Trace:
        rings = [server.bindings for server in servers]
        patience = max(0.05, 2 * self.limit / 1e9)
        trace = open_loop(
            servers[0].run, rings, arrivals, patience=patience, max_inflight=max_inflight
        )
        if not self.undisturbed:
            return trace
        return capacity.undisturbed(arrivals, trace, len(servers), max_inflight)

    @property
    def undisturbed(self) -> bool:
        """Whether other work on the machine can be taken out: its own threads, a core for each.

        A quota is no other work: what it takes away is gone wherever this is served.
        """
        quota = machine.cpu_quota()
        granted = machine.cores() if quota is None else quota
        return single_threaded(self.target.runtime) and self.scenario.workers <= granted

    def sustained(self) -> float:
        """A rate that this machine serves as promised, by the clock: at most the knee."""
        seen = [replace(step, response=step.seen or step.response) for step in self.steps]
        knee = capacity.knee_of(seen, self.limit)
        return min(self.guess, knee if np.isfinite(knee) else min(step.rate for step in seen))

    def _arrivals(self, rate: float, seed: int, steps: float = 1.0) -> Integers:
        span = max(steps * seconds(self.scenario.step), 30 / rate)
        return schedule.poisson(rate, span, seed)[:50_000]

    def _round(self, servers: list[Prepared], deadline: float) -> None:
        round_ = self.rounds

        def offer(rate: float) -> capacity.Step:
            seed = self.scenario.seed + 1000 * round_ + len(self.steps)
            arrivals = self._arrivals(rate, seed)
            _in_time(arrivals, deadline)
            trace = self._serve(servers, arrivals)
            step = capacity.step_of(round_, rate, arrivals, trace, self.percentile)
            self.steps.append(step)
            return step

        try:
            coarse = round_ == 0
            capacity.sweep(offer, self.guess, self.limit, self.scenario.factor, coarse=coarse)
        except capacity.PromiseBroken as error:
            self.failed = error.message
            return
        mine = [step for step in self.steps if step.round == round_]
        knee = capacity.knee_of(mine, self.limit)
        if np.isfinite(knee):
            self.guess = knee
        self.rounds += 1

    def _overload(self, servers: list[Prepared], deadline: float) -> None:
        found = capacity.capacity_of(self.steps, self.limit, len(servers), (0.95,))
        if found is None:
            return
        rate = 2 * found.knee.value
        arrivals = self._arrivals(rate, self.scenario.seed - 1 + 2**20, steps=2.0)

        def replay(number: int) -> capacity.Overload:
            _in_time(arrivals, deadline)
            trace = self._serve(servers, arrivals, number)
            return capacity.overload_of(number, rate, arrivals, trace, self.percentile, self.limit)

        self.overload = capacity.admit(replay, found.limits, self.limit)

    def row(self) -> dict[str, JsonValue]:
        """The facts of the recording."""
        row: dict[str, JsonValue] = {
            "steps": [dict(step.row()) for step in self.steps],
            "overload": [dict(one.row()) for one in self.overload],
            "limit": self.limit,
            "percentile": self.percentile,
            "workers": self.scenario.workers,
            "looks": self.looks,
            "cores": machine.cores(),
            "ceiling": self.ceiling,
            "throttled": self.throttled,
            "undisturbed": self.undisturbed,
        }
        return row | ({"failed": self.failed} if self.failed else {})


@dataclass
class Comparing:
    """The comparison with the baseline, or with the anchor: epochs so far."""

    target: Target
    baseline: Path
    id: str
    batch: int
    planned: int
    epoch: float
    looks: int
    seed: int
    epochs: list[compare.Epoch] = field(default_factory=list)
    cut: compare.Epoch | None = None
    throttled: int = 0

    def sizes(self) -> tuple[int, ...]:
        """Epochs at each look: even numbers, for two of them balance each other."""
        sizes = look_sizes(self.planned) if self.looks > 1 else (self.planned,)
        return tuple(sorted({size + size % 2 for size in sizes}))

    def next_size(self) -> int | None:
        """Epochs at the next look; None when there is no more."""
        return next((size for size in self.sizes() if size > len(self.epochs)), None)

    def go(self, size: int, deadline: float) -> bool:
        """Run epochs until there are `size`; whether time allowed all of them."""
        paths = {
            "baseline": self.baseline,
            "candidate": self.target.path,
            "sentinel": self.baseline,
        }

        def open_arm(arm: compare.Arm) -> Prepared:
            return self.target.prepare(self.batch, paths[arm])

        before = machine.throttling()
        try:
            return self._measure(open_arm, size, deadline)
        finally:
            self.throttled += machine.throttling().since(before).throttled

    def _measure(
        self, open_arm: Callable[[compare.Arm], Prepared], size: int, deadline: float
    ) -> bool:
        while len(self.epochs) < size:
            if time.monotonic() > deadline:
                return False
            number = len(self.epochs)
            order = compare.opening_order(self.seed, number)
            rng = random.Random(f"{self.seed} queries {number}")  # noqa: S311
            try:
                self.epochs.append(compare.run_epoch(open_arm, self.epoch, order, rng))
            except QueryFailed as error:
                self.cut = error.seen if isinstance(error.seen, compare.Epoch) else None
                far = f"in the comparison, after {len(self.epochs)} epochs"
                raise error.in_scenario(self.id, far) from None
        return True

    def row(self) -> dict[str, JsonValue]:
        """The facts of the recording."""
        return {
            "id": self.id,
            "batch": self.batch,
            "looks": self.looks,
            "seed": self.seed,
            "own_time_known": single_threaded(self.target.runtime),
            "interruptions_known": _interruptions_known(self.target.runtime),
            "throttled": self.throttled,
        }


def _interruptions_known(runtime: Runtime) -> bool:
    """Whether the calling thread computes or spins all the time: if it waits, others took the core."""
    return single_threaded(runtime) or (runtime.provider == "cpu" and runtime.session.spinning)


def single_threaded(runtime: Runtime) -> bool:
    """Whether a query is the work of the thread that calls it, whose CPU time is known."""
    alone = runtime.threads == 1 and runtime.session.inter_threads == 1
    return runtime.provider == "cpu" and alone
