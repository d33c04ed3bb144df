"""A model against its baseline, query by query in the same seconds, so that noise hits both.

The machine's speed drifts by tens of percent within minutes, and a session keeps the luck of its
memory layout. So both models run in turn, in random order, and are loaded afresh in every epoch;
the epoch is the unit of the statistics. A third arm loads the baseline a second time: when the
baseline disagrees with itself, no comparison on this machine means anything.
"""

import random
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from mlgate.stages.benchmark.load import interrupted, steady
from mlgate.stages.benchmark.session import ORT_ERRORS, Prepared, failed_query
from mlgate.statistics.bootstrap import tail_ratio_estimate
from mlgate.statistics.intervals import Estimate
from mlgate.statistics.means import trimmed_estimate
from mlgate.statistics.quantiles import percentile_of

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Arm = Literal["baseline", "candidate", "sentinel"]

ARMS: Final[tuple[Arm, ...]] = ("baseline", "candidate", "sentinel")
SENTINEL_SHARE: Final = 0.25
# Above this share of interrupted queries wall times are no fair sample of the model.
MOST_PREEMPTED: Final = 0.25
# Above this share the median pair may hold an interruption: the thread's CPU time is compared.
_OWN_TIME_SHARE: Final = 0.05
# A typical query needs three clusters of two epochs each.
LEAST_EPOCHS: Final = 6
_SENTINEL_TOLERANCE: Final = 0.01
_SENTINEL_WIDEST: Final = 0.03
_SENTINEL_CONFIDENCE: Final = 0.99
_LEAST_PAIRS: Final = 5
_WARM: Final = 30


@dataclass(frozen=True)
class Epoch:
    """Wall and thread-CPU nanoseconds of each arm's queries, in pairs.

    The sentinel ran in the first pairs only, and in each of them: an arm that runs more rarely
    than its partner finds colder caches, and would disagree for that alone.
    """

    wall: Mapping[Arm, Integers]
    cpu: Mapping[Arm, Integers]


def opening_order(seed: int, epoch: int) -> tuple[Arm, ...]:
    """The order in which an epoch opens its sessions: drawn for even epochs, reversed for odd ones.

    What is opened first lies elsewhere in memory, which is worth some per cent of a short query. An
    order and its reverse together favour no arm: (a, b, c), then (c, b, a).
    """
    rng = random.Random(f"{seed} {epoch // 2}")  # noqa: S311 - no secret depends on it
    order = list(ARMS)
    rng.shuffle(order)
    if epoch % 2:
        order.reverse()
    return tuple(order)


def run_epoch(
    open_arm: Callable[[Arm], Prepared],
    seconds: float,
    order: Sequence[Arm],
    rng: random.Random,
    most: int = 20_000,
) -> Epoch:
    """One epoch: fresh sessions in the given order, then pairs of queries, each in random order.

    Lasts `seconds`, and at least five pairs. Raises `QueryFailed` when a query fails.
    """
    opened = {arm: open_arm(arm) for arm in order}
    try:
        for arm in order:
            prepared = opened[arm]
            warm_until = time.perf_counter() + seconds / 4
            for i in range(_WARM):
                prepared.run(prepared.bindings[i % len(prepared.bindings)], None)
                if time.perf_counter() > warm_until:
                    break
    except ORT_ERRORS as error:
        raise failed_query(error) from None
    return _interleaved(opened, seconds, rng, most)


def _interleaved(
    opened: Mapping[Arm, Prepared], seconds: float, rng: random.Random, most: int
) -> Epoch:
    wall: dict[Arm, array[int]] = {arm: array("q") for arm in ARMS}
    cpu: dict[Arm, array[int]] = {arm: array("q") for arm in ARMS}
    failure: Exception | None = None
    try:
        _pairs(opened, seconds, rng, most, wall, cpu)
    except ORT_ERRORS as error:
        failure = error
    epoch = Epoch(
        {arm: np.asarray(wall[arm], dtype=np.int64) for arm in ARMS},
        {arm: np.asarray(cpu[arm], dtype=np.int64) for arm in ARMS},
    )
    if failure is not None:
        raise failed_query(failure, epoch)
    return epoch


