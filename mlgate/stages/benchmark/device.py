"""What a query does on a GPU: copies in, computes, copies out; and whether our clock tells it.

The latencies of a benchmark are of computing alone: inputs and outputs lie on the device. What the
copies cost a caller is measured apart. Every step is timed by the host's clock, which is right only
if a query that returned is done; CUDA's own events check that.
"""

import ctypes
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from mlgate.errors import StageError
from mlgate.stages.benchmark.provider import Runtime
from mlgate.stages.benchmark.session import (
    ORT_ERRORS,
    Array,
    Expected,
    Feed,
    attempt,
    bind,
    failed_query,
    open_session,
)

Integers = npt.NDArray[np.int64]

PHASES: Final = ("copy_in", "compute", "copy_out")
MOST_APART: Final = 0.05
_LEAST_APART_MS: Final = 0.01  # what recording two events takes
_QUERIES: Final = 200
_WARM: Final = 20


def phase_times(
    model: Path, runtime: Runtime, feed: Feed, expected: Expected, queries: int = _QUERIES
) -> dict[str, Integers]:
    """Nanoseconds of each phase of `queries` queries, one after another.

    Copies are from and to pageable memory, and wait until they are done. Raises `StageError`
    when a query fails.
    """
    session = open_session(model, runtime)
    bound = bind(session, feed, expected.outputs[0], runtime)
    run, query = session._sess.run_with_iobinding, bound.binding._iobinding
    arrays: list[tuple[Any, Array]] = [(bound.inputs[name], feed[name]) for name in feed]
    times = np.zeros((len(PHASES), queries), dtype=np.int64)
    clock = time.perf_counter_ns
    try:
        for number in range(-_WARM, queries):
            begun = clock()
            for value, array in arrays:
                value.update_inplace(array)
            copied = clock()
            run(query, None)
            answered = clock()
            for room in bound.outputs:
                room.numpy()
            done = clock()
            if number >= 0:
                times[:, number] = copied - begun, answered - copied, done - answered
    except ORT_ERRORS as error:
        raise failed_query(error) from None
    return dict(zip(PHASES, times, strict=True))


class Events(Protocol):
    """A stopwatch on the device: `stop` waits until all work is done that was given to it."""

    @property
    def stream(self) -> int: ...

    def start(self) -> None: ...

    def stop(self) -> float: ...


def clock_ratio(
    model: Path, runtime: Runtime, feed: Feed, expected: Expected, events: Events
) -> float:
    """Median time of a query by the device's clock over that by the host's.

    Raises `StageError` when they are more than 5 % apart (and 10 µs): then a query returns before
    it is done, or the device does something else, and no latency here means anything.
    """
    options = {**runtime.options, "user_compute_stream": str(events.stream)}
    session = open_session(model, replace(runtime, options=options, cuda_graph=False))
    bound = bind(session, feed, expected.outputs[0], runtime)
    run, query = session._sess.run_with_iobinding, bound.binding._iobinding
    return compared(lambda: attempt(run, query), events)


def compared(query: Callable[[], object], events: Events, queries: int = 100) -> float:
    """See `clock_ratio`, of any `query`."""
    host, device = np.zeros(queries), np.zeros(queries)
    for _ in range(_WARM):
        query()
    for number in range(queries):
        events.start()
        begun = time.perf_counter()
        query()
        host[number] = 1e3 * (time.perf_counter() - begun)
        device[number] = events.stop()
    ours, theirs = float(np.median(host)), float(np.median(device))
    if abs(theirs - ours) > max(MOST_APART * ours, _LEAST_APART_MS):
        raise StageError(
            f"a query takes {ours:.4g} ms by the host's clock and {theirs:.4g} ms by the GPU's",
            hint="leave disable_synchronize_execution_providers out, and give the benchmark a GPU "
            "of its own",
        )
    return theirs / ours


def open_events(maps: Path = Path("/proc/self/maps")) -> Events | None:
    """CUDA's events, through the CUDA runtime that ONNX Runtime has loaded; None without it."""
    try:
        found = re.search(r"\S*/libcudart\.so[.\d]*$", maps.read_text(), re.MULTILINE)
        return None if found is None else CudaEvents(vars_of(ctypes.CDLL(found[0])))
    except OSError:
        return None


_CALLS: Final = (
    "cudaStreamCreateWithFlags",
    "cudaEventCreate",
    "cudaEventRecord",
    "cudaEventSynchronize",
    "cudaEventElapsedTime",
)
_NON_BLOCKING: Final = 1


def vars_of(library: ctypes.CDLL) -> dict[str, Callable[..., int]]:
    """The functions of the CUDA runtime that the events need."""
    return {name: getattr(library, name) for name in _CALLS}


class CudaEvents:
    """Two CUDA events on a stream of their own. `calls` are the CUDA runtime's functions."""

    def __init__(self, calls: Mapping[str, Callable[..., int]]) -> None:
        self._calls = calls
        self._stream, self._begin, self._end = (ctypes.c_void_p() for _ in range(3))
        self._call("cudaStreamCreateWithFlags", ctypes.byref(self._stream), _NON_BLOCKING)
        for event in (self._begin, self._end):
            self._call("cudaEventCreate", ctypes.byref(event))

    @property
    def stream(self) -> int:
        return self._stream.value or 0

    def start(self) -> None:
        self._call("cudaEventRecord", self._begin, self._stream)

    def stop(self) -> float:
        """Milliseconds since `start`, by the device."""
        self._call("cudaEventRecord", self._end, self._stream)
        self._call("cudaEventSynchronize", self._end)
        elapsed = ctypes.c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(elapsed), self._begin, self._end)
        return float(elapsed.value)

    def _call(self, name: str, *arguments: object) -> None:
        code = self._calls[name](*arguments)
        if code:
            raise StageError(f"{name} failed with CUDA error {code}", hint="is the driver sound?")
