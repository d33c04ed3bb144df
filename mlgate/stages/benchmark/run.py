"""Measure a benchmark: every scenario once, then longer what a gate cannot decide yet."""

import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import JsonValue

from mlgate.errors import StageError
from mlgate.evidence import (
    Artifact,
    Comparison,
    Digest,
    Evidence,
    Measurement,
    digest_of,
    rounded,
)
from mlgate.gate import Gate, judge
from mlgate.stage import Job, Progress, inputs_of, seconds
from mlgate.stages.benchmark import batching, capacity, nvml, scenarios, schedule
from mlgate.stages.benchmark.cold_start import ColdStart, warm_pool
from mlgate.stages.benchmark.compare import epoch_ratios, epochs_from, sentinel_of, series_of
from mlgate.stages.benchmark.cost import Configuration, pareto
from mlgate.stages.benchmark.load import closed_loop
from mlgate.stages.benchmark.measurements import Findings, derive, ramp_capacity
from mlgate.stages.benchmark.profile import top_operators
from mlgate.stages.benchmark.recording import MEDIA_TYPE, Recording, decode
from mlgate.stages.benchmark.scenarios import Comparing, Load, Ramping
from mlgate.stages.benchmark.session import check_placement, open_session
from mlgate.stages.benchmark.spec import (
    Batch,
    Benchmark,
    Burst,
    LongTail,
    Ramp,
    Server,
    Single,
)
from mlgate.stages.benchmark.spec import (
    ColdStart as ColdStartSpec,
)
from mlgate.stages.benchmark.statistics import PERCENTILES, look_sizes, percentile_of
from mlgate.stages.benchmark.target import Target, baseline_of, content_digest, target_of

LATENCIES: Final = "latencies.bin"
_RAMP_ROUNDS: Final = (1.0, 5 / 3, 8 / 3)
_OUT_OF_TIME: Final = "the time limit ended before it was measured: raise time_limit"


@dataclass
class _Run:
    """Everything measured so far."""

    job: Job[Benchmark]
    target: Target
    baseline: Path | None
    deadline: float
    loads: list[Load] = field(default_factory=list)
    ramping: Ramping | None = None
    comparing: Comparing | None = None
    starts: list[ColdStart] = field(default_factory=list)
    gpu: dict[str, JsonValue] | None = None

    def out_of_time(self) -> bool:
        return time.monotonic() > self.deadline


def measure(job: Job[Benchmark]) -> Evidence:
    """Measure every scenario and the comparison, extend what its gates leave open, and report.

    Raises `StageError` for a model that does not load, does not fit its inputs, or does not run
    where it must; what merely ran out of time is a measurement without a value.
    """
    options = job.options
    limit = min(seconds(options.time_limit), 0.9 * job.seconds)
    target = target_of(job)
    gpu = None
    if options.provider != "cpu":
        gpu = nvml.open_gpu(int(target.runtime.options.get("device_id", "0")))
    before = gpu.state() if gpu else None
    run = _Run(job, target, baseline_of(job, target), time.monotonic() + limit)
    target.prepare()
    _first_looks(run)
    if gpu is not None and before is not None:
        run.gpu = _gpu_facts(run, gpu, before)
    recording, findings = _extended(run)
    data = recording.encode()
    (job.workdir / LATENCIES).write_bytes(data)
    # What is reported comes from the file, so that judging the file again cannot differ.
    findings = derive(decode(data), job.confidences)
    return Evidence(
        uses=options.uses,
        inputs=_digests(job),
        measurements=findings.measurements,
        comparisons=findings.comparisons,
        outputs={
            "latencies": Artifact(
                name=LATENCIES,
                digest=digest_of(data),
                size_bytes=len(data),
                media_type=MEDIA_TYPE,
            )
        },
        tools=_tools(),
        details=_details(run, recording, findings),
    )


def recompute(data: bytes, confidences: Sequence[float]) -> Findings:
    """Measurements and comparisons from the bytes of the `latencies` artifact alone."""
    return derive(decode(data), confidences)


def _touches(gates: Sequence[Gate], *prefixes: str) -> bool:
    return any(
        gate.metric.startswith(prefixes) and gate.on_inconclusive == "extend" for gate in gates
    )


