"""How much a server takes: the highest rate that keeps the promise, and how many to let in.

Without a promised response time the knee is where the median response is twice the unloaded one:
for M/M/1 that is the point of maximal power, rate over response time (Kleinrock 1979).
"""

import bisect
import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from mlgate.errors import StageError
from mlgate.stages.benchmark.load import Trace
from mlgate.statistics.intervals import Estimate
from mlgate.statistics.means import mean_estimate
from mlgate.statistics.quantiles import percentile_of

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

KNEE_FACTOR: Final = 2.0
_SUSTAINED: Final = 0.98
_FINE: Final = 8


class PromiseBroken(StageError):
    """No rate keeps the promise."""


@dataclass(frozen=True)
class Step:
    """One rate that was offered, and what came of it. Times in nanoseconds, rate per second.

    `response` is the percentile that the promise is about, with the bias of a short step taken
    out (`_unbiased`); `p99` is without. `kept`: no backlog grew. `seen` is the percentile by the
    clock, and `late` by how much queries started late on average although a server was free: they
    differ from `response` where that was computed (`undisturbed`).
    """

    round: int
    rate: float
    offered: int
    completed: int
    mean: float
    response: float
    p99: float
    kept: bool
    late: float = 0.0
    seen: float | None = None

    def row(self) -> dict[str, float | int | bool | None]:
        """As JSON."""
        return dict(asdict(self))


def undisturbed(
    arrivals: Integers, trace: Trace, workers: int, max_inflight: int | None = None
) -> Trace:
    """The same arrivals and times of queries on cores of their own: what waiting there would be.

    First come, first served, by arithmetic. A query that was not answered takes the time of one
    that was, in turn. A trace in which none was stays as it is.
    """
    own = trace.own
    if own is None or not own.any():
        return trace
    whole = np.where(own > 0, own, np.resize(own[own > 0], len(own)))
    clean = simulate(arrivals, whole, workers, max_inflight)
    return replace(clean, late=trace.late, own=own, seen=trace.latency)