def _pairs(
    opened: Mapping[Arm, Prepared],
    seconds: float,
    rng: random.Random,
    most: int,
    wall: Mapping[Arm, "array[int]"],
    cpu: Mapping[Arm, "array[int]"],
) -> None:
    """Run pairs of queries, and add their times to `wall` and `cpu`."""
    clock, thread = time.perf_counter_ns, time.thread_time_ns
    pair: list[Arm] = ["baseline", "candidate"]
    three: list[Arm] = list(ARMS)
    arms = {arm: (opened[arm].run, opened[arm].bindings) for arm in ARMS}
    with steady():
        block = 0
        now = clock()
        watched, end = now + int(SENTINEL_SHARE * seconds * 1e9), now + int(seconds * 1e9)
        while ((now := clock()) < end or block < _LEAST_PAIRS) and block < most:
            order = three if now < watched or block < _LEAST_PAIRS else pair
            rng.shuffle(order)
            for arm in order:
                run, bindings = arms[arm]
                binding = bindings[block % len(bindings)]
                spent = thread()
                begun = clock()
                run(binding, None)
                done = clock()
                cpu[arm].append(thread() - spent)
                wall[arm].append(done - begun)
            block += 1


def unpreempted(wall: Integers, cpu: Integers) -> Integers:
    """Wall times of the queries that nothing interrupted (see `load.interrupted`)."""
    kept: Integers = wall[~interrupted(wall, cpu)]
    return kept


Clock = Literal["wall", "cpu"]


def clock_of(epochs: Sequence[Epoch], *, own_time_known: bool) -> Clock:
    """Which time of a query tells the models apart: its thread's own where many are interrupted.

    An interruption adds the same milliseconds to both models, which draws a ratio of wall times
    towards 1. `own_time_known`: a query is the work of the thread that calls it.
    """
    if own_time_known and preempted_share(epochs) > _OWN_TIME_SHARE:
        return "cpu"
    return "wall"


@dataclass(frozen=True)
class Sentinel:
    """The baseline against itself.

    `agrees` is False when it is surely off by more than 1 %; `clear` is False when its interval is
    so wide that it agrees with everything, and says nothing of this machine.
    """

    ratio: float
    low: float
    high: float
    agrees: bool
    clear: bool


def sentinel_of(epochs: Sequence[Epoch], clock: Clock = "wall") -> Sentinel:
    """What the A/A arm says. Raises `ValueError` for fewer than six epochs."""
    logs = []
    for epoch in epochs:
        times = getattr(epoch, clock)
        sentinel = times["sentinel"]
        logs.append(_median_log_ratio(sentinel, times["baseline"][: len(sentinel)]))
    found = trimmed_estimate(_balanced(logs), (_SENTINEL_CONFIDENCE,))
    _, low, high = found.bounds[0]
    assert low is not None
    assert high is not None
    tolerance = np.log1p(_SENTINEL_TOLERANCE)
    agrees = bool(low <= tolerance and high >= -tolerance)
    clear = bool(high - low <= 2 * np.log1p(_SENTINEL_WIDEST))
    ratio, lowest, highest = np.exp([found.value, low, high]).tolist()
    return Sentinel(ratio, lowest, highest, agrees, clear)


def epoch_ratios(epochs: Sequence[Epoch], clock: Clock = "wall") -> list[float]:
    """Median of candidate / baseline over the pairs of each epoch."""
    return [float(np.exp(_epoch_log_ratio(epoch, clock))) for epoch in epochs]


def median_ratio(
    epochs: Sequence[Epoch], confidences: Sequence[float], looks: int, clock: Clock = "wall"
) -> Estimate:
    """Candidate / baseline of a typical query: trimmed mean over balanced epochs of paired medians.

    Two epochs, whose opening orders are each other's reverse, are one cluster. Raises `ValueError`
    for fewer than six epochs.
    """
    logs = [_epoch_log_ratio(epoch, clock) for epoch in epochs]
    found = trimmed_estimate(_balanced(logs), confidences, looks)
    return Estimate(
        float(np.exp(found.value)),
        tuple(
            (
                c,
                None if lo is None else float(np.exp(lo)),
                None if hi is None else float(np.exp(hi)),
            )
            for c, lo, hi in found.bounds
        ),
        sum(len(epoch.wall["candidate"]) for epoch in epochs),
    )