def _first_looks(run: _Run) -> None:
    """Every scenario once, the ramp before the loads whose rate depends on it."""
    options, tell = run.job.options, run.job.tell
    if run.baseline is not None:
        # First, so that no time limit leaves the comparison out.
        tell(Progress("comparing with the baseline"))
        run.comparing = _comparing(run, run.baseline)
        run.comparing.go(run.comparing.sizes()[0], run.deadline)
    for scenario in sorted(options.scenarios, key=lambda s: isinstance(s, Server | Burst)):
        tell(Progress(f"measuring {scenario.id}"))
        if isinstance(scenario, Ramp):
            gated = _touches(options.gates, "capacity", "cost")
            looks = len(_RAMP_ROUNDS) if gated else 1
            run.ramping = Ramping(run.target, scenario, options.slo, looks)
            if run.out_of_time():
                run.ramping.failed = _OUT_OF_TIME
            else:
                run.ramping.go(scenario.rounds, run.deadline)
        elif isinstance(scenario, ColdStartSpec):
            if not run.out_of_time():
                run.starts = scenarios.cold_starts(
                    run.target, scenario.spawns, run.job.workdir, run.deadline
                )
        else:
            for load in _loads_of(run, scenario):
                run.loads.append(load)
                _look(run, load)


def _look(run: _Run, load: Load, percentile: float = 0.99) -> None:
    duration = load.next_seconds(percentile)
    if duration is None:
        return
    left = run.deadline - time.monotonic()
    if left <= 0.2 * duration:
        if load.done == 0:
            load.failed = _OUT_OF_TIME
        load.done = load.looks
        return
    load.look(min(duration, left))


def _loads_of(run: _Run, scenario: Single | Server | Burst | LongTail | Batch) -> list[Load]:
    gates = run.job.options.gates
    gated = _touches(gates, "latency_ms", "throughput", "cost")
    looks = len(scenarios.LOAD_LOOKS) if gated else 1
    if isinstance(scenario, Single):
        return [scenarios.single(run.target, scenario, looks)]
    if isinstance(scenario, Batch):
        return scenarios.batches(run.target, scenario, looks)
    if isinstance(scenario, LongTail):
        return [scenarios.long_tail(run.target, scenario, looks)]
    return [scenarios.open_(run.target, scenario, _rate(run, scenario), looks)]


def _rate(run: _Run, scenario: Server | Burst) -> float:
    """As given, or a share of the knee; without a ramp, a share of the closed loop's rate."""
    if scenario.qps is not None:
        return scenario.qps
    if run.ramping is not None and run.ramping.rounds and np.isfinite(run.ramping.guess):
        return scenario.share * run.ramping.guess
    prepared = run.target.prepare()
    trace = closed_loop(prepared.run, prepared.bindings, 0.3)
    return scenario.share * len(trace.latency) / (float(trace.completed[-1]) / 1e9)


def _comparing(run: _Run, baseline: Path) -> Comparing:
    options = run.job.options
    scenario = next((s for s in options.scenarios if isinstance(s, Single)), None)
    if scenario is None:
        raise StageError("the comparison needs a single scenario", hint="add {kind: single}")
    gated = any(gate.compared_to for gate in options.gates) or _touches(
        options.gates, "latency_ms.p99_unpreempted"
    )
    return Comparing(
        run.target,
        baseline,
        scenario.id,
        scenario.batch,
        options.epochs,
        seconds(options.epoch),
        len(look_sizes(options.epochs)) if gated else 1,
    )


def _extended(run: _Run) -> tuple[Recording, Findings]:
    """Look again at what gates leave open, until all are decided, planned looks end, or time."""
    while True:
        recording = _recording(run)
        findings = derive(recording, run.job.confidences)
        open_gates = list(_undecided(run.job, findings))
        if not open_gates or run.out_of_time():
            return recording, findings
        many = f"{len(open_gates)} gate{'s' if len(open_gates) > 1 else ''}"
        run.job.tell(Progress(f"measuring longer: {many} undecided"))
        more = [_extend(run, gate) for gate in open_gates]
        if not any(more):
            return recording, findings


