"""What the harness adds to a query, and whether a stall reaches the percentile.

Overhead: CPU time of the closed loop and of the same calls in a bare loop, in turn, per query.
Stall: one stall of 200 ms in 5 s at 100 queries a second, against the value by arithmetic. On a
machine that others use the stand-in for a model takes longer than planned, and starts late: the
arithmetic is done again with both as they were, and what is left is the harness. Beside it, what
counting from the actual start (coordinated omission) would have said.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from mlgate.stages.benchmark.inputs import make_feeds
from mlgate.stages.benchmark.load import closed_loop, open_loop, steady
from mlgate.stages.benchmark.provider import Runtime
from mlgate.stages.benchmark.session import expect, open_session, ports_of, prepare
from mlgate.statistics.quantiles import percentile_of
from tests.stages.benchmark.onnx_models import write_chain


def overhead(rounds: int, queries: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(write_chain(Path(folder) / "m.onnx", layers=1, width=4), Runtime())
        feeds = make_feeds(ports_of(session), {}, {}, {})
        prepared = prepare(session, feeds, Runtime(), expect(session, feeds))
    run, ring = prepared.run, prepared.bindings
    binding = ring[0]
    bare, ours, inside = [], [], []
    # CPU time of the thread: on a busy machine the clock mostly shows the neighbours.
    spent = time.thread_time_ns
    for _ in range(rounds):
        with steady():
            begun = spent()
            for _ in range(queries):
                run(binding, None)
            bare.append((spent() - begun) / queries)
        begun = spent()
        trace = closed_loop(run, ring[:1], 60.0, most=queries)
        ours.append((spent() - begun) / queries)
        inside.append(float(np.median(trace.latency)))
    print(
        f"one query, CPU time: bare {np.median(bare):.0f} ns, in the closed loop "
        f"{np.median(ours):.0f} ns: the harness adds {np.median(ours) - np.median(bare):.0f} ns "
        f"(least of {rounds} rounds {min(ours) - min(bare):.0f} ns); "
        f"median latency recorded {np.median(inside):.0f} ns"
    )


def expected(arrivals: np.ndarray, services: list[int], late: np.ndarray) -> float:
    """p99 in ns of one server, by arithmetic: each query starts when it may, or `late` after."""
    free, responses = 0, []
    for arrival, service, delay in zip(arrivals.tolist(), services, late.tolist(), strict=True):
        free = max(arrival, free) + delay + service
        responses.append(free - arrival)
    return percentile_of(np.sort(np.asarray(responses)), 0.99)


class Spinning:
    """A model whose queries take as long as `planned` says, in ns; `own` is how long they took."""

    def __init__(self, planned: list[int]) -> None:
        self.planned = planned
        self.own: list[int] = []

    def __call__(self, binding: object, options: object) -> None:
        begun = time.perf_counter_ns()
        until = begun + self.planned[len(self.own)]
        while time.perf_counter_ns() < until:
            pass
        self.own.append(time.perf_counter_ns() - begun)


def stall(rounds: int) -> None:
    gap, count, stalled, service = 10_000_000, 500, 200_000_000, 500_000
    arrivals = np.arange(count, dtype=np.int64) * gap
    planned = [stalled if i == count // 2 else service for i in range(count)]
    on_time = np.zeros(count, dtype=np.int64)
    truth = expected(arrivals, planned, on_time)
    errors: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        model = Spinning(planned)
        trace = open_loop(model, [["q"]], arrivals, patience=1.0)
        assert trace.late is not None
        p99 = percentile_of(np.sort(trace.latency), 0.99)
        naive = percentile_of(np.sort(np.asarray(model.own)), 0.99)
        values = (
            truth,
            expected(arrivals, model.own, on_time),
            expected(arrivals, model.own, trace.late),
        )
        errors.append((p99 / values[0] - 1, p99 / values[1] - 1, p99 / values[2] - 1))
        print(
            f"stall: p99 {p99 / 1e6:.1f} ms; by arithmetic {truth / 1e6:.1f} ms "
            f"({100 * errors[-1][0]:+.2f} %), with the queries as long as they were "
            f"{100 * errors[-1][1]:+.2f} %, started as late as they were {100 * errors[-1][2]:+.3f} "
            f"%; from the actual start it would be {truth / naive:.0f} times too good"
        )
    for what, column in zip(
        ("planned", "as they were", "and as late"), zip(*errors, strict=True), strict=True
    ):
        within = sum(abs(error) <= 0.05 for error in column)
        print(
            f"stall, queries {what}: within 5 % in {within} of {rounds}, "
            f"{100 * min(column):+.3f} to {100 * max(column):+.3f} %"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of the overhead")
    parser.add_argument("--queries", type=int, default=20_000, help="queries in a round")
    parser.add_argument("--stalls", type=int, default=12, help="runs with a stall")
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    overhead(options.rounds, options.queries)
    stall(options.stalls)


if __name__ == "__main__":
    main()
