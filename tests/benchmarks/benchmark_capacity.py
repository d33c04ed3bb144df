"""Knee and admission limit: on simulated servers whose capacity is known, and on a real model.

The true knee of M/M/c and M/D/c is found by simulating each rate for a very long time. Nothing of
that is timed: the figures are the same on every machine. The real model is ramped by the stage;
then twice its knee meets the asyncio snippet of the report, whose refusals are timed.
"""

import argparse
import asyncio
import math
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlgate.stages.benchmark import capacity, schedule
from mlgate.stages.benchmark.inputs import sources_for
from mlgate.stages.benchmark.load import Trace
from mlgate.stages.benchmark.provider import Runtime
from mlgate.stages.benchmark.scenarios import Ramping
from mlgate.stages.benchmark.session import open_session, ports_of
from mlgate.stages.benchmark.spec import Ramp
from mlgate.stages.benchmark.target import Target
from mlgate.statistics.quantiles import percentile_of
from tests.stages.benchmark.onnx_models import write_chain

SERVICE = 1_000_000


def services(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "D":
        return np.full(n, SERVICE, dtype=np.int64)
    return rng.exponential(SERVICE, n).astype(np.int64)


def arrivals_of(rate: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Poisson arrivals, as `schedule.poisson` but drawn at once."""
    gaps = rng.exponential(1e9 / rate, n).astype(np.int64)
    since: np.ndarray = np.cumsum(gaps) - gaps[0]
    return since


def served(arrivals: np.ndarray, drawn: np.ndarray, workers: int) -> Trace:
    """`capacity.simulate`; one server's queue is a running maximum."""
    if workers > 1:
        return capacity.simulate(arrivals, drawn, workers)
    spent = np.cumsum(drawn)
    done = spent + np.maximum.accumulate(arrivals - (spent - drawn))
    return Trace(done - arrivals, done, len(arrivals))


def response(kind: str, workers: int, rate: float, percentile: float) -> float:
    """Percentile of the response in ns over 400,000 queries, or 2,000,000 of a single server."""
    n, rng = (400_000 if workers > 1 else 2_000_000), np.random.default_rng(99)
    trace = served(arrivals_of(rate, n, rng), services(kind, n, rng), workers)
    return percentile_of(np.sort(trace.latency), percentile)


def true_knee(kind: str, workers: int, percentile: float, limit: float) -> float:
    low, high = 1.0, workers * 1e9 / SERVICE
    for _ in range(16):
        middle = (low + high) / 2
        if response(kind, workers, middle, percentile) <= limit:
            low = middle
        else:
            high = middle
    return low


def offering(
    kind: str, workers: int, percentile: float, queries: int, rng: np.random.Generator
) -> Callable[[float, int], capacity.Step]:
    def offer(rate: float, round_: int) -> capacity.Step:
        arrivals = arrivals_of(rate, queries, rng)
        trace = served(arrivals, services(kind, queries, rng), workers)
        return capacity.step_of(round_, rate, arrivals, trace, percentile)

    return offer


def measured(
    kind: str, workers: int, percentile: float, limit: float, queries: int, seed: int
) -> capacity.Capacity | None:
    offer = offering(kind, workers, percentile, queries, np.random.default_rng(seed))
    steps: list[capacity.Step] = []
    guess = workers * 1e9 / SERVICE
    for round_ in range(3):
        steps += capacity.sweep(
            lambda rate, r=round_: offer(rate, r),  # type: ignore[misc]
            guess,
            limit,
            1.25,
            coarse=round_ == 0,
        )
        guess = capacity.knee_of([s for s in steps if s.round == round_], limit)
        if not math.isfinite(guess):
            return None
    return capacity.capacity_of(steps, limit, workers, (0.95,))


def overload(
    kind: str, workers: int, found: capacity.Capacity, percentile: float, limit: float
) -> capacity.Overload:
    rate = 2 * found.knee.value
    arrivals = schedule.poisson(rate, 20_000 / rate, 7)
    drawn = services(kind, len(arrivals), np.random.default_rng(7))

    def replay(number: int) -> capacity.Overload:
        trace = capacity.simulate(arrivals, drawn, workers, number)
        return capacity.overload_of(number, rate, arrivals, trace, percentile, limit)

    return capacity.admit(replay, found.limits, limit)[-1]


def simulated(trials: int, queries: int) -> None:
    print(f"{trials} ramps of 3 rounds per server, {queries} queries at each rate")
    print(
        "server promise    true  knee/true: mean, worst  low end, high end, both held  "
        "goodput/knee (least)  response/limit"
    )
    ends, within = np.zeros(3, dtype=np.int64), 0
    cases = (("M", 1), ("M", 4), ("D", 1), ("D", 2), ("D", 4))
    for number, (kind, workers) in enumerate(cases):
        median = SERVICE * (math.log(2) if kind == "M" else 1.0)
        for name, percentile, limit in (
            ("default", 0.5, capacity.KNEE_FACTOR * median),
            ("p99 8ms", 0.99, 8.0 * SERVICE),
        ):
            truth = true_knee(kind, workers, percentile, limit)
            ratios, held, goodputs, tails = [], np.zeros(3, dtype=np.int64), [], []
            for seed in range(trials):
                found = measured(kind, workers, percentile, limit, queries, 1000 * number + seed)
                if found is None:
                    ratios.append(math.nan)
                    continue
                ratios.append(found.knee.value / truth)
                _, low, high = found.knee.bounds[0]
                sides = (bool(low and low <= truth), bool(high and truth <= high))
                held += (*sides, all(sides))
                if seed < 5:  # replaying is the slow part
                    seen = overload(kind, workers, found, percentile, limit)
                    # At the knee itself this share of the answers is in time.
                    goodputs.append(seen.goodput / (found.knee.value * percentile))
                    tails.append(seen.response / limit)
            ends += held
            within += sum(abs(math.log(ratio)) <= math.log(1.1) for ratio in ratios)
            worst = max(ratios, key=lambda ratio: abs(math.log(ratio)))
            print(
                f"{kind}/{workers:<4} {name:<8} {truth:6.0f}  {np.mean(ratios):.3f}, {worst:.3f}"
                f"            {held[0]}, {held[1]}, {held[2]} of {trials}"
                f"            {np.mean(goodputs):.2f} ({min(goodputs):.2f})"
                f"           {max(tails):.2f}",
                flush=True,
            )
    total = 2 * len(cases) * trials
    print(
        f"all: knee within 10 % in {within} of {total}; interval at 0.95: low end held in "
        f"{ends[0]}, high end in {ends[1]}, both in {ends[2]} of {total}"
    )


@dataclass(frozen=True)
class Response:
    """What the snippet answers when it refuses."""

    status: int
    headers: dict[str, str]


@dataclass
class Refusals:
    """Times of refusals in ns: from entering the handler, and from the intended arrival."""

    inside: list[int]
    since_due: list[int]
    answered: list[int]


async def overloaded(
    snippet: str, query: Callable[[], None], workers: int, rate: float, seconds: float
) -> Refusals:
    """Send Poisson arrivals to the report's own asyncio snippet."""
    loop, clock = asyncio.get_running_loop(), time.perf_counter_ns
    seen = Refusals([], [], [])
    with ThreadPoolExecutor(workers) as pool:

        async def answer(request: object) -> None:
            await loop.run_in_executor(pool, query)

        room: dict[str, Any] = {"Response": Response, "answer": answer}
        exec(snippet, room)
        arrivals = schedule.poisson(rate, seconds, 7).tolist()
        start = clock() + 5_000_000

        async def one(due: int) -> None:
            entered = clock()
            refused = await room["handle"](None) is not None
            now = clock()
            if refused:
                seen.inside.append(now - entered)
                seen.since_due.append(now - due)
            else:
                seen.answered.append(now - due)

        tasks = []
        for arrival in arrivals:
            wait = (start + arrival - clock()) / 1e9
            await asyncio.sleep(max(0.0, wait))
            tasks.append(asyncio.create_task(one(start + arrival)))
        await asyncio.gather(*tasks)
    return seen


def real(layers: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_chain(Path(folder) / "chain.onnx", layers=layers, width=256)
        runtime = Runtime()
        ports = ports_of(open_session(path, runtime))
        target = Target(path, runtime, ports, sources_for(ports, {}, None), {}, {})
        ramping = Ramping(target, Ramp(kind="ramp"), None, 1)
        ramping.go(3, time.monotonic() + 120)
        found = capacity.capacity_of(ramping.steps, ramping.limit, 1, (0.95,))
        if found is None or not ramping.overload:
            print(f"the real model has no knee: {ramping.failed}")
            return
        knee, last = found.knee, ramping.overload[-1]
        _, low, high = knee.bounds[0]
        print(
            f"a real model: knee {knee.value:.0f} a second [{low:.0f}, {high:.0f}], at most "
            f"{last.max_inflight} inside; at twice the knee {100 * last.rejected:.0f} % refused, "
            f"goodput {last.goodput / (knee.value * 0.5):.2f} of the knee's, response "
            f"{last.response / ramping.limit:.2f} of the promise; load {os.getloadavg()[0]:.1f}"
        )
        server = target.prepare()

        def query() -> None:
            server.run(server.bindings[0], None)

        text = capacity.snippets(last.max_inflight, 1)["asyncio"]
        seen = asyncio.run(overloaded(text, query, 1, 2 * knee.value, seconds))
    for what, times in (("in the handler", seen.inside), ("since its arrival", seen.since_due)):
        ordered = np.sort(np.asarray(times, dtype=np.int64)) / 1e6
        quick = np.count_nonzero(ordered < 1.0)
        print(
            f"refusals of the asyncio snippet at twice the knee, {what}: p50 "
            f"{percentile_of(ordered, 0.5):.4f} ms, p99 {percentile_of(ordered, 0.99):.3f} ms, at "
            f"most {ordered[-1]:.2f} ms; below 1 ms {quick} of {len(ordered)} "
            f"({len(seen.answered)} answered, load {os.getloadavg()[0]:.1f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20, help="ramps per server and promise")
    parser.add_argument("--queries", type=int, default=3000, help="queries at each rate")
    parser.add_argument("--layers", type=int, default=30, help="size of the real model")
    parser.add_argument("--seconds", type=float, default=5.0, help="time at twice its knee")
    options = parser.parse_args()
    if options.trials:
        simulated(options.trials, options.queries)
    real(options.layers, options.seconds)


if __name__ == "__main__":
    main()
