"""Measure a benchmark: every scenario once, then longer what a gate cannot decide yet."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import JsonValue

from mlgate.errors import StageError
from mlgate.evidence import Artifact, Measured, digest_of, rounded
from mlgate.gate import Gate, judge
from mlgate.quantity import seconds
from mlgate.stage import Job, Progress
from mlgate.stages.benchmark import METRICS, device, nvml, scenarios
from mlgate.stages.benchmark.account import account
from mlgate.stages.benchmark.campaign import Campaign
from mlgate.stages.benchmark.cold_start import cold_starts
from mlgate.stages.benchmark.failure import told
from mlgate.stages.benchmark.findings import Findings, derive
from mlgate.stages.benchmark.load import closed_loop
from mlgate.stages.benchmark.provider import Runtime, check_placement, require_provider
from mlgate.stages.benchmark.recording import MEDIA_TYPE, decode
from mlgate.stages.benchmark.scenarios import Comparing, Load, Ramping
from mlgate.stages.benchmark.spec import (
    Batch,
    Benchmark,
    Burst,
    LongTail,
    Ramp,
    Server,
    Single,
    compared_scenarios,
)
from mlgate.stages.benchmark.spec import (
    ColdStart as ColdStartSpec,
)
from mlgate.stages.benchmark.target import (
    Target,
    reference_of,
    runtime_of,
    target_of,
)
from mlgate.statistics.multiplicity import look_sizes
from mlgate.statistics.quantiles import PERCENTILES

LATENCIES: Final = "latencies.bin"
_RAMP_ROUNDS: Final = (1.0, 5 / 3, 8 / 3)


def measure(
    job: Job[Benchmark], aim: Callable[[Job[Benchmark], Runtime], Target] = target_of
) -> Measured:
    """Measure every scenario and the comparison, extend what its gates leave open, and report.

    `aim` makes the model to measure of the job: one with a planted slowdown, where that is known.
    Raises `StageError` for a model that does not load, does not fit its inputs, or does not run
    where it must; what merely ran out of time is a measurement without a value. A failure after
    that keeps what was recorded, and takes every figure's value away.
    """
    options = job.options
    limit = min(seconds(options.time_limit), 0.9 * job.seconds)
    runtime = runtime_of(options, job.workdir)
    require_provider(runtime)
    gpu, before = None, None
    if options.provider != "cpu":
        # Before any session is there: what the model takes is counted from here.
        gpu = nvml.open_gpu(runtime.device_id)
        before = gpu.state()
    target = aim(job, runtime)
    baseline, anchor = (reference_of(job, target, role) for role in ("baseline", "anchor"))
    # Another one for each run: a fixed one would give every run the same luck. It is recorded.
    seed = secrets.randbits(32)
    run = Campaign(job, target, baseline, anchor, time.monotonic() + limit, seed)
    target.prepare()
    try:
        _first_looks(run)
        if gpu is not None and before is not None:
            run.gpu = _gpu_facts(run, gpu, before)
        _extended(run)
    except StageError as error:
        if run.empty():
            raise
        run.failed = told(error, options.gates, METRICS)
    recording = run.recording()
    data = recording.encode()
    (job.workdir / LATENCIES).write_bytes(data)
    # What is reported comes from the file, so that judging the file again cannot differ.
    findings = derive(decode(data), job.confidences)
    return Measured(
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
        details=account(run, recording, findings),
    )


def recompute(data: bytes, confidences: Sequence[float]) -> Findings:
    """Measurements and comparisons from the bytes of the `latencies` artifact alone."""
    return derive(decode(data), confidences)


def _touches(gates: Sequence[Gate], *prefixes: str) -> bool:
    return any(
        gate.metric.startswith(prefixes) and gate.on_inconclusive == "extend" for gate in gates
    )


def _first_looks(run: Campaign) -> None:
    """Every scenario once, the ramp before the loads whose rate depends on it."""
    options, tell = run.job.options, run.job.tell
    if run.baseline is not None:
        # First, so that no time limit leaves the comparison out.
        tell(Progress("comparing with the baseline"))
        for scenario_id in compared_scenarios(options):
            comparing = _comparing(run, run.baseline, scenario_id)
            run.comparisons.append(comparing)
            comparing.go(comparing.sizes()[0], run.deadline)
    if run.anchor is not None:
        tell(Progress("comparing with the anchor"))
        first = compared_scenarios(options)[0]
        run.anchoring = replace(_comparing(run, run.anchor, first), looks=1)
        run.anchoring.go(run.anchoring.sizes()[0], run.deadline)
    for scenario in sorted(options.scenarios, key=lambda s: isinstance(s, Server | Burst)):
        tell(Progress(f"measuring {scenario.id}"))
        if isinstance(scenario, Ramp):
            gated = _touches(options.gates, "capacity", "cost")
            looks = len(_RAMP_ROUNDS) if gated else 1
            run.ramping = Ramping(run.target, scenario, options.slo, looks)
            if run.out_of_time():
                run.ramping.failed = scenarios.OUT_OF_TIME
            else:
                # A slow model's ramp is long: leave time for what comes after it.
                now = time.monotonic()
                run.ramping.go(scenario.rounds, now + 0.6 * (run.deadline - now))
        elif isinstance(scenario, ColdStartSpec):
            if not run.out_of_time():
                run.cold = cold_starts(
                    run.target, run.baseline, options.scenarios, run.job.workdir, run.deadline
                )
        else:
            for load in _loads_of(run, scenario):
                run.loads.append(load)
                _look(run, load)


def _look(run: Campaign, load: Load, percentile: float = 0.99) -> None:
    duration = load.next_seconds(percentile)
    if duration is None:
        return
    left = run.deadline - time.monotonic()
    if left <= 0.2 * duration:
        if load.done == 0:
            load.failed = scenarios.OUT_OF_TIME
        load.done = load.looks
        return
    load.look(min(duration, left))


def _loads_of(run: Campaign, scenario: Single | Server | Burst | LongTail | Batch) -> list[Load]:
    gates = run.job.options.gates
    gated = _touches(gates, "latency_ms", "throughput", "cost")
    looks = len(scenarios.LOAD_LOOKS) if gated else 1
    if isinstance(scenario, Single):
        return [scenarios.single(run.target, scenario, looks)]
    if isinstance(scenario, Batch):
        return scenarios.batches(run.target, scenario, looks)
    if isinstance(scenario, LongTail):
        return [scenarios.long_tail(run.target, scenario, looks)]
    workers = scenario.workers or _ramp_workers(run.job.options)
    return [scenarios.open_(run.target, scenario, _rate(run, scenario), workers, looks)]


def _ramp_workers(options: Benchmark) -> int:
    """How many the ramp serves at once: a share of its knee is a share of theirs."""
    ramps = [scenario for scenario in options.scenarios if isinstance(scenario, Ramp)]
    return ramps[0].workers if ramps else 1


def _rate(run: Campaign, scenario: Server | Burst) -> float:
    """As given, or a share of the knee; without a ramp, a share of the closed loop's rate."""
    if scenario.qps is not None:
        return scenario.qps
    if run.ramping is not None and run.ramping.rounds and np.isfinite(run.ramping.guess):
        return scenario.share * run.ramping.sustained()
    prepared = run.target.prepare()
    trace = closed_loop(prepared.run, prepared.bindings, 0.3)
    return scenario.share * len(trace.latency) / (float(trace.completed[-1]) / 1e9)


