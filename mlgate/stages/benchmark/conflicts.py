"""Options of a benchmark that are each right alone and wrong together: told before anything runs."""

from collections.abc import Iterator

from mlgate.gate import Gate
from mlgate.quantity import seconds
from mlgate.stages.benchmark.spec import (
    COMPARISON_METRICS,
    Batch,
    Benchmark,
    Single,
    shortest,
)

# Path in the block, message, hint.
Conflict = tuple[tuple[str | int, ...], str, str | None]

_NEEDS = {"cold_start_ms": "cold_start", "rss_bytes": "cold_start", "capacity": "ramp"}
_RATES = ("ramp", "single", "batch", "long_tail")
_PHASES = {
    "cold_start_ms": ("spawn", "import", "load", "first", "total", "steady", "engine_build"),
    "gpu.phase_ms": ("copy_in", "compute", "copy_out", "end_to_end"),
}


def conflicts(options: Benchmark) -> Iterator[Conflict]:
    """Everything that would only be found after measuring."""
    needed = shortest(options)
    if seconds(options.time_limit) < needed:
        hint = f"at least {needed:g}s, or fewer epochs, shorter scenarios"
        yield ("time_limit",), f"the shortest run takes {needed:g}s, and the limit is less", hint
    if seconds(options.timeout) < seconds(options.time_limit):
        yield ("timeout",), "the stage is stopped before its time_limit", "lower time_limit"
    yield from _of_provider(options)
    for index, gate in enumerate(options.gates):
        yield from _of_metric(options, gate, ("gates", index, "metric"))
        yield from _of_selection(options, gate, ("gates", index, "where"))
    singles = [scenario for scenario in options.scenarios if isinstance(scenario, Single)]
    for role in ("baseline", "anchor"):
        if getattr(options, role) is not None and not singles:
            yield (role,), "the comparison needs a single scenario", "add {kind: single}"


def _of_metric(options: Benchmark, gate: Gate, at: tuple[str | int, ...]) -> Iterator[Conflict]:
    """What the metric of a gate needs and the options do not have."""
    kinds = {scenario.kind for scenario in options.scenarios}
    if gate.compared_to == "baseline" and options.baseline is None:
        yield at, "there is no baseline to compare with", "add baseline: a model"
    elif gate.metric in COMPARISON_METRICS and options.baseline is None:
        yield at, f"{gate.metric} is measured beside a baseline", "add baseline: a model"
    if gate.metric in COMPARISON_METRICS and not _one_thread(options):
        message = f"{gate.metric} is known of one thread on the CPU alone"
        yield at, message, "use provider: cpu and threads: 1, or gate latency_ms.p99"
    need = _NEEDS.get(gate.metric) or _NEEDS.get(gate.metric.split(".")[0])
    if need is not None and need not in kinds:
        yield at, f"{gate.metric} needs a {need} scenario", f"add {{kind: {need}}}"
    if gate.metric == "cost_usd_per_million":
        if options.price_usd_per_hour is None:
            yield at, "the price is not known", "add price_usd_per_hour:"
        if kinds.isdisjoint(_RATES):
            message = "an open loop shows the rate that was offered, not what one machine can do"
            yield at, message, "add {kind: ramp} or {kind: single}"
    loads = kinds - {"cold_start", "ramp"}
    if gate.metric.startswith(("latency_ms", "throughput_qps")) and not loads:
        yield at, f"no scenario measures {gate.metric}", "add {kind: single}"
    if gate.metric.startswith(("gpu.", "energy")) and options.provider == "cpu":
        yield at, f"{gate.metric} is not measured on the CPU", "use provider: cuda"


def _of_selection(options: Benchmark, gate: Gate, at: tuple[str | int, ...]) -> Iterator[Conflict]:
    """A `where` that selects nothing of what will be measured."""
    kinds = {scenario.id: scenario.kind for scenario in options.scenarios}
    scenario, batch = gate.where.get("scenario"), gate.where.get("batch")
    if scenario is not None and str(scenario) not in kinds:
        known = ", ".join(sorted(kinds))
        yield at, f"there is no scenario {scenario}", f"there is: {known}"
        return
    compared = gate.compared_to is not None or gate.metric in COMPARISON_METRICS
    if compared and scenario is not None and kinds[str(scenario)] != "single":
        yield at, "only single scenarios are compared", "compare in a single scenario"
        return
    sizes = _batches(options, None if scenario is None else str(scenario), compared=compared)
    if batch is not None and str(batch) not in sizes:
        known = ", ".join(sorted(sizes, key=int)) or "none"
        yield at, f"no batch of {batch} is measured", f"there is: {known}"
    phase, phases = gate.where.get("phase"), _PHASES.get(gate.metric)
    if phase is not None and phases is not None and phase not in phases:
        yield at, f"there is no phase {phase}", f"there is: {', '.join(phases)}"


def _batches(options: Benchmark, scenario_id: str | None, *, compared: bool) -> set[str]:
    """Batch sizes, as labels, of the loads that a gate may look at."""
    sizes: set[int] = set()
    for scenario in options.scenarios:
        if scenario_id not in (None, scenario.id):
            continue
        if isinstance(scenario, Single):
            sizes.add(scenario.batch)
        elif compared:
            continue
        elif isinstance(scenario, Batch):
            sizes.update(scenario.sizes)
        elif scenario.kind not in ("cold_start", "ramp"):
            sizes.add(1)
    return {str(size) for size in sizes}


def _one_thread(options: Benchmark) -> bool:
    one = options.threads == 1 and options.session.inter_threads == 1
    return options.provider == "cpu" and one


def _of_provider(options: Benchmark) -> Iterator[Conflict]:
    on_cpu = options.provider == "cpu"
    if options.cuda_graph and on_cpu:
        yield ("cuda_graph",), "the CPU has no CUDA graphs", "use provider: cuda"
    if options.provider_options and on_cpu:
        hint = "settings of the session are set under session:"
        yield ("provider_options",), "the CPU provider has no options", hint
    if options.max_fallback_nodes and on_cpu:
        message = "under provider: cpu every node is on the CPU"
        yield ("max_fallback_nodes",), message, "leave it out"
    if options.cuda_graph and any(s.kind == "long_tail" for s in options.scenarios):
        yield ("cuda_graph",), "a CUDA graph has one shape, long_tail has several", None
    if options.dataset is not None and options.dataset.dataset.sql is not None:
        yield ("dataset", "dataset"), "the benchmark reads files, not databases", None