def _undecided(job: Job[Benchmark], findings: Findings) -> Iterator[Gate]:
    """Gates that are inconclusive and want to be measured longer."""
    evidence = Evidence(
        uses=job.options.uses,
        inputs={},
        measurements=findings.measurements,
        comparisons=findings.comparisons,
    )
    for gate in job.options.gates:
        if gate.on_inconclusive != "extend":
            continue
        plain = gate.model_copy(update={"severity": "fail"})
        # A gate without a confidence has the spec's, which is one of these; the widest is safe.
        found = judge(plain, evidence, confidence=job.confidences[-1])
        if found.outcome == "inconclusive":
            yield gate


def _extend(run: _Run, gate: Gate) -> bool:
    """Measure more of what one gate looks at; False when there is no more to measure."""
    before = _effort(run)
    if gate.compared_to or gate.metric in ("latency_ms.p99_unpreempted", "preempted"):
        size = run.comparing.next_size() if run.comparing else None
        if size is not None and run.comparing is not None:
            run.comparing.go(size, run.deadline)
    elif gate.metric.startswith(("capacity", "cost")) and run.ramping is not None:
        ramp = run.ramping
        rounds = [round(ramp.scenario.rounds * factor) for factor in _RAMP_ROUNDS]
        size = next((n for n in rounds[: ramp.looks] if n > ramp.rounds), None)
        if size is not None:
            ramp.go(size, run.deadline)
    elif gate.metric.startswith(("latency_ms", "throughput", "cost")):
        percentile = PERCENTILES.get(gate.metric.rsplit(".", 1)[-1], 0.99)
        for load in run.loads:
            wanted = gate.where.get("scenario"), gate.where.get("batch")
            if wanted[0] in (None, load.id) and str(wanted[1]) in ("None", str(load.batch)):
                _look(run, load, percentile)
    return _effort(run) != before


def _effort(run: _Run) -> tuple[int, ...]:
    return (
        len(run.comparing.epochs) if run.comparing else 0,
        run.ramping.rounds if run.ramping else 0,
        *(len(load.latency) for load in run.loads),
    )


def _recording(run: _Run) -> Recording:
    options = run.job.options
    facts: dict[str, JsonValue] = {
        "loads": [load.row() for load in run.loads],
        "cold_starts": [dict(start.row()) for start in run.starts],
        "terms": {
            "price": options.price_usd_per_hour,
            "utilisation": options.utilisation,
            "usd_per_kwh": options.usd_per_kwh,
        },
    }
    series = {}
    for load in run.loads:
        series[f"{load.key}.latency"] = load.latency
        series[f"{load.key}.completed"] = load.completed
    if run.ramping is not None:
        facts["ramp"] = run.ramping.row()
    if run.gpu is not None:
        facts["gpu"] = run.gpu
    if run.comparing is not None:
        facts["comparison"] = {
            "id": run.comparing.id,
            "batch": run.comparing.batch,
            "looks": run.comparing.looks,
            "filter": run.comparing.filtered,
        }
        series |= series_of(f"{run.comparing.id}.compared", run.comparing.epochs)
    return Recording(facts, series)


def _gpu_facts(run: _Run, gpu: nvml.Gpu, before: nvml.GpuState) -> dict[str, JsonValue]:
    """Prove that the GPU did the work, and what it took; raises `StageError` when it did not."""
    options = run.job.options
    prepared = run.target.prepare()

    def work(duration: float) -> int:
        return len(closed_loop(prepared.run, prepared.bindings, duration).latency)

    work(1.5)
    after = gpu.state()
    memory = nvml.check_device_work(before, after, run.target.model_bytes())
    check_placement(prepared.session, run.target.runtime)
    energy: list[JsonValue] = []
    if after.energy_mj is not None and (_touches(options.gates, "energy") or options.usd_per_kwh):
        idle = nvml.idle_watts(gpu)
        if idle is not None:
            energy = [
                {"joules": rounded(one.joules), "answers": one.answers}
                for one in nvml.energy_of(gpu, work, idle)
            ]
    return {
        "name": after.name,
        "driver": after.driver,
        "memory": memory,
        "mig": after.mig,
        "utilisation": after.utilisation,
        "energy": energy,
        "limited": list(nvml.limits_of(after)),
        "sm_mhz": [before.sm_mhz, after.sm_mhz],
    }


def _digests(job: Job[Benchmark]) -> dict[str, Digest]:
    digests = {}
    for path, given in inputs_of(job.options):
        located = job.inputs[given]
        name = ".".join(str(part) for part in path)
        digests[name] = located.digest or content_digest(Path(located.location))
    return digests


