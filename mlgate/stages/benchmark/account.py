"""The stage's own account for the report: distributions, capacity, operators, cost table, advice."""

import contextlib
import os
from collections.abc import Sequence

import numpy as np
from pydantic import JsonValue

from mlgate.evidence import Measurement, rounded
from mlgate.machine import processor
from mlgate.quantity import seconds
from mlgate.stages.benchmark import batching, capacity, schedule
from mlgate.stages.benchmark.campaign import Campaign
from mlgate.stages.benchmark.cold_start import warm_pool
from mlgate.stages.benchmark.compare import (
    LEAST_EPOCHS,
    clock_of,
    epoch_ratios,
    epochs_from,
    sentinel_of,
)
from mlgate.stages.benchmark.findings import Findings
from mlgate.stages.benchmark.measurements import ramp_capacity
from mlgate.stages.benchmark.profile import top_operators
from mlgate.stages.benchmark.provider import check_placement
from mlgate.stages.benchmark.recording import Recording
from mlgate.stages.benchmark.scenarios import Comparing, Load
from mlgate.stages.benchmark.session import Feed, QueryFailed, open_session
from mlgate.stages.benchmark.spec import LongTail
from mlgate.statistics.quantiles import percentile_of


def account(run: Campaign, recording: Recording, findings: Findings) -> dict[str, JsonValue]:
    """The stage's own account: what the report and its plots show."""
    if run.failed is not None:  # its model may not answer any more
        return {
            "failed": run.failed["reason"],
            "loads": recording.facts["loads"],
            "distributions": _distributions(run.loads),
        }
    session = open_session(run.target.path, run.target.runtime)
    details: dict[str, JsonValue] = {
        "provider": run.target.runtime.name,
        "nodes": dict(check_placement(session, run.target.runtime)),
        "hardware": {"cpu": processor(), "cpus": os.cpu_count() or 0},
        "loads": recording.facts["loads"],
        "distributions": _distributions(run.loads),
        "operators": _operators(run),
        "made_up_inputs": dict(run.target.made_up()),
    }
    if run.gpu is not None:
        details["gpu"] = run.gpu
    if run.ramping is not None:
        details["ramp"] = _ramp_details(run, recording)
    compared = [one for one in run.comparisons if len(one.epochs) >= LEAST_EPOCHS]
    if compared:
        details["comparisons"] = [_comparison_details(one, recording) for one in compared]
    singles = [load.id for load in run.loads if load.kind == "single"]
    # On a GPU the models' memory is there, and that of the baseline is not measured.
    other = run.cold.baseline_rss if run.target.runtime.provider == "cpu" else None
    details["configurations"] = _configurations(findings, singles[0] if singles else None, other)
    best = _batching(run)
    if best is not None:
        details["batching"] = best
    pool = _pool(run, findings)
    if pool is not None:
        details["warm_pool"] = pool
    return details


def _distributions(loads: Sequence[Load], points: int = 120) -> list[JsonValue]:
    rows: list[JsonValue] = []
    for load in loads:
        if not len(load.latency):
            continue
        ordered = np.sort(load.latency)
        shares = 1 - np.geomspace(1, 1 / len(ordered), points)
        at = np.unique((shares * len(ordered)).astype(np.int64).clip(0, len(ordered) - 1))
        rows.append(
            {
                "scenario": load.id,
                "batch": load.batch,
                "latency_ms": [rounded(float(ordered[i]) / 1e6) for i in at],
                "share": [rounded(float(i + 1) / len(ordered)) for i in at],
            }
        )
    return rows


def _operators(run: Campaign) -> list[JsonValue]:
    """The top operators of the first load, of the largest batch, and of the mix of shapes."""
    target = run.target
    queries: dict[tuple[str, int], Sequence[Feed]] = {}
    batched = max((load.batch for load in run.loads if load.kind == "batch"), default=1)
    for load in run.loads:
        if load.failed is not None or (load.kind == "batch" and load.batch != batched):
            continue
        mix = next((s for s in run.job.options.scenarios if s.id == load.id), None)
        if isinstance(mix, LongTail):
            shapes = [dict(shape.dims) for shape in mix.shapes]
            queries[load.id, 1] = [feed for dims in shapes for feed in target.feeds(1, dims)]
        elif load.batch not in (batch for _, batch in queries):
            queries[load.id, load.batch] = target.feeds(load.batch)
    found: list[JsonValue] = []
    for (scenario, batch), feeds in (queries or {("single", 1): target.feeds()}).items():
        with contextlib.suppress(QueryFailed):  # the load says so; a profile is no reason to stop
            top = top_operators(target.path, target.runtime, feeds, run.job.workdir)
            found.append({"scenario": scenario, "batch": batch, "top": [dict(row) for row in top]})
    return found


