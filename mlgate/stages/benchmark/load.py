"""Load on a model: closed loop, open loop, and open loop behind an admission limit.

In an open loop a query's latency runs from the time at which it was to arrive, not from when a
busy server got round to it: a stall counts for everybody who waited (no coordinated omission).
"""

import gc
import threading
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mlgate.stages.benchmark.recording import MOST
from mlgate.stages.benchmark.session import ORT_ERRORS, QueryFailed, Run, failed_query

Integers = npt.NDArray[np.int64]

# A sleeper on a busy machine wakes milliseconds late, which would count as the model's response.
_SPIN_NS: Final = 1_000_000
_SHARED_SPIN_NS: Final = 200_000


@dataclass(frozen=True)
class Trace:
    """Queries as they went, in nanoseconds: latency of each, and when it was done after the start.

    `offered` counts those that came; `rejected` those that were not admitted. `late` is how long
    after its arrival each query started although a server was free. `own` is the time that each
    offered query took by itself, in the order of arrival, 0 for one that was not answered: its
    wall time, or its thread's CPU time where it was interrupted. `seen` are latencies as they
    were, where `latency` was computed (`capacity.undisturbed`).
    """

    latency: Integers
    completed: Integers
    offered: int
    rejected: int = 0
    late: Integers | None = None
    own: Integers | None = None
    seen: Integers | None = None


def interrupted(wall: Integers, cpu: Integers) -> npt.NDArray[np.bool_]:
    """Which queries the scheduler interrupted: wall time beyond CPU time by over 5 µs + 5 %.

    Holds only where a query runs on the calling thread: one thread, on the CPU.
    """
    return np.asarray(wall - cpu > 5_000 + 0.05 * cpu)