def _balanced(values: Sequence[float]) -> list[float]:
    """The mean of each epoch and the one of the reversed order; an epoch without it is left out."""
    return [(first + second) / 2 for first, second in zip(values[::2], values[1::2], strict=False)]


def _epoch_log_ratio(epoch: Epoch, clock: Clock) -> float:
    times = getattr(epoch, clock)
    return _median_log_ratio(times["candidate"], times["baseline"])


def _median_log_ratio(a: Integers, b: Integers) -> float:
    # A clock that did not move between two stamps is 1 ns, not a logarithm of 0.
    return float(np.median(np.log(np.maximum(a, 1)) - np.log(np.maximum(b, 1))))


@dataclass(frozen=True)
class Tail:
    """A percentile of both arms in ns, pooled over the epochs, and their ratio."""

    candidate: float
    reference: float
    ratio: Estimate
    kept: int


def tail_of(
    epochs: Sequence[Epoch],
    percentile: float,
    confidences: Sequence[float],
    looks: int,
    *,
    filtered: bool,
) -> Tail | None:
    """The tail of the candidate against the baseline; None when too few queries are left.

    Ten queries beyond the percentile on each side are the least that is compared.
    """
    sides: dict[Arm, list[Floats]] = {}
    for arm in ("candidate", "baseline"):
        sides[arm] = _balanced_latencies(epochs, arm, filtered=filtered)
    counts = [sum(len(part) for part in parts) for parts in sides.values()]
    if min(counts) * (1 - percentile) < 10 or len(epochs) < LEAST_EPOCHS:
        return None
    ratio = tail_ratio_estimate(
        sides["candidate"], sides["baseline"], percentile, confidences, looks
    )
    return Tail(
        percentile_of(np.sort(np.concatenate(sides["candidate"])), percentile),
        percentile_of(np.sort(np.concatenate(sides["baseline"])), percentile),
        ratio,
        counts[0],
    )


def _balanced_latencies(epochs: Sequence[Epoch], arm: Arm, *, filtered: bool) -> list[Floats]:
    """An arm's latencies of each two epochs that balance each other, as one cluster."""
    clusters = []
    for first, second in zip(epochs[::2], epochs[1::2], strict=False):
        times = []
        for epoch in (first, second):
            wall = epoch.wall[arm]
            times.append(unpreempted(wall, epoch.cpu[arm]) if filtered else wall)
        clusters.append(np.concatenate(times).astype(np.float64))
    return clusters


def preempted_share(epochs: Sequence[Epoch]) -> float:
    """Share of all pairs' queries that the scheduler interrupted."""
    everything = kept = 0
    for epoch in epochs:
        for arm in ("baseline", "candidate"):
            everything += len(epoch.wall[arm])
            kept += len(unpreempted(epoch.wall[arm], epoch.cpu[arm]))
    return 1 - kept / everything if everything else 1.0


def series_of(name: str, epochs: Sequence[Epoch]) -> dict[str, Integers]:
    """The epochs as long series of a recording; `epochs_from` is the way back."""
    series: dict[str, Integers] = {}
    for arm in ARMS:
        sizes = [len(e.wall[arm]) for e in epochs]
        series[f"{name}.{arm}.sizes"] = np.asarray(sizes, dtype=np.int64)
        series[f"{name}.{arm}.wall"] = _joined([e.wall[arm] for e in epochs])
        series[f"{name}.{arm}.cpu"] = _joined([e.cpu[arm] for e in epochs])
    return series


def epochs_from(name: str, series: Mapping[str, Integers]) -> list[Epoch]:
    """The epochs that `series_of` stored."""
    walls: dict[Arm, list[Integers]] = {}
    cpus: dict[Arm, list[Integers]] = {}
    for arm in ARMS:
        cuts = np.cumsum(series[f"{name}.{arm}.sizes"])[:-1]
        walls[arm] = np.split(series[f"{name}.{arm}.wall"], cuts)
        cpus[arm] = np.split(series[f"{name}.{arm}.cpu"], cuts)
    return [
        Epoch({arm: walls[arm][e] for arm in ARMS}, {arm: cpus[arm][e] for arm in ARMS})
        for e in range(len(series[f"{name}.baseline.sizes"]))
    ]


def _joined(parts: Sequence[Integers]) -> Integers:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