def _tools() -> dict[str, str]:
    tools = {"numpy": np.__version__, "python": platform.python_version()}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            tools[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return tools


def _details(run: _Run, recording: Recording, findings: Findings) -> dict[str, JsonValue]:
    """The stage's own account: what the report and its plots show."""
    session = open_session(run.target.path, run.target.runtime)
    details: dict[str, JsonValue] = {
        "provider": run.target.runtime.name,
        "nodes": dict(check_placement(session, run.target.runtime)),
        "hardware": {"cpu": _processor(), "cpus": os.cpu_count() or 0},
        "loads": recording.facts["loads"],
        "distributions": _distributions(run.loads),
        "operators": [
            dict(row)
            for row in top_operators(
                run.target.path, run.target.runtime, run.target.feeds(), run.job.workdir
            )
        ],
    }
    if run.gpu is not None:
        details["gpu"] = run.gpu
    if run.ramping is not None:
        details["ramp"] = _ramp_details(run, recording)
    if run.comparing is not None and len(run.comparing.epochs) >= 3:
        details["comparison"] = _comparison_details(run.comparing, recording)
    singles = [load.id for load in run.loads if load.kind == "single"]
    details["configurations"] = _configurations(findings, singles[0] if singles else None)
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


def _ramp_details(run: _Run, recording: Recording) -> dict[str, JsonValue]:
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
    sentinel = sentinel_of(epochs)
    return {
        "epochs": [rounded(ratio) for ratio in epoch_ratios(epochs)],
        "pairs": sum(len(epoch.wall["baseline"]) for epoch in epochs),
        "sentinel": {
            "ratio": rounded(sentinel.ratio),
            "low": rounded(sentinel.low),
            "high": rounded(sentinel.high),
            "agrees": sentinel.agrees,
        },
    }


def _value(findings: Findings, name: str) -> float | None:
    rows: list[Measurement] = [m for m in findings.measurements if m.name == name]
    return rows[0].value if rows else None


def _configurations(findings: Findings, scenario: str | None) -> list[JsonValue]:
    """The candidate, and the baseline as far as its cost follows from the ratio."""
    known_p99 = {
        m.labels["scenario"]: m.value
        for m in findings.measurements
        if m.name == "latency_ms.p99" and m.value is not None
    }
    p99 = known_p99.get(scenario) if scenario else next(iter(known_p99.values()), None)
    price = _value(findings, "cost_usd_per_million")
    memory, joules = _value(findings, "rss_bytes"), _value(findings, "energy_j_per_inference")
    known = [Configuration("candidate", p99, price, memory, joules)]
    against = {c.name: c for c in findings.comparisons if c.value is not None}
    median: Comparison | None = against.get("latency_ms.p50")
    tail: Comparison | None = against.get("latency_ms.p99")
    if median is not None and price is not None and median.value and median.reference:
        ratio = median.value / median.reference
        other = None
        if p99 is not None and tail is not None and tail.value and tail.reference:
            other = p99 / (tail.value / tail.reference)
        known.append(Configuration("baseline", other, price / ratio))
    best = pareto(known)
    return [
        {
            "name": one.name,
            "p99_ms": None if one.p99_ms is None else rounded(one.p99_ms),
            "usd_per_million": None
            if one.usd_per_million is None
            else rounded(one.usd_per_million),
            "memory_bytes": one.memory_bytes,
            "joules": one.joules,
            "best": one.name in best,
        }
        for one in known
    ]


def _batching(run: _Run) -> dict[str, JsonValue] | None:
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
        "max_delay_ms": rounded(found.max_delay / 1e6),
        "response_ms": rounded(found.response / 1e6),
        "mean_batch": rounded(found.mean_batch),
    }


def _pool(run: _Run, findings: Findings) -> dict[str, JsonValue] | None:
    traffic, knee = run.job.options.traffic, _value(findings, "capacity.knee_qps")
    if traffic is None or knee is None or not run.starts:
        return None
    slowest = max(start.total for start in run.starts) / 1e9
    instances = warm_pool(traffic.qps, traffic.growth, knee * run.job.options.utilisation, slowest)
    return {"instances": instances, "slowest_start_s": rounded(slowest)}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()