@contextmanager
def steady() -> Iterator[None]:
    """No garbage collection while time is measured."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def closed_loop(
    run: Run,
    bindings: Sequence[object],
    seconds: float,
    *,
    order: Sequence[int] | None = None,
    most: int = MOST,
    least: int = 3,
) -> Trace:
    """Query after query for `seconds`, at least `least` and at most `most` of them.

    Query i uses `bindings[order[i]]`, round and round. Raises `QueryFailed` when one fails.
    """
    clock = time.perf_counter_ns
    ring = [bindings[i] for i in order] if order is not None else list(bindings)
    size = len(ring)
    latency = array("q", bytes(8 * most))
    completed = array("q", bytes(8 * most))
    i = 0
    with steady():
        start = done = clock()
        end = start + int(seconds * 1e9)
        failure: Exception | None = None
        try:
            while (done < end or i < least) and i < most:
                binding = ring[i % size]
                begun = clock()
                run(binding, None)
                done = clock()
                latency[i] = done - begun
                completed[i] = done - start
                i += 1
        except ORT_ERRORS as error:
            failure = error
    taken = np.frombuffer(latency, dtype=np.int64)[:i].copy()
    trace = Trace(taken, np.frombuffer(completed, dtype=np.int64)[:i].copy(), offered=i)
    if failure is not None:
        raise failed_query(failure, trace)
    return trace


class _Arrivals:
    """The queue before the servers: who is next, and who is turned away.

    Whether a query found room is decided from the completions before its arrival, so it does not
    matter that a server asks later.
    """

    def __init__(self, arrivals: Integers, limit: int | None) -> None:
        self._arrivals = arrivals.tolist()
        self._limit = limit
        self._next = 0
        self._admitted: deque[int] = deque()
        self._inside = 0
        self._completions: list[int] = []
        self._lock = threading.Lock()
        self.rejected = 0

    def take(self, now: int, completed: int | None) -> tuple[int, int] | None:
        """The next query for a free server as (number, arrival), or None when all have come."""
        with self._lock:
            if completed is not None and self._limit is not None:
                self._completions.append(completed)
            if self._limit is None:
                if self._next >= len(self._arrivals):
                    return None
                self._next += 1
                return self._next - 1, self._arrivals[self._next - 1]
            while not self._admitted or (
                self._next < len(self._arrivals) and self._arrivals[self._next] <= now
            ):
                if self._next >= len(self._arrivals):
                    return None
                self._admit()
            number = self._admitted.popleft()
            return number, self._arrivals[number]

    def _admit(self) -> None:
        assert self._limit is not None
        arrival = self._arrivals[self._next]
        done = [at for at in self._completions if at <= arrival]
        if done:
            self._inside -= len(done)
            self._completions = [at for at in self._completions if at > arrival]
        if self._inside < self._limit:
            self._inside += 1
            self._admitted.append(self._next)
        else:
            self.rejected += 1
        self._next += 1


def open_loop(
    run: Run,
    bindings: Sequence[Sequence[object]],
    arrivals: Integers,
    *,
    patience: float,
    max_inflight: int | None = None,
) -> Trace:
    """Serve `arrivals` first come, first served, with one server per entry of `bindings`.

    Gives up `patience` seconds after the last arrival: what is not served by then is offered and
    not completed. With `max_inflight`, a query that finds so many inside is turned away. Raises
    `QueryFailed` when one fails.
    """
    queue = _Arrivals(arrivals, max_inflight)
    finished: list[list[tuple[int, int, int, int, int, int]]] = [[] for _ in bindings]
    failures: list[Exception] = []
    start = end = 0
    alone = len(bindings) == 1

    def serve(server: int) -> None:
        ring, log = bindings[server], finished[server]
        clock, thread, size = time.perf_counter_ns, time.thread_time_ns, len(bindings[server])
        done: int | None = None
        try:
            while (query := queue.take(clock() - start, done)) is not None:
                number, arrival = query
                due = start + arrival
                free = clock()
                if free > end:
                    return
                if free < due:
                    _wait(due, alone)
                spent = thread()
                begun = clock()
                run(ring[number % size], None)
                done = clock() - start
                spent = thread() - spent
                wall = done - begun + start
                log.append((done - arrival, done, begun - max(due, free), number, wall, spent))
        except ORT_ERRORS as error:
            failures.append(error)

    with steady():
        # A little in the future, so that every server waits for the first query.
        start = time.perf_counter_ns() + 2_000_000
        end = start + int(arrivals[-1]) + int(patience * 1e9)
        if alone:
            serve(0)
        else:
            threads = [
                threading.Thread(target=serve, args=(server,)) for server in range(len(bindings))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    rows = np.asarray(sorted((row for log in finished for row in log), key=lambda row: row[1]))
    latency, completed, late, numbers, wall, cpu = rows.reshape(-1, 6).astype(np.int64).T.copy()
    own = np.zeros(len(arrivals), dtype=np.int64)
    own[numbers] = np.maximum(np.where(interrupted(wall, cpu), cpu, wall), 1)
    trace = Trace(latency, completed, len(arrivals), queue.rejected, late, own)
    if failures:
        raise failed_query(failures[0], trace)
    return trace


def _wait(due: int, alone: bool) -> None:
    """Sleep, then spin."""
    clock = time.perf_counter_ns
    rest, spin = due - clock(), _SPIN_NS if alone else _SHARED_SPIN_NS
    if rest > spin:
        time.sleep((rest - spin) / 1e9)
    if alone:
        while clock() < due:
            pass
    else:
        while clock() < due:
            time.sleep(0)  # other servers need the interpreter


@dataclass(frozen=True)
class Warmth:
    """How a warm-up ended: `stationary` when three windows in a row had the same median."""

    queries: int
    stationary: bool


def warm_up(
    run: Run, bindings: Sequence[object], seconds: float, window: int = 50, within: float = 0.02
) -> Warmth:
    """Run until the last three windows' medians lie `within` 2 %, or for `seconds`."""
    medians: list[float] = []
    queries, end = 0, time.perf_counter() + seconds
    while True:
        left = end - time.perf_counter()
        try:
            trace = closed_loop(run, bindings, max(left, 0.0), most=window, least=1)
        except QueryFailed as error:
            error.seen = None  # warming up is not measuring
            raise
        queries += len(trace.latency)
        medians.append(float(np.median(trace.latency)))
        last = medians[-3:]
        if (
            len(last) == 3
            and len(trace.latency) == window
            and max(last) <= (1 + within) * min(last)
        ):
            return Warmth(queries, True)
        if left <= 0:
            return Warmth(queries, False)
