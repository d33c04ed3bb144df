"""Capacity on simulated servers whose answer is known, and the queue against theory."""

import math

import numpy as np
import pytest

from mlgate.errors import StageError
from mlgate.stages.benchmark import batching, capacity, schedule
from mlgate.stages.benchmark.load import Trace

SERVICE = 1_000_000  # 1 ms


def _offer(workers: int, kind: str, seed: int, percentile: float = 0.5):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)

    def offer(rate: float, round_: int = 0) -> capacity.Step:
        arrivals = schedule.poisson(rate, 2.0, int(rng.integers(1 << 31)))
        n = len(arrivals)
        services = (
            rng.exponential(SERVICE, n).astype(np.int64)
            if kind == "M"
            else np.full(n, SERVICE, dtype=np.int64)
        )
        trace = capacity.simulate(arrivals, services, workers)
        return capacity.step_of(round_, rate, arrivals, trace, percentile)

    return offer


def test_queue_is_m_m_1() -> None:
    arrivals = schedule.poisson(700, 300, 1)
    services = np.random.default_rng(0).exponential(SERVICE, len(arrivals)).astype(np.int64)
    trace = capacity.simulate(arrivals, services, 1)
    assert trace.latency.mean() / 1e6 == pytest.approx(1 / (1 - 0.7), rel=0.06)


def test_knee_of_m_m_1_is_kleinrocks() -> None:
    """Half the capacity: there the response is twice the service time."""
    limit = capacity.KNEE_FACTOR * SERVICE * math.log(2)
    steps = []
    for round_ in range(4):
        offer = _offer(1, "M", round_)
        steps += capacity.sweep(
            lambda rate, o=offer, r=round_: o(rate, r),  # type: ignore[misc]
            1000,
            limit,
            1.25,
            coarse=True,
        )
    found = capacity.capacity_of(steps, limit, 1, (0.95,))
    assert found is not None
    assert found.knee.value == pytest.approx(500, rel=0.10)
    assert found.limits == (1,)
    _, low, high = found.knee.bounds[0]
    assert low is not None
    assert high is not None
    assert low < found.knee.value < high


def test_limit_keeps_the_goodput_at_twice_the_load() -> None:
    """M/D/2 with p99 ≤ 5 ms; the knee is at 1,518 a second."""
    limit = 5.0 * SERVICE
    steps = []
    for round_ in range(3):
        offer = _offer(2, "D", round_, 0.99)
        steps += capacity.sweep(
            lambda rate, o=offer, r=round_: o(rate, r),  # type: ignore[misc]
            1800,
            limit,
            1.25,
            coarse=True,
        )
    found = capacity.capacity_of(steps, limit, 2, (0.95,))
    assert found is not None
    assert found.knee.value == pytest.approx(1518, rel=0.10)
    rate = 2 * found.knee.value
    arrivals = schedule.poisson(rate, 3.0, 9)
    services = np.full(len(arrivals), SERVICE, dtype=np.int64)

    def replay(number: int) -> capacity.Overload:
        trace = capacity.simulate(arrivals, services, 2, number)
        return capacity.overload_of(number, rate, arrivals, trace, 0.99, limit)

    seen = capacity.admit(replay, found.limits, limit)[-1]
    assert seen.goodput >= 0.9 * found.knee.value
    assert seen.response <= limit
    assert 0.25 < seen.rejected < 0.6
    free = replay(10**9)
    assert free.goodput < 0.2 * found.knee.value  # without the limit, everybody waits too long


def test_a_promise_that_cannot_be_kept_is_an_error() -> None:
    with pytest.raises(StageError, match="already break"):
        capacity.sweep(_offer(1, "D", 0), 900, SERVICE / 2, 1.25, coarse=True)


def test_no_answer_is_not_a_capacity() -> None:
    trace = capacity.simulate(np.asarray([0, 10]), np.asarray([10**9, 10**9]), 1, max_inflight=1)
    assert trace.rejected == 1
    step = capacity.step_of(0, 5.0, np.asarray([0, 10]), trace, 0.5)
    assert math.isnan(capacity.knee_of([step], 1.0))
    assert capacity.capacity_of([step], 1.0, 1, (0.95,)) is None
    assert capacity.capacity_of([], 1.0, 1, (0.95,)) is None