def _ramp_details(run: Campaign, recording: Recording) -> dict[str, JsonValue]:
    assert run.ramping is not None
    row = run.ramping.row()
    found = ramp_capacity(recording.facts, run.job.confidences)
    details: dict[str, JsonValue] = {
        "steps": row["steps"],
        "overload": row["overload"],
        "percentile": row["percentile"],
        "limit_ms": rounded(run.ramping.limit / 1e6),
    }
    if found is not None:
        overload = run.ramping.overload
        inflight = overload[-1].max_inflight if overload else found.limits[-1]
        details["knee_qps"] = rounded(found.knee.value)
        details["snippets"] = dict(capacity.snippets(inflight, run.ramping.scenario.workers))
    return details


def _comparison_details(comparing: Comparing, recording: Recording) -> dict[str, JsonValue]:
    epochs = epochs_from(f"{comparing.id}.compared", recording.series)
    clock = clock_of(epochs, own_time_known=bool(comparing.row()["own_time_known"]))
    sentinel = sentinel_of(epochs, clock)
    return {
        "scenario": comparing.id,
        "seed": comparing.seed,
        "clock": clock,
        "epochs": [rounded(ratio) for ratio in epoch_ratios(epochs, clock)],
        "pairs": sum(len(epoch.wall["baseline"]) for epoch in epochs),
        "sentinel": {
            "ratio": rounded(sentinel.ratio),
            "low": rounded(sentinel.low),
            "high": rounded(sentinel.high),
            "agrees": sentinel.agrees,
            "clear": sentinel.clear,
        },
    }


def _value(findings: Findings, name: str) -> float | None:
    rows: list[Measurement] = [m for m in findings.measurements if m.name == name]
    return rows[0].value if rows else None


def _configurations(
    findings: Findings, scenario: str | None, baseline_rss: int | None
) -> list[JsonValue]:
    """The candidate, and the baseline as far as its figures follow from the ratios."""
    known_p99 = {
        m.labels["scenario"]: m.value
        for m in findings.measurements
        if m.name == "latency_ms.p99" and m.value is not None
    }
    p99 = known_p99.get(scenario) if scenario else next(iter(known_p99.values()), None)
    price = _value(findings, "cost_usd_per_million")
    memory = _value(findings, "gpu.memory_bytes") or _value(findings, "rss_bytes")
    joules = _value(findings, "energy_j_per_inference")
    rows: list[JsonValue] = [_configuration("candidate", p99, price, memory, joules)]
    against = {
        c.name: c.value / c.reference
        for c in findings.comparisons
        if c.to == "baseline" and c.value and c.reference
    }
    median, tail = against.get("latency_ms.p50"), against.get("latency_ms.p99")
    if median is not None:
        rows.append(
            _configuration(
                "baseline",
                None if p99 is None or tail is None else p99 / tail,
                None if price is None else price / median,
                baseline_rss,
            )
        )
    return rows


def _configuration(
    name: str,
    p99_ms: float | None,
    usd_per_million: float | None,
    memory_bytes: float | None = None,
    joules: float | None = None,
) -> dict[str, JsonValue]:
    return {
        "name": name,
        "p99_ms": None if p99_ms is None else rounded(p99_ms),
        "usd_per_million": None if usd_per_million is None else rounded(usd_per_million),
        "memory_bytes": memory_bytes,
        "joules": joules,
    }


def _batching(run: Campaign) -> dict[str, JsonValue] | None:
    """A dynamic batcher's setting, where a sweep of batch sizes and a promise are there."""
    loads = [load for load in run.loads if load.kind == "batch" and len(load.latency)]
    slo = run.job.options.slo
    if len(loads) < 2 or slo is None:
        return None
    service = {load.batch: percentile_of(np.sort(load.latency), 0.5) for load in loads}
    rate = 0.6 * max(size / time_ns * 1e9 for size, time_ns in service.items())
    arrivals = schedule.poisson(rate, min(2.0, 20_000 / rate), 1)
    found = batching.recommend(arrivals, service, slo.percentile, seconds(slo.latency) * 1e9)
    if found is None:
        return {"rate": rounded(rate), "recommended": "none keeps the promise at this rate"}
    return {
        "rate": rounded(rate),
        "max_batch": found.max_batch,
        "max_delay_us": round(found.max_delay / 1e3),
        "response_ms": rounded(found.response / 1e6),
        "mean_batch": rounded(found.mean_batch),
    }


def _pool(run: Campaign, findings: Findings) -> dict[str, JsonValue] | None:
    traffic, knee = run.job.options.traffic, _value(findings, "capacity.knee_qps")
    if traffic is None or knee is None or not run.cold.starts:
        return None
    slowest = max(start.total for start in run.cold.starts) / 1e9
    instances = warm_pool(traffic.qps, traffic.growth, knee * run.job.options.utilisation, slowest)
    return {"instances": instances, "slowest_start_s": rounded(slowest)}
