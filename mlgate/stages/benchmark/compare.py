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
MOST_PREEMPTED: Final = 0.25
_SENTINEL_TOLERANCE: Final = 0.01
_SENTINEL_CONFIDENCE: Final = 0.999
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


def run_epoch(
    open_arm: Callable[[Arm], Prepared], seconds: float, rng: random.Random, most: int = 20_000
) -> Epoch:
    """One epoch: fresh sessions in random order, then pairs of queries, each in random order.

    Lasts `seconds`, and at least five pairs. Raises `QueryFailed` when a query fails.
    """
    order = list(ARMS)
    rng.shuffle(order)
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


@dataclass(frozen=True)
class Sentinel:
    """The baseline against itself; `agrees` is False when it is surely off by more than 1 %."""

    ratio: float
    low: float
    high: float
    agrees: bool


def sentinel_of(epochs: Sequence[Epoch]) -> Sentinel:
    """What the A/A arm says."""
    logs = [
        _median_log_ratio(
            epoch.wall["sentinel"], epoch.wall["baseline"][: len(epoch.wall["sentinel"])]
        )
        for epoch in epochs
    ]
    found = trimmed_estimate(logs, (_SENTINEL_CONFIDENCE,))
    _, low, high = found.bounds[0]
    assert low is not None
    assert high is not None
    tolerance = np.log1p(_SENTINEL_TOLERANCE)
    agrees = bool(low <= tolerance and high >= -tolerance)
    return Sentinel(float(np.exp(found.value)), float(np.exp(low)), float(np.exp(high)), agrees)


def epoch_ratios(epochs: Sequence[Epoch]) -> list[float]:
    """Median of candidate / baseline over the pairs of each epoch."""
    return [float(np.exp(_epoch_log_ratio(epoch))) for epoch in epochs]


def median_ratio(epochs: Sequence[Epoch], confidences: Sequence[float], looks: int) -> Estimate:
    """Candidate / baseline of a typical query: trimmed mean over epochs of paired medians."""
    found = trimmed_estimate([_epoch_log_ratio(epoch) for epoch in epochs], confidences, looks)
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


def _epoch_log_ratio(epoch: Epoch) -> float:
    return _median_log_ratio(epoch.wall["candidate"], epoch.wall["baseline"])


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
        sides[arm] = [
            (unpreempted(e.wall[arm], e.cpu[arm]) if filtered else e.wall[arm]).astype(np.float64)
            for e in epochs
        ]
    counts = [sum(len(part) for part in parts) for parts in sides.values()]
    if min(counts) * (1 - percentile) < 10 or len(epochs) < 3:
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
