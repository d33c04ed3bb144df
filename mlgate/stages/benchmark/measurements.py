"""From a recording to measurements: loads, cold starts, capacity, cost, and what a GPU took."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mlgate.evidence import Measurement, measured, unmeasured
from mlgate.stages.benchmark import cost
from mlgate.stages.benchmark.capacity import Capacity, Step, capacity_of
from mlgate.stages.benchmark.cold_start import PHASES as STARTS
from mlgate.stages.benchmark.device import PHASES
from mlgate.stages.benchmark.recording import Recording
from mlgate.statistics.intervals import Estimate
from mlgate.statistics.means import batch_rates, mean_estimate, next_spread
from mlgate.statistics.multiplicity import spent
from mlgate.statistics.quantiles import PERCENTILES, percentile_estimate, queries_needed

Labels = Mapping[str, object]
Integers = npt.NDArray[np.int64]

# Loads in which the next query waits for the last answer: their rate is what the model can do.
CLOSED: Final = ("single", "batch", "long_tail")

_NO_KNEE: Final = "no rate kept the promise in any round"
_NO_RATE: Final = (
    "an open loop is served at the rate that was offered, which says nothing of what one machine "
    "can do: add {kind: ramp} or {kind: single}"
)
_NOTABLY_LATE: Final = 0.1
_UNSTEADY: Final = (
    "the GPU was not steady (still warming up, or its clocks slowed): nothing passes on this"
)


def measurements_of(recording: Recording, confidences: Sequence[float]) -> list[Measurement]:
    """Every measurement that the recording supports, at these confidences."""
    facts: Mapping[str, Any] = recording.facts
    capacity = ramp_capacity(facts, confidences)
    return [
        *_loads(recording, confidences),
        *_cold(facts, confidences),
        *_ramp(facts, capacity),
        *_cost(recording, capacity, confidences),
        *_gpu(facts, confidences),
        *_phases(recording, confidences),
    ]


def estimated(
    name: str,
    found: Estimate,
    unit: str,
    labels: Labels | None = None,
    scale: float = 1.0,
    because: Sequence[str] = (),
) -> Measurement:
    """An estimate as a measurement, times `scale`."""
    bounds = [
        (c, None if low is None else low * scale, None if high is None else high * scale)
        for c, low, high in found.bounds
    ]
    return measured(
        name,
        found.value * scale,
        labels=labels,
        unit=unit,
        bounds=bounds,
        n=found.n,
        because=because,
    )


def _loads(recording: Recording, confidences: Sequence[float]) -> Iterator[Measurement]:
    for load in _load_rows(recording):
        labels = {"scenario": load["id"], "batch": load["batch"]}
        key = f"{load['id']}.{load['batch']}"
        ordered = np.sort(recording.series[f"{key}.latency"])
        if load.get("failed") or not len(ordered):
            why = str(load.get("failed") or "no query was answered")
            for name in PERCENTILES:
                yield unmeasured(f"latency_ms.{name}", why, labels=labels, unit="ms")
            yield unmeasured("throughput_qps", why, labels=labels, unit="qps")
            continue
        yield from _latencies(load, ordered, _session_medians(recording, key), confidences)
        yield _throughput(load, recording, key, confidences)


def _throttled(load: Mapping[str, Any]) -> tuple[str, ...]:
    if not load["throttled"]:
        return ()
    return (f"the CPU quota stopped the process in {load['throttled']} periods",)


def _load_rows(recording: Recording) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = recording.facts["loads"]
    return rows


def _latencies(
    load: Mapping[str, Any],
    ordered: Integers,
    session_medians: Sequence[float],
    confidences: Sequence[float],
) -> Iterator[Measurement]:
    labels = {"scenario": load["id"], "batch": load["batch"]}
    looks = int(load["looks"])
    closed = load["kind"] in CLOSED
    logs = [math.log(max(median, 1.0)) for median in session_medians]
    for name, percentile in PERCENTILES.items():
        found = percentile_estimate(ordered, percentile, confidences, looks)
        because = _too_few(found, percentile, looks)
        if closed:
            found = _widened(found, next_spread(logs, confidences, looks))
        if load.get("unsteady"):
            found, because = open_ended(found), (_UNSTEADY,)
        because += _others(float(load.get("late_share", 0.0))) + _throttled(load)
        yield estimated(f"latency_ms.{name}", found, "ms", labels, 1e-6, because)


def _throughput(
    load: Mapping[str, Any], recording: Recording, key: str, confidences: Sequence[float]
) -> Measurement:
    labels = {"scenario": load["id"], "batch": load["batch"]}
    rows, looks = int(load["batch"]), int(load["looks"])
    done = np.concatenate([[0], recording.series[f"{key}.completed"]]).astype(np.int64)
    rates = mean_estimate([rows * r for r in batch_rates(done)], confidences, looks)
    whole = rows * (len(done) - 1) / (float(done[-1]) / 1e9)
    found = Estimate(whole, _around(rates, whole), len(done) - 1)
    if load["kind"] in CLOSED:
        logs = [math.log(rate) for rate in _session_rates(recording, key)]
        found = _widened(found, next_spread(logs, confidences, looks))
    return estimated("throughput_qps", found, "qps", labels, because=_throttled(load))


def _session_medians(recording: Recording, key: str) -> list[float]:
    """Median latency of each loading of the model, in nanoseconds."""
    cuts = np.cumsum(recording.series[f"{key}.sessions"])[:-1]
    parts = np.split(recording.series[f"{key}.latency"], cuts)
    return [float(np.median(part)) for part in parts if len(part)]


def _session_rates(recording: Recording, key: str) -> list[float]:
    """Queries per second of each loading of the model."""
    ends = np.cumsum(recording.series[f"{key}.sessions"])
    done = np.concatenate([[0], recording.series[f"{key}.completed"]])
    begun = 0
    rates = []
    for end in ends.tolist():
        span = float(done[end] - done[begun])
        if end > begun and span > 0:
            rates.append((end - begun) / span * 1e9)
        begun = end
    return rates


def _widened(found: Estimate, spread: Sequence[float | None]) -> Estimate:
    """An interval of this loading's queries, made one of the next loading's.

    `spread` is that of loadings, as logarithms, at each confidence; None: nothing is known of it,
    and the interval has no ends.
    """
    bounds: list[tuple[float, float | None, float | None]] = []
    for (confidence, low, high), reach in zip(found.bounds, spread, strict=True):
        if reach is None:
            bounds.append((confidence, None, None))
            continue
        bounds.append(
            (
                confidence,
                None if low is None else low * math.exp(-reach),
                None if high is None else high * math.exp(reach),
            )
        )
    return Estimate(found.value, tuple(bounds), found.n)


def _around(found: Estimate, value: float) -> tuple[tuple[float, float | None, float | None], ...]:
    """The interval moved to `value`: the rate of the whole run, not the mean of its parts."""
    shift = value - found.value
    return tuple(
        (c, None if low is None else max(0.0, low + shift), None if high is None else high + shift)
        for c, low, high in found.bounds
    )


def open_ended(found: Estimate) -> Estimate:
    """The number without an interval: a gate on it is inconclusive."""
    return Estimate(found.value, tuple((c, None, None) for c, _, _ in found.bounds), found.n)


def _too_few(found: Estimate, percentile: float, looks: int) -> tuple[str, ...]:
    for confidence, _, high in found.bounds:
        if high is None:
            needed = queries_needed(percentile, spent(confidence, looks))
            what = f"a p{100 * percentile:g} at confidence {confidence:g} needs {needed:,} queries"
            return (f"{what}, {needed - found.n:,} more than there were",)
    return ()


def _cold(facts: Mapping[str, Any], confidences: Sequence[float]) -> list[Measurement]:
    starts = facts.get("cold_starts") or []
    if not starts:
        return []
    rows = []
    for phase in STARTS:
        key = "import_" if phase == "import" else phase
        times = np.sort(np.asarray([start[key] for start in starts], dtype=np.int64))
        found = percentile_estimate(times, 0.5, confidences)
        # The exact rule for a median, not LoadGen's: five starts are enough for 95 %.
        bounds = tuple((c, *_median_ends(times, c)) for c in confidences)
        rows.append(
            estimated(
                "cold_start_ms",
                Estimate(found.value, bounds, found.n),
                "ms",
                {"phase": phase},
                1e-6,
            )
        )
    if facts.get("engine_build") is not None:
        # Built once, for it takes minutes: a number without ends, on which no gate passes.
        once = Estimate(
            float(facts["engine_build"]), tuple((c, None, None) for c in confidences), 1
        )
        rows.append(estimated("cold_start_ms", once, "ms", {"phase": "engine_build"}, 1e-6))
    peaks = [start["peak_rss"] for start in starts]
    if all(peaks):
        rows.append(measured("rss_bytes", float(max(peaks)), unit="B", n=len(peaks)))
    else:
        rows.append(unmeasured("rss_bytes", "this system does not tell a peak", unit="B"))
    return rows


def _median_ends(ordered: Any, confidence: float) -> tuple[float | None, float | None]:
    """One-sided bounds of the median from order statistics."""
    n, k, total = len(ordered), -1, 0.0
    term = 0.5**n
    while total + term <= 1 - confidence + 1e-15:
        k += 1
        total += term
        term = term * (n - k) / (k + 1)
    if k < 0:
        return None, None
    return float(ordered[k]), float(ordered[n - 1 - k])


def ramp_capacity(facts: Mapping[str, Any], confidences: Sequence[float]) -> Capacity | None:
    """The capacity that the recorded ramp shows; None without a ramp or a knee."""
    ramp = facts.get("ramp")
    if not ramp:
        return None
    steps = [Step(**step) for step in ramp["steps"]]
    found = capacity_of(
        steps, float(ramp["limit"]), int(ramp["workers"]), confidences, int(ramp["looks"])
    )
    if found is None:
        return None
    knee = _at_most(found.knee, float(ramp["ceiling"]))
    if ramp["throttled"] and ramp["undisturbed"]:
        # The times without interruptions are not what a throttled server gives anybody.
        knee = open_ended(knee)
    return replace(found, knee=knee)


def _at_most(found: Estimate, ceiling: float) -> Estimate:
    """The same with no upper end beyond what can be; the number itself stays."""
    most = max(ceiling, found.value)
    bounds = tuple(
        (c, low, None if high is None else min(high, most)) for c, low, high in found.bounds
    )
    return Estimate(found.value, bounds, found.n)


def _ramp(facts: Mapping[str, Any], capacity: Capacity | None) -> list[Measurement]:
    ramp = facts.get("ramp")
    if not ramp:
        return []
    if capacity is None:
        why = ramp.get("failed") or _NO_KNEE
        return [
            unmeasured("capacity.knee_qps", why, unit="qps"),
            unmeasured("capacity.max_inflight", why, unit="count"),
        ]
    because = _surroundings(ramp)
    rows = [estimated("capacity.knee_qps", capacity.knee, "qps", because=because)]
    overload = ramp["overload"]
    if not overload:
        inflight = float(capacity.limits[-1])
        return [*rows, measured("capacity.max_inflight", inflight, unit="count")]
    last = overload[-1]
    rows.append(measured("capacity.max_inflight", float(last["max_inflight"]), unit="count"))
    in_time = last["goodput"] / capacity.knee.value
    rows.append(measured("capacity.overload_goodput", in_time))
    return rows


def _surroundings(ramp: Mapping[str, Any]) -> tuple[str, ...]:
    """What is said of the machine beside a capacity, and what follows from it."""
    said = list(_others(_late_share(ramp)))
    if ramp["throttled"]:
        said.append(f"the CPU quota stopped the process in {ramp['throttled']} periods")
    if ramp["workers"] > ramp["cores"]:
        said.append(f"{ramp['workers']} workers share {ramp['cores']} cores")
    return tuple(said)


def _late_share(ramp: Mapping[str, Any]) -> float:
    """Late starts as a share of all response times, over steps without a backlog."""
    if ramp.get("undisturbed"):
        return 0.0
    kept = [step for step in ramp["steps"] if step["kept"]]
    total = sum(step["mean"] * step["completed"] for step in kept)
    return (
        float(sum(step.get("late", 0.0) * step["completed"] for step in kept) / total)
        if total
        else 0.0
    )


def _others(late: float) -> tuple[str, ...]:
    """What is said when other work on the machine makes up much of the response times."""
    if late < _NOTABLY_LATE:
        return ()
    share = f"{100 * late:.0f} % or more of the response times is other work on this machine"
    return (f"{share}: queries started late although a server was free",)


def rate_at_promise(
    recording: Recording, capacity: Capacity | None, confidences: Sequence[float]
) -> Estimate | None:
    """Answers a second that one instance gives: the knee, else the first closed loop's rate.

    The rate of an open loop is what was offered, not what can be served: None.
    """
    if recording.facts.get("ramp"):
        return capacity.knee if capacity is not None else None
    closed = {load["id"] for load in _load_rows(recording) if load["kind"] in CLOSED}
    for row in _loads(recording, confidences):
        if row.name != "throughput_qps" or row.value is None:
            continue
        if row.labels["scenario"] in closed:
            bounds = tuple((b.confidence, b.low, b.high) for b in row.bounds)
            return Estimate(row.value, bounds, row.n or 0)
    return None


def _cost(
    recording: Recording, capacity: Capacity | None, confidences: Sequence[float]
) -> list[Measurement]:
    terms: Mapping[str, Any] = recording.facts["terms"]
    name = "cost_usd_per_million"
    if terms.get("price") is None:
        why = "price_usd_per_hour is not given"
        return [unmeasured(name, why, unit="USD")]
    rate = rate_at_promise(recording, capacity, confidences)
    ramp: Mapping[str, Any] = recording.facts.get("ramp") or {}
    if rate is None or rate.value <= 0:
        why = _NO_RATE
        if ramp:
            why = f"no knee was found: {ramp.get('failed') or _NO_KNEE}"
        return [unmeasured(name, why, unit="USD")]
    energies = _joules(recording.facts)
    found = cost.usd_per_million(
        float(terms["price"]),
        rate,
        float(terms["utilisation"]),
        float(np.mean(energies)) if energies else None,
        float(terms["usd_per_kwh"]),
    )
    because = _surroundings(ramp) if ramp else ()
    return [estimated(name, found, "USD", because=because)]


def _joules(facts: Mapping[str, Any]) -> list[float]:
    gpu = facts.get("gpu") or {}
    return [float(w["joules"]) / int(w["answers"]) for w in gpu.get("energy", ()) if w["answers"]]


def _gpu(facts: Mapping[str, Any], confidences: Sequence[float]) -> list[Measurement]:
    gpu = facts.get("gpu")
    if not gpu:
        return []
    rows = [measured("gpu.memory_bytes", float(gpu["memory"]), unit="B")]
    shared = "MIG shares the board's counter: not attributable" if gpu["mig"] else ""
    if gpu.get("utilisation") is None:
        rows.append(unmeasured("gpu.utilization", shared or "this GPU does not tell it"))
    else:
        rows.append(measured("gpu.utilization", float(gpu["utilisation"])))
    joules = _joules(facts)
    if joules:
        found = mean_estimate(joules, confidences)
        rows.append(estimated("energy_j_per_inference", found, "J"))
    else:
        why = shared or "measured only when a gate or usd_per_kwh asks for it (half a minute)"
        rows.append(unmeasured("energy_j_per_inference", why, unit="J"))
    return rows


def _phases(recording: Recording, confidences: Sequence[float]) -> Iterator[Measurement]:
    series = recording.series
    times = {phase: series[f"gpu.{phase}"] for phase in PHASES if f"gpu.{phase}" in series}
    if times:
        times["end_to_end"] = np.sum(list(times.values()), axis=0)
    for phase, found in times.items():
        ordered = np.sort(found)
        middle = percentile_estimate(ordered, 0.5, confidences)
        bounds = tuple((c, *_median_ends(ordered, c)) for c in confidences)
        value = Estimate(middle.value, bounds, len(ordered))
        yield estimated("gpu.phase_ms", value, "ms", {"phase": phase}, 1e-6)