def step_of(round_: int, rate: float, arrivals: Integers, trace: Trace, percentile: float) -> Step:
    """What a trace says about the rate at which it was offered."""
    window = int(arrivals[-1])
    # The least backlog of the last third: one that grows is there all the time, a stall is not.
    moments = np.linspace(2 * window // 3, window, 16).astype(np.int64)
    came = np.searchsorted(arrivals, moments, side="right")
    backlog = int((came - np.searchsorted(trace.completed, moments, side="right")).min())
    kept = backlog <= max((1 - _SUSTAINED) * trace.offered, 5) and len(trace.latency) > 0
    # The queue was empty at first, which flatters the response.
    settled = trace.latency[len(trace.latency) // 4 :]
    ordered = np.sort(settled)
    worst = float(max(window, 1))
    return Step(
        round=round_,
        rate=rate,
        offered=trace.offered,
        completed=len(trace.latency),
        mean=float(ordered.mean()) if len(ordered) else worst,
        response=_unbiased(settled, percentile) if len(ordered) else worst,
        p99=percentile_of(ordered, 0.99) if len(ordered) else worst,
        kept=kept,
        late=float(trace.late.mean()) if trace.late is not None and len(trace.late) else 0.0,
        seen=_seen(trace, percentile),
    )


def _seen(trace: Trace, percentile: float) -> float | None:
    latency = trace.latency if trace.seen is None else trace.seen
    return percentile_of(np.sort(latency), percentile) if len(latency) else None


def _unbiased(latency: Integers, percentile: float) -> float:
    """A percentile of latencies in their order, by Quenouille's rule on two halves, as logarithms.

    Queries that follow one another wait together, so a short step mostly misses the rare long
    queues, and its percentile is too low; half a step's is too low by about twice as much.
    """
    half = len(latency) // 2
    whole = percentile_of(np.sort(latency), percentile)
    if not half:
        return whole
    parts = [percentile_of(np.sort(part), percentile) for part in (latency[:half], latency[half:])]
    return whole * whole / math.sqrt(parts[0] * parts[1])


def sweep(
    offer: Callable[[float], Step], guess: float, limit: float, factor: float, *, coarse: bool
) -> list[Step]:
    """Rates from well below the knee to beyond it, then closely around it.

    `guess` is a rate near the capacity, `limit` the promised response in ns. A later sweep leaves
    out the coarse part. Raises `PromiseBroken` when even a small rate breaks the promise.
    """
    steps: list[Step] = []
    low, high = guess / factor, guess * factor
    if coarse:
        rate = guess * 0.3
        for _ in range(60):
            steps.append(offer(rate))
            if not holds(steps[-1], limit):
                steps.append(offer(rate))  # once more: it may have been the neighbours
            if not holds(steps[-1], limit):
                break
            rate *= factor
        good = [step.rate for step in steps if holds(step, limit)]
        if not good:
            steps += [offer(rate / factor), offer(rate / factor**2), offer(rate / factor**4)]
            good = [step.rate for step in steps if holds(step, limit)]
        if not good:
            raise PromiseBroken(
                f"{steps[-1].rate:.3g} queries a second already break the promise of "
                f"{limit / 1e6:.3g} ms",
                hint="raise slo.latency, or leave the ramp scenario out",
            )
        low, high = max(good) / factor, max(good) * factor**1.5
    fine = [offer(float(rate)) for rate in np.geomspace(low, high, _FINE).tolist()]
    while not holds(fine[0], limit) and len(fine) < 2 * _FINE:
        fine.insert(0, offer(fine[0].rate / factor))
    return steps + fine


def holds(step: Step, limit: float) -> bool:
    """Whether the promise was kept at this rate."""
    return step.kept and step.response <= limit


def knee_of(steps: Sequence[Step], limit: float) -> float:
    """The rate at which the response time of one sweep crosses `limit`.

    Response times rise with the rate, so noise is smoothed by isotonic regression of their
    logarithms; the crossing is read off by interpolation. Returns NaN when no rate keeps it.
    """
    ordered = sorted(steps, key=lambda step: step.rate)
    beyond = 1.5 * limit
    logs = [
        math.log(max(step.response, beyond) if not step.kept else step.response) for step in ordered
    ]
    smooth = _isotonic(logs, [float(step.offered) for step in ordered])
    rates = [math.log(step.rate) for step in ordered]
    wanted = math.log(limit)
    if smooth[0] > wanted:
        return math.nan
    if smooth[-1] <= wanted:
        return ordered[-1].rate
    after = next(i for i, value in enumerate(smooth) if value > wanted)
    rise = smooth[after] - smooth[after - 1]
    share = (wanted - smooth[after - 1]) / rise
    return math.exp(rates[after - 1] + share * (rates[after] - rates[after - 1]))


def _isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Least-squares fit that never falls (pool adjacent violators)."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, wa, na), (b, wb, nb) = pools[-2], pools[-1]
            pools[-2:] = [((a * wa + b * wb) / (wa + wb), wa + wb, na + nb)]
    return [value for value, _, count in pools for _ in range(count)]


@dataclass(frozen=True)
class Capacity:
    """The knee with its interval over rounds, and the mean response there, in nanoseconds.

    `limits` are numbers of requests to admit at once by Little's law, rate times response: with
    the promised response, with the mean one, and between; most first, never fewer than workers.
    """

    knee: Estimate
    response: float
    limits: tuple[int, ...]


def capacity_of(
    steps: Sequence[Step], limit: float, workers: int, confidences: Sequence[float], looks: int = 1
) -> Capacity | None:
    """Capacity from the steps of all rounds; None when no round found a rate that holds.

    Rounds are averaged as logarithms. A round without a rate that holds counts with the lowest
    that it tried, which widens the interval. So does half the distance between the rates beside
    the knee: how the response bends between them is not seen, and no round knows it.
    """
    rounds = sorted({step.round for step in steps})
    knees = [knee_of([step for step in steps if step.round == r], limit) for r in rounds]
    if not any(math.isfinite(knee) for knee in knees):
        return None
    tried = [sorted(step.rate for step in steps if step.round == r) for r in rounds]
    knees = [
        knee if math.isfinite(knee) else rates[0] for rates, knee in zip(tried, knees, strict=True)
    ]
    unseen = math.fsum(map(_gap, tried, knees)) / len(rounds) / 2
    logs = mean_estimate([math.log(knee) for knee in knees], confidences, looks)
    knee = Estimate(
        math.exp(logs.value),
        tuple(
            (
                c,
                None if low is None else math.exp(low - unseen),
                None if high is None else math.exp(high + unseen),
            )
            for c, low, high in logs.bounds
        ),
        len(knees),
    )
    good = sorted((step for step in steps if step.kept), key=lambda step: step.rate)
    smooth = _isotonic([math.log(s.mean) for s in good], [float(s.offered) for s in good])
    rates = [math.log(step.rate) for step in good]
    response = math.exp(float(np.interp(logs.value, rates, smooth)))
    inside = (knee.value * limit / 1e9, knee.value * response / 1e9)
    numbers = {max(workers, math.floor(n)) for n in (*inside, math.sqrt(inside[0] * inside[1]))}
    return Capacity(knee, response, tuple(sorted(numbers, reverse=True)))


def _gap(rates: Sequence[float], knee: float) -> float:
    """ln of the ratio of the two ascending rates on both sides of the knee; 0 for a single rate."""
    after = min(max(bisect.bisect_left(rates, knee), 1), len(rates) - 1)
    return math.log(rates[after] / rates[after - 1]) if after else 0.0


def simulate(
    arrivals: Integers, services: Integers, workers: int, max_inflight: int | None = None
) -> Trace:
    """A first-come-first-served queue, exactly, in no time: service times in nanoseconds."""
    free = [0] * workers
    inside: list[int] = []
    latency, completed, rejected = [], [], 0
    for arrival, service in zip(arrivals.tolist(), services.tolist(), strict=True):
        while inside and inside[0] <= arrival:
            heapq.heappop(inside)
        if max_inflight is not None and len(inside) >= max_inflight:
            rejected += 1
            continue
        done = max(arrival, heapq.heappop(free)) + service
        heapq.heappush(free, done)
        heapq.heappush(inside, done)
        latency.append(done - arrival)
        completed.append(done)
    order = np.argsort(np.asarray(completed, dtype=np.int64), kind="stable")
    return Trace(
        np.asarray(latency, dtype=np.int64)[order],
        np.asarray(completed, dtype=np.int64)[order],
        len(arrivals),
        rejected,
    )


@dataclass(frozen=True)
class Overload:
    """What an admission limit does at an overload. Rates per second, response in nanoseconds.

    `goodput` counts answers within the promised time; `response` is the promise's percentile
    over those admitted; `rejected` is a share.
    """

    max_inflight: int
    rate: float
    goodput: float
    response: float
    rejected: float

    def row(self) -> dict[str, float | int]:
        """As JSON."""
        return dict(asdict(self))


def overload_of(
    max_inflight: int,
    rate: float,
    arrivals: Integers,
    trace: Trace,
    percentile: float,
    limit: float,
) -> Overload:
    """What a trace behind a limit says; nothing answered is a response without end."""
    span = max(int(arrivals[-1]), 1) / 1e9
    inside = trace.completed <= int(arrivals[-1])
    ordered = np.sort(trace.latency)
    return Overload(
        max_inflight=max_inflight,
        rate=rate,
        goodput=float(np.count_nonzero(inside & (trace.latency <= limit)) / span),
        response=percentile_of(ordered, percentile) if len(ordered) else float(arrivals[-1]),
        rejected=trace.rejected / max(trace.offered, 1),
    )


def admit(replay: Callable[[int], Overload], limits: Sequence[int], limit: float) -> list[Overload]:
    """Replay an overload behind each limit, most first, until one keeps the promise.

    The last one is the answer: the largest that held, or the smallest there is.
    """
    seen = []
    for number in limits:
        seen.append(replay(number))
        if seen[-1].response <= limit:
            break
    return seen


def snippets(max_inflight: int, workers: int) -> dict[str, str]:
    """Ready text that enforces the limit: asyncio, Triton, and a KEDA scaler."""
    return {
        "asyncio": (
            f"LIMIT = {max_inflight}  # measured: Little's law at the knee\n"
            "inside = 0\n\n"
            "async def handle(request):\n"
            "    global inside\n"
            "    if inside >= LIMIT:\n"
            "        return Response(status=503, headers={'Retry-After': '1'})\n"
            "    inside += 1\n"
            "    try:\n"
            "        return await answer(request)\n"
            "    finally:\n"
            "        inside -= 1\n"
        ),
        "triton": (
            "dynamic_batching {\n  default_queue_policy {\n"
            f"    max_queue_size: {max(1, max_inflight - workers)}\n"
            "    timeout_action: REJECT\n  }\n}\n"
        ),
        "keda": (
            "triggers:\n  - type: prometheus\n    metadata:\n"
            "      query: sum(requests_inflight)\n"
            f'      threshold: "{max_inflight}"\n'
        ),
    }