def test_isotonic_smooths_and_never_falls() -> None:
    smooth = capacity._isotonic([1, 3, 2, 4], [1, 1, 1, 1])
    assert smooth == [1, 2.5, 2.5, 4]


def test_batching_batches_only_under_load() -> None:
    service = {1: 1e6, 8: 2e6}  # eight at once for the price of two
    calm = batching.recommend(schedule.poisson(100, 5, 1), service, 0.99, 1e9)
    busy = batching.recommend(schedule.poisson(2000, 5, 1), service, 0.99, 1e9)
    assert calm is not None
    assert calm.mean_batch < 1.3
    assert busy is not None
    assert busy.max_batch == 8
    assert busy.response < 20e6
    assert batching.recommend(schedule.poisson(2000, 5, 1), {1: 1e6}, 0.99, 5e6) is None


def test_snippets_carry_the_limit() -> None:
    text = capacity.snippets(7, 2)
    assert "LIMIT = 7" in text["asyncio"]
    assert "max_queue_size: 5" in text["triton"]


def test_the_largest_limit_that_keeps_the_promise_is_chosen() -> None:
    def replay(number: int) -> capacity.Overload:
        return capacity.Overload(number, 1.0, 1.0, response=number * 10.0, rejected=0.5)

    assert [one.max_inflight for one in capacity.admit(replay, (9, 5, 2), 55)] == [9, 5]
    assert [one.max_inflight for one in capacity.admit(replay, (9, 5, 2), 5)] == [9, 5, 2]


def test_a_round_without_a_knee_counts_with_its_lowest_rate() -> None:
    def step(round_: int, rate: float, response: float) -> capacity.Step:
        return capacity.Step(round_, rate, 100, 100, response, response, response, kept=True)

    good = [step(0, 100, 1), step(0, 200, 4), step(1, 100, 1), step(1, 200, 4)]
    bad = [step(2, 50, 9), step(2, 100, 9)]
    without = capacity.capacity_of(good, 2, 1, (0.9,))
    found = capacity.capacity_of([*good, *bad], 2, 1, (0.9,))
    assert without is not None
    assert found is not None
    assert found.knee.value < without.knee.value
    assert capacity.capacity_of(bad, 2, 1, (0.9,)) is None


def test_a_short_steps_percentile_is_corrected_by_its_halves() -> None:
    """Where the halves tell less than the whole, more would be told by more."""
    same = np.asarray([5, 5, 5, 5, 5, 5])
    assert capacity._unbiased(same, 0.99) == pytest.approx(5)
    assert capacity._unbiased(np.asarray([4, 4, 4, 9]), 0.99) == pytest.approx(81 / 6)
    assert capacity._unbiased(np.asarray([7]), 0.99) == 7


def test_the_correction_helps_near_the_knee() -> None:
    """M/M/4 at 84 % of its capacity, 3,000 queries a step: the plain p99 is 9 % too low."""
    limit, rate = 8.0 * SERVICE, 3360.0
    rng = np.random.default_rng(3)
    logs: dict[str, list[float]] = {"plain": [], "corrected": []}
    for seed in range(40):
        arrivals = schedule.poisson(rate, 3000 / rate, seed)
        services = rng.exponential(SERVICE, len(arrivals)).astype(np.int64)
        trace = capacity.simulate(arrivals, services, 4)
        step = capacity.step_of(0, rate, arrivals, trace, 0.99)
        logs["plain"].append(math.log(step.p99 / limit))
        logs["corrected"].append(math.log(step.response / limit))
    off = {name: abs(float(np.mean(one))) for name, one in logs.items()}
    assert off["corrected"] < off["plain"]


