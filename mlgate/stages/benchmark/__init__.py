"""Benchmark a model: latency, throughput, capacity, cost, alone or against a baseline."""

from collections.abc import Iterator
from typing import Final

from mlgate.errors import MissingPackage
from mlgate.evidence import Evidence
from mlgate.quantity import seconds
from mlgate.stage import Job, Metric, Stage
from mlgate.stages.benchmark.advice import advice
from mlgate.stages.benchmark.figures import figures, summaries
from mlgate.stages.benchmark.spec import Benchmark, shortest


def _measure(job: Job[Benchmark]) -> Evidence:
    try:
        from mlgate.stages.benchmark.run import measure
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("mlgate"):
            raise
        # One of two packages with one name: which of them, the provider says.
        extra = "cpu" if job.options.provider == "cpu" else "gpu"
        raise MissingPackage(error.name, extra=extra) from None
    return measure(job)


_LOAD: Final = ("scenario", "batch")
_VS: Final = ("baseline",)

METRICS: Final = (
    Metric("latency_ms.p50", "Median latency of a query.", "ms", _LOAD, _VS, better="lower"),
    Metric("latency_ms.p90", "90th percentile of the latency.", "ms", _LOAD, _VS, better="lower"),
    Metric("latency_ms.p95", "95th percentile of the latency.", "ms", _LOAD, _VS, better="lower"),
    Metric("latency_ms.p99", "99th percentile of the latency.", "ms", _LOAD, _VS, better="lower"),
    Metric(
        "latency_ms.p999", "99.9th percentile of the latency.", "ms", _LOAD, _VS, better="lower"
    ),
    Metric(
        "latency_ms.p99_unpreempted",
        "99th percentile over queries that the scheduler did not interrupt (CPU, one thread).",
        "ms",
        _LOAD,
        _VS,
        better="lower",
    ),
    Metric("throughput_qps", "Rows answered per second.", "qps", _LOAD, better="higher"),
    Metric(
        "cold_start_ms",
        "From starting a process to its first answer.",
        "ms",
        ("phase",),
        better="lower",
    ),
    Metric("capacity.knee_qps", "Highest rate that keeps the promise.", "qps", better="higher"),
    Metric(
        "capacity.max_inflight",
        "Requests to admit at once (Little's law).",
        "count",
        better="higher",
    ),
    Metric(
        "capacity.overload_goodput",
        "Goodput at twice the knee, as a share of the knee.",
        better="higher",
    ),
    Metric(
        "cost_usd_per_million",
        "Price of a million answers at the used rate.",
        "USD",
        better="lower",
    ),
    Metric("gpu.utilization", "Share of the time that the GPU computed.", better="higher"),
    Metric(
        "gpu.phase_ms",
        "Median of a phase of a query from host memory: copy_in, compute, copy_out, end_to_end.",
        "ms",
        ("phase",),
        better="lower",
    ),
    Metric("gpu.memory_bytes", "GPU memory that the model took at most.", "B", better="lower"),
    Metric("energy_j_per_inference", "Energy of one answer above idle.", "J", better="lower"),
    Metric(
        "rss_bytes", "Peak resident memory of a process that serves the model.", "B", better="lower"
    ),
    Metric("preempted", "Share of the comparison's queries that were interrupted.", better="lower"),
)
_NEEDS: Final = {"cold_start_ms": "cold_start", "rss_bytes": "cold_start", "capacity": "ramp"}


def _conflicts(options: Benchmark) -> Iterator[tuple[tuple[str | int, ...], str, str | None]]:
    kinds = {scenario.kind for scenario in options.scenarios}
    ids = {scenario.id: scenario.kind for scenario in options.scenarios}
    needed = shortest(options)
    if seconds(options.time_limit) < needed:
        hint = f"at least {needed:g}s, or fewer epochs, shorter scenarios"
        yield ("time_limit",), f"the shortest run takes {needed:g}s, and the limit is less", hint
    if seconds(options.timeout) < seconds(options.time_limit):
        yield ("timeout",), "the stage is stopped before its time_limit", "lower time_limit"
    yield from _provider_conflicts(options)
    for index, gate in enumerate(options.gates):
        at = ("gates", index, "metric")
        if gate.compared_to == "baseline" and options.baseline is None:
            yield at, "there is no baseline to compare with", "add baseline: a model"
        need = _NEEDS.get(gate.metric) or _NEEDS.get(gate.metric.split(".")[0])
        if need is not None and need not in kinds:
            yield at, f"{gate.metric} needs a {need} scenario", f"add {{kind: {need}}}"
        if gate.metric == "cost_usd_per_million" and options.price_usd_per_hour is None:
            yield at, "the price is not known", "add price_usd_per_hour:"
        if gate.metric.startswith(("gpu.", "energy")) and options.provider == "cpu":
            yield at, f"{gate.metric} is not measured on the CPU", "use provider: cuda"
        scenario = gate.where.get("scenario")
        if scenario is not None and str(scenario) not in ids:
            known = ", ".join(sorted(ids))
            yield (
                ("gates", index, "where"),
                f"there is no scenario {scenario}",
                f"there is: {known}",
            )
        elif gate.compared_to and scenario is not None and ids[str(scenario)] != "single":
            hint = "compare in a single scenario"
            yield ("gates", index, "where"), "only single scenarios are compared", hint
    for role in ("baseline", "anchor"):
        if getattr(options, role) is not None and "single" not in kinds:
            yield (role,), "the comparison needs a single scenario", "add {kind: single}"


def _provider_conflicts(
    options: Benchmark,
) -> Iterator[tuple[tuple[str | int, ...], str, str | None]]:
    if options.cuda_graph and options.provider == "cpu":
        yield ("cuda_graph",), "the CPU has no CUDA graphs", "use provider: cuda"
    if options.provider_options and options.provider == "cpu":
        yield ("provider_options",), "the CPU provider has no options", "leave them out"
    if options.max_cpu_nodes and options.provider == "cpu":
        yield ("max_cpu_nodes",), "under provider: cpu every node is on the CPU", "leave it out"
    if options.cuda_graph and any(s.kind == "long_tail" for s in options.scenarios):
        yield ("cuda_graph",), "a CUDA graph has one shape, long_tail has several", None
    if options.dataset is not None and options.dataset.filter is not None:
        yield ("dataset", "filter"), "the benchmark does not filter rows", "filter in the data"
    if options.dataset is not None and options.dataset.dataset.sql is not None:
        yield ("dataset", "dataset"), "the benchmark reads files, not databases", None


STAGE: Final = Stage(
    uses="benchmark",
    summary="Latency, throughput, capacity and cost, alone or against a baseline",
    options=Benchmark,
    measure=_measure,
    metrics=METRICS,
    outputs={"latencies": "file"},
    judged=("model",),
    packages=("onnxruntime", "onnxruntime-gpu", "numpy"),
    exclusive=lambda _: True,
    hardware=True,
    adaptive=True,
    gpu=lambda options: options.provider != "cpu",
    conflicts=_conflicts,
    figures=figures,
    advice=advice,
    summaries=summaries,
)
