"""Knee and admission limit on simulated M/M/c and M/D/c servers whose capacity is known.

The true knee is found by simulating each rate for a very long time. Nothing is timed: the
figures are the same on every machine.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np

from mlgate.stages.benchmark import capacity, schedule
from mlgate.stages.benchmark.statistics import percentile_of

SERVICE = 1_000_000


def services(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "D":
        return np.full(n, SERVICE, dtype=np.int64)
    return rng.exponential(SERVICE, n).astype(np.int64)


def response(kind: str, workers: int, rate: float, percentile: float) -> float:
    """Percentile of the response in ns over 300,000 queries."""
    arrivals = schedule.poisson(rate, 300_000 / rate, 99)
    drawn = services(kind, len(arrivals), np.random.default_rng(99))
    return percentile_of(np.sort(capacity.simulate(arrivals, drawn, workers).latency), percentile)


def true_knee(kind: str, workers: int, percentile: float, limit: float) -> float:
    low, high = 1.0, workers * 1e9 / SERVICE
    for _ in range(14):
        middle = math.sqrt(low * high) if low > 10 else (low + high) / 2
        if response(kind, workers, middle, percentile) <= limit:
            low = middle
        else:
            high = middle
    return low


def offering(
    kind: str, workers: int, percentile: float, queries: int, rng: np.random.Generator
) -> Callable[[float, int], capacity.Step]:
    def offer(rate: float, round_: int) -> capacity.Step:
        arrivals = schedule.poisson(rate, queries / rate, int(rng.integers(1 << 31)))
        trace = capacity.simulate(arrivals, services(kind, len(arrivals), rng), workers)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5, help="ramps per server")
    parser.add_argument("--queries", type=int, default=3000, help="queries at each rate")
    options = parser.parse_args()
    print(f"{options.trials} ramps of 3 rounds per server, {options.queries} queries at each rate")
    print(
        "server  promise       true   knee/true (mean, worst)  covered  goodput/knee  response/limit"
    )
    for kind, workers in (("M", 1), ("M", 4), ("D", 1), ("D", 2), ("D", 4)):
        median = SERVICE * (math.log(2) if kind == "M" else 1.0)
        for name, percentile, limit in (
            ("default", 0.5, capacity.KNEE_FACTOR * median),
            ("p99 8ms", 0.99, 8.0 * SERVICE),
        ):
            truth = true_knee(kind, workers, percentile, limit)
            ratios, covered, goodputs, tails = [], 0, [], []
            for seed in range(options.trials):
                found = measured(kind, workers, percentile, limit, options.queries, seed)
                if found is None:
                    ratios.append(math.nan)
                    continue
                ratios.append(found.knee.value / truth)
                _, low, high = found.knee.bounds[0]
                covered += bool(low and high and low <= truth <= high)
                seen = overload(kind, workers, found, percentile, limit)
                # At the knee itself this share of the answers is in time.
                goodputs.append(seen.goodput / (found.knee.value * percentile))
                tails.append(seen.response / limit)
            worst = max(ratios, key=lambda ratio: abs(math.log(ratio)))
            print(
                f"{kind}/{workers:<5} {name:<9} {truth:9.0f}   {np.mean(ratios):.3f}, {worst:.3f}"
                f"             {covered}/{options.trials}     {np.mean(goodputs):.2f}"
                f" (min {min(goodputs):.2f})  {max(tails):.2f}"
            )


if __name__ == "__main__":
    main()