def test_what_lies_between_two_rates_is_in_the_interval() -> None:
    """Three rounds that agree to the digit still do not know the knee between their rates."""
    steps = [
        capacity.Step(r, rate, 100, 100, one, one, one, kept=True)
        for r in range(3)
        for rate, one in ((100.0, 1.0), (120.0, 4.0))
    ]
    found = capacity.capacity_of(steps, 2.0, 1, (0.9,))
    assert found is not None
    _, low, high = found.knee.bounds[0]
    assert low == pytest.approx(found.knee.value / math.sqrt(1.2))
    assert high == pytest.approx(found.knee.value * math.sqrt(1.2))


def test_other_work_on_the_machine_is_taken_out_by_arithmetic() -> None:
    """Ten queries of 1 ms each 2 ms; the machine let the third wait and stretched the fifth."""
    arrivals = np.arange(10, dtype=np.int64) * 2 * SERVICE
    own = np.full(10, SERVICE, dtype=np.int64)
    seen = own.copy()
    seen[2], seen[4] = 9 * SERVICE, 5 * SERVICE
    trace = Trace(seen, arrivals + seen, 10, late=seen - own, own=own, seen=None)
    clean = capacity.undisturbed(arrivals, trace, 1)
    assert clean.latency.tolist() == [SERVICE] * 10
    assert clean.seen is seen
    step = capacity.step_of(0, 500.0, arrivals, clean, 0.5)
    assert step.response == SERVICE
    assert capacity.step_of(0, 500.0, arrivals, trace, 0.99).seen == 9 * SERVICE


def test_what_was_not_answered_takes_the_time_of_what_was() -> None:
    """A server of 1 ms that is offered one query each half millisecond falls behind, seen or not."""
    arrivals = np.arange(100, dtype=np.int64) * SERVICE // 2
    own = np.where(np.arange(100) < 20, SERVICE, 0)
    trace = Trace(own[:20], arrivals[:20] + SERVICE, 100, own=own)
    clean = capacity.undisturbed(arrivals, trace, 1)
    assert len(clean.latency) == 100
    assert clean.latency[-1] == pytest.approx(50 * SERVICE, rel=0.05)
    assert len(capacity.undisturbed(arrivals, trace, 1, max_inflight=2).latency) < 60
    nothing = Trace(own[:0], own[:0], 100, own=own * 0)
    assert capacity.undisturbed(arrivals, nothing, 1) is nothing


def _ramp(*points: tuple[float, float, bool]) -> list[capacity.Step]:
    """Steps of one round: rate, response, and whether the backlog stayed."""
    return [
        capacity.Step(0, rate, 1000, 1000, response, response, response, kept=kept)
        for rate, response, kept in points
    ]


@pytest.mark.parametrize(
    ("points", "limit", "knee"),
    [
        # The response is proportional to the rate: 2 is crossed at 200, between two rates.
        ([(100, 1, True), (150, 1.5, True), (400, 4, True)], 2.0, 200.0),
        ([(100, 1, True), (400, 4, True)], 2.0, 200.0),
        ([(400, 4, True), (100, 1, True), (150, 1.5, True)], 2.0, 200.0),
        # Proportional to its square: 4 is crossed at 200.
        ([(100, 1, True), (400, 16, True)], 4.0, 200.0),
        # Never crossed: the highest rate that was tried.
        ([(100, 1, True), (150, 1.5, True)], 2.0, 150.0),
        # A rate at which the backlog grew counts as beyond the limit by half, whatever it answered.
        ([(100, 1, True), (400, 0.1, False)], 1.0, 100.0),
        ([(100, 2, True), (400, 0.1, False)], 2.0, 100.0),
        # Responses rise with the rate: a fall is noise, and is pooled away.
        ([(100, 2, True), (200, 0.5, True), (400, 4, True)], 2.0, 282.8427),
    ],
)
def test_g10_the_knee_between_two_rates_is_known(
    points: list[tuple[float, float, bool]], limit: float, knee: float
) -> None:
    assert capacity.knee_of(_ramp(*points), limit) == pytest.approx(knee, rel=1e-6)


def test_g10_no_knee_where_the_lowest_rate_is_too_slow() -> None:
    assert math.isnan(capacity.knee_of(_ramp((100, 3, True), (200, 4, True)), 2.0))
