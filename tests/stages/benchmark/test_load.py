"""Load generation on fake models: every query counted, no coordinated omission, limits kept."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from mlgate.errors import StageError
from mlgate.stages.benchmark import load, schedule
from mlgate.stages.benchmark.session import ORT_ERRORS, QueryFailed


class Sleeper:
    """A model that takes a stated time; query `stall` takes longer."""

    def __init__(self, seconds: float, stall: int = -1, stall_seconds: float = 0.0) -> None:
        self.seconds, self.stall, self.stall_seconds = seconds, stall, stall_seconds
        self.queries, self.inside, self.most = 0, 0, 0
        self._lock = threading.Lock()

    def __call__(self, binding: object, options: object) -> None:
        with self._lock:
            self.queries += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
            number = self.queries
        time.sleep(self.stall_seconds if number == self.stall else self.seconds)
        with self._lock:
            self.inside -= 1


def test_closed_loop_counts_every_query_and_goes_round() -> None:
    seen: list[object] = []
    trace = load.closed_loop(lambda b, _: seen.append(b), ["a", "b", "c"], 0.0, least=7)
    assert seen == ["a", "b", "c", "a", "b", "c", "a"]
    assert trace.offered == len(trace.latency) == len(trace.completed) == 7
    assert np.all(np.diff(trace.completed) > 0)
    assert len(load.closed_loop(lambda b, _: None, ["a"], 9.0, most=11).latency) == 11


def test_closed_loop_follows_an_order() -> None:
    seen: list[object] = []
    load.closed_loop(lambda b, _: seen.append(b), ["a", "b"], 0.0, order=[1, 1, 0], least=4)
    assert seen == ["b", "b", "a", "b"]


def test_a_stall_counts_for_everybody_who_waited() -> None:
    """100 queries a second for 1 s, one of them stalls 200 ms: 20 others wait behind it."""
    arrivals = np.arange(100, dtype=np.int64) * 10_000_000
    model = Sleeper(0.0002, stall=50, stall_seconds=0.2)
    trace = load.open_loop(model, [["b"]], arrivals, patience=1.0)
    assert len(trace.latency) == 100
    slow = np.sort(trace.latency)[::-1] / 1e6
    # Those who came 10, 20, … ms after it wait 190, 180, … ms; a busy machine only adds to it.
    assert slow[0] >= 199
    assert slow[10] >= 98
    assert np.count_nonzero(slow > 15) >= 17


def test_open_loop_gives_up_and_says_so() -> None:
    arrivals = np.arange(200, dtype=np.int64) * 1_000_000
    trace = load.open_loop(Sleeper(0.01), [["b"]], arrivals, patience=0.1)
    assert trace.offered == 200
    assert 3 <= len(trace.latency) < 60


def test_several_servers_serve_at_once_and_a_limit_turns_away() -> None:
    arrivals = schedule.poisson(400, 0.5, 3)
    free = load.open_loop(Sleeper(0.005), [["a"], ["b"]], arrivals, patience=2.0)
    assert len(free.latency) == len(arrivals)
    model = Sleeper(0.005)
    held = load.open_loop(model, [["a"], ["b"]], arrivals * 0, patience=2.0, max_inflight=5)
    assert len(held.latency) == 5
    assert held.rejected == len(arrivals) - 5
    assert model.most == 2


def test_limit_admits_again_when_queries_are_done() -> None:
    arrivals = np.arange(40, dtype=np.int64) * 5_000_000
    trace = load.open_loop(Sleeper(0.008), [["a"]], arrivals, patience=1.0, max_inflight=1)
    assert 3 <= len(trace.latency) <= 25
    assert trace.rejected + len(trace.latency) == 40
    came = trace.completed - trace.latency
    assert np.all(came[1:] >= trace.completed[:-1])  # nobody was let in beside another


@pytest.mark.parametrize("way", ["closed", "open", "threads"])
def test_a_failing_query_stops_the_measurement(way: str) -> None:
    def fails(binding: object, options: object) -> None:
        raise ORT_ERRORS[1]("CUDA failure 700: an illegal memory access was encountered")

    def measure() -> load.Trace:
        if way == "closed":
            return load.closed_loop(fails, ["a"], 0.01)
        rings = [["a"], ["b"]] if way == "threads" else [["a"]]
        return load.open_loop(fails, rings, np.asarray([0, 1000]), patience=0.1)

    with pytest.raises(StageError, match="failed while measuring"):
        measure()


@pytest.mark.parametrize("way", ["closed", "open", "warm"])
def test_what_was_recorded_before_a_failure_is_kept(way: str) -> None:
    left = iter(range(20))

    def fails_later(binding: object, options: object) -> None:
        if next(left) == 12:
            raise ORT_ERRORS[1]("out of memory")

    measure: dict[str, Callable[[], object]] = {
        "closed": lambda: load.closed_loop(fails_later, ["a"], 1.0),
        "open": lambda: load.open_loop(fails_later, [["a"]], np.arange(20) * 1000, patience=1.0),
        "warm": lambda: load.warm_up(fails_later, ["a"], 1.0),
    }
    with pytest.raises(QueryFailed) as caught:
        measure[way]()
    if way == "warm":
        assert caught.value.seen is None
    else:
        assert isinstance(caught.value.seen, load.Trace)
        assert len(caught.value.seen.latency) == len(caught.value.seen.completed) == 12


def test_warm_up_ends_when_the_latency_is_steady_or_time_is_out() -> None:
    steady = load.warm_up(Sleeper(0.0005), ["a"], 5.0, window=10, within=0.5)
    assert steady.stationary
    assert steady.queries >= 30
    delays = iter(np.geomspace(1e-4, 1, 10_000))
    drifting = load.warm_up(
        lambda b, _: time.sleep(float(next(delays))), ["a"], 0.1, window=20, within=0.001
    )
    assert not drifting.stationary


def test_a_querys_own_time_is_told_from_waiting() -> None:
    """Every third query sleeps beside its work: that is not its own time."""
    calls = iter(range(10**6))

    def works(binding: object, options: object) -> None:
        if next(calls) % 3 == 0:
            time.sleep(0.02)
        until = time.thread_time_ns() + 500_000
        while time.thread_time_ns() < until:
            pass

    arrivals = np.arange(30, dtype=np.int64) * 25_000_000
    trace = load.open_loop(works, [["a"]], arrivals, patience=2.0)
    assert trace.own is not None
    assert len(trace.own) == 30
    assert 500_000 <= np.median(trace.own) < 1_000_000
    assert np.quantile(trace.own, 0.9) < 5_000_000 < np.quantile(trace.latency, 0.9)


def test_a_query_that_was_turned_away_has_no_time_of_its_own() -> None:
    arrivals = np.zeros(20, dtype=np.int64)
    trace = load.open_loop(Sleeper(0.001), [["a"]], arrivals, patience=1.0, max_inflight=4)
    assert trace.own is not None
    assert np.count_nonzero(trace.own) == 4
