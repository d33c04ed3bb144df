"""Parity with MLPerf LoadGen: the same queries recorded by both; schedule and early stopping.

LoadGen drives the queries (SingleStream), and each is also timed within its callback as the
stage does. Early stopping is compared by what LoadGen says that it discards.
"""

import argparse
import os
import re
import tempfile
import time
from pathlib import Path

import mlperf_loadgen as loadgen
import numpy as np

from mlgate.stages.benchmark import schedule
from mlgate.stages.benchmark.inputs import make_feeds
from mlgate.stages.benchmark.load import steady
from mlgate.stages.benchmark.provider import Runtime
from mlgate.stages.benchmark.session import expect, open_session, ports_of, prepare
from mlgate.statistics.quantiles import discardable, percentile_of
from tests.stages.benchmark.onnx_models import write_chain


def run(settings: loadgen.TestSettings, issue: object, *, fast: bool = False) -> tuple[str, str]:
    """LoadGen's summary and detail for one test."""
    with tempfile.TemporaryDirectory() as folder:
        output = loadgen.LogOutputSettings()
        output.outdir = folder
        logs = loadgen.LogSettings()
        logs.log_output = output
        logs.enable_trace = False
        make = loadgen.ConstructFastSUT if fast else loadgen.ConstructSUT
        system = make(issue, lambda: None)
        library = loadgen.ConstructQSL(64, 64, lambda _: None, lambda _: None)
        loadgen.StartTestWithLogSettings(system, library, settings, logs, "")
        loadgen.DestroyQSL(library)
        (loadgen.DestroyFastSUT if fast else loadgen.DestroySUT)(system)
        here = Path(folder)
        return (
            (here / "mlperf_log_summary.txt").read_text(),
            (here / "mlperf_log_detail.txt").read_text(),
        )


def answer(queries: list[loadgen.QuerySample]) -> None:
    for query in queries:
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query.id, 0, 0)])


def single_stream(queries: int = 0, ms: int = 0, percentile: float = 0.9) -> loadgen.TestSettings:
    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.single_stream_expected_latency_ns = 300_000
    settings.single_stream_target_latency_percentile = percentile
    settings.min_duration_ms = ms
    settings.min_query_count = max(queries, 100 if ms else 1)
    if queries:
        settings.max_query_count = queries
    return settings


def early_stopping() -> None:
    equal = total = 0
    for n, p in ((65, 0.9), (500, 0.9), (5000, 0.9), (5000, 0.99), (20_000, 0.99), (60_000, 0.9)):
        summary, _ = run(single_stream(queries=n, percentile=p), answer)
        said = re.search(r"Would discard (\d+)", summary)
        theirs = int(said[1]) if said else None
        total += 1
        equal += theirs == discardable(n, p, 0.99)
    print(f"early stopping: discarded counts equal in {equal} of {total}")


def schedules() -> None:
    equal = 0
    cases = ((12345, 1000.0, 1500), (16159082839903944936, 300.0, 2000), (7, 5000.0, 800))
    for seed, qps, ms in cases:
        settings = loadgen.TestSettings()
        settings.scenario = loadgen.TestScenario.Server
        settings.mode = loadgen.TestMode.PerformanceOnly
        settings.server_target_qps = qps
        settings.server_target_latency_ns = 10**9
        settings.min_duration_ms = ms
        settings.min_query_count = 100
        settings.schedule_rng_seed = seed
        _, detail = run(settings, answer)
        count = int(re.search(r'"generated_query_count", "value": (\d+)', detail)[1])  # type: ignore[index]
        span = int(re.search(r'"generated_query_duration", "value": (\d+)', detail)[1])  # type: ignore[index]
        ours = schedule.poisson(qps, ms / 1000, seed)
        more = schedule.poisson(qps, ms / 1000, seed, at_least=count + 1)
        equal += len(ours) == count and int(more[count]) == span
    print(f"Poisson schedule: count and nanoseconds equal in {equal} of {len(cases)}")


def dual(layers: int, ms: int, rounds: int) -> list[float]:
    """Print LoadGen's percentiles over ours for the same queries; the p50s' and p99s' excess.

    Its callback is the leanest that its Python binding has, and our stamps lie as near to its
    own as they can: the first statement, and the last before it is told.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = write_chain(Path(folder) / "chain.onnx", layers=layers, width=256)
        session = open_session(path, Runtime())
        feeds = make_feeds(ports_of(session), {}, {}, {})
        prepared = prepare(session, feeds, Runtime(), expect(session, feeds))
    ring, clock, ours = prepared.bindings, time.perf_counter_ns, list[int]()
    query, size, complete = prepared.run, len(prepared.bindings), loadgen.QuerySamplesComplete
    responses = [loadgen.QuerySampleResponse(0, 0, 0)]

    def issue(ids: list[int], indices: list[int]) -> None:
        begun = clock()
        responses[0].id = ids[0]
        query(ring[indices[0] % size], None)
        done = clock()
        complete(responses)
        ours.append(done - begun)

    excess = []
    for _ in range(rounds):
        ours.clear()
        with steady():
            summary, _ = run(single_stream(ms=ms), issue, fast=True)
        ordered = np.sort(np.asarray(ours, dtype=np.int64))
        parts = []
        for label, p in (("50.00", 0.5), ("90.00", 0.9), ("99.00", 0.99)):
            theirs = int(re.search(rf"{label} percentile latency \(ns\)\s+: (\d+)", summary)[1])  # type: ignore[index]
            own = percentile_of(ordered, p)
            parts.append(f"p{100 * p:g} {100 * (theirs / own - 1):+.2f} %")
            if p != 0.9:
                excess.append(theirs / own - 1)
        median = percentile_of(ordered, 0.5) / 1e6
        print(
            f"same queries, LoadGen over ours: {', '.join(parts)} "
            f"(n {len(ordered)}, median {median:.2f} ms, load {os.getloadavg()[0]:.1f})"
        )
    return excess


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ms", type=int, default=3000, help="milliseconds of each dual run")
    parser.add_argument("--rounds", type=int, default=3, help="dual runs of each model")
    parser.add_argument(
        "--layers", type=int, nargs="+", default=[30, 60, 90], help="sizes of the model"
    )
    options = parser.parse_args()
    early_stopping()
    schedules()
    excess = [e for layers in options.layers for e in dual(layers, options.ms, options.rounds)]
    within = sum(abs(e) <= 0.02 for e in excess)
    print(
        f"p50 and p99 within 2 % in {within} of {len(excess)}; "
        f"from {100 * min(excess):+.2f} to {100 * max(excess):+.2f} %"
    )


if __name__ == "__main__":
    main()
