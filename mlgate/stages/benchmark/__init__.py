"""Benchmark a model: latency, throughput, capacity, cost, alone or against a baseline."""

from typing import Final

from mlgate.errors import MissingPackage
from mlgate.evidence import Measured
from mlgate.stage import Installs, Job, Metric, Stage
from mlgate.stages.benchmark.advice import advice
from mlgate.stages.benchmark.conflicts import conflicts
from mlgate.stages.benchmark.figures import COLUMNS, figures, summaries
from mlgate.stages.benchmark.spec import Benchmark


def _measure(job: Job[Benchmark]) -> Measured:
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
    Metric("capacity.knee_qps", "Highest rate that keeps the SLO.", "qps", better="higher"),
    Metric(
        "capacity.max_inflight",
        "Requests to admit at once (Little's law).",
        "count",
        better="higher",
    ),
    Metric(
        "capacity.overload_goodput",
        "Goodput at twice the knee, as a share of the knee: 1 is the knee.",
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
        "rss_bytes",
        "Peak resident memory of a process that answers every load of the spec.",
        "B",
        better="lower",
    ),
    Metric("preempted", "Share of the comparison's queries that were interrupted.", better="lower"),
)
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
    references=("baseline", "anchor"),
    gpu=lambda options: options.provider != "cpu",
    installs=lambda options: Installs(extras=("cpu" if options.provider == "cpu" else "gpu",)),
    conflicts=conflicts,
    figures=figures,
    advice=advice,
    summaries=summaries,
    columns=COLUMNS,
)