def _comparing(run: Campaign, baseline: Path, scenario_id: str) -> Comparing:
    options = run.job.options
    scenario = next(s for s in options.scenarios if s.id == scenario_id)
    assert isinstance(scenario, Single)
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
        run.seed,
    )


def _extended(run: Campaign) -> None:
    """Look again at what gates leave open, until all are decided, planned looks end, or time."""
    while True:
        findings = derive(run.recording(), run.job.confidences)
        open_gates = list(_undecided(run.job, findings))
        if not open_gates or run.out_of_time():
            return
        many = f"{len(open_gates)} gate{'s' if len(open_gates) > 1 else ''}"
        run.job.tell(Progress(f"measuring longer: {many} undecided"))
        more = [_extend(run, gate) for gate in open_gates]
        if not any(more):
            return


def _undecided(job: Job[Benchmark], findings: Findings) -> Iterator[Gate]:
    """Gates that are inconclusive and want to be measured longer."""
    evidence = Measured(
        measurements=findings.measurements,
        comparisons=findings.comparisons,
    )
    for gate in job.options.gates:
        if gate.on_inconclusive != "extend":
            continue
        plain = gate.model_copy(update={"severity": "fail"})
        # A gate without a confidence has the spec's, which is one of these; the widest is safe.
        found = judge(plain, evidence, confidence=job.confidence)
        if found.outcome == "inconclusive":
            yield gate


def _extend(run: Campaign, gate: Gate) -> bool:
    """Measure more of what one gate looks at; False when there is no more to measure."""
    before = run.effort()
    if gate.compared_to or gate.metric in ("latency_ms.p99_unpreempted", "preempted"):
        for comparing in run.comparisons:
            size = comparing.next_size()
            if size is not None and _selects(gate, comparing.id, comparing.batch):
                comparing.go(size, run.deadline)
    elif gate.metric.startswith(("capacity", "cost")) and run.ramping is not None:
        ramp = run.ramping
        rounds = [round(ramp.scenario.rounds * factor) for factor in _RAMP_ROUNDS]
        size = next((n for n in rounds[: ramp.looks] if n > ramp.rounds), None)
        if size is not None:
            ramp.go(size, run.deadline)
    elif gate.metric.startswith(("latency_ms", "throughput", "cost")):
        percentile = PERCENTILES.get(gate.metric.rsplit(".", 1)[-1], 0.99)
        for load in run.loads:
            if _selects(gate, load.id, load.batch):
                _look(run, load, percentile)
    return run.effort() != before


def _selects(gate: Gate, scenario: str, batch: int) -> bool:
    """Whether a gate looks at this load."""
    labels = {"scenario": scenario, "batch": str(batch)}
    return all(str(value) == labels.get(label) for label, value in gate.where.items())


def _gpu_facts(run: Campaign, gpu: nvml.Gpu, before: nvml.GpuState) -> dict[str, JsonValue]:
    """Prove that the GPU did the work, and what it took; raises `StageError` when it did not."""
    options = run.job.options
    prepared = run.target.prepare()

    def work(duration: float) -> int:
        return len(closed_loop(prepared.run, prepared.bindings, duration).latency)

    work(1.5)
    after = gpu.state()
    memory = nvml.check_device_work(before, after, run.target.model_bytes())
    check_placement(prepared.session, run.target.runtime)
    limited = list(nvml.limits_of(after))
    if set(limited) - {"power cap"}:
        for load in run.loads:
            load.notes["unsteady"] = True
    feed, expected = run.target.feeds()[0], run.target.expect(run.target.path, 1)
    device_run = run.target.path, run.target.runtime, feed, expected
    events = device.open_events()
    clock = None if events is None else rounded(device.clock_ratio(*device_run, events))
    run.phases = device.phase_times(*device_run)
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
        "limited": [*limited],
        "clock_ratio": clock,
        "sm_mhz": [before.sm_mhz, after.sm_mhz],
    }
