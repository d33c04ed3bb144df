"""From recordings to figures: what makes a figure impossible is said, never papered over."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from mlgate.errors import StageError
from mlgate.evidence import Comparison, Measurement
from mlgate.stages.benchmark.compare import series_of
from mlgate.stages.benchmark.findings import derive
from mlgate.stages.benchmark.recording import Recording
from tests.stages.benchmark.test_compare import epochs_of

# A ramp on a core of its own, that nobody stopped.
ALONE = {"cores": 2, "ceiling": 1e9, "throttled": 0, "undisturbed": False}
TERMS = {"price": 3.6, "utilisation": 0.5, "usd_per_kwh": 0.0}


def facts(**more: Any) -> dict[str, Any]:
    return {"loads": [], "cold_starts": [], "terms": TERMS, "comparisons": [], **more}


def closed(n: int, **more: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A closed loop of n queries of 1 ms, one row each."""
    load = {"id": "single", "kind": "single", "batch": 1, "looks": 1, "throttled": 0, **more}
    latency = np.full(n, 1_000_000, dtype=np.int64)
    series = {
        "single.1.latency": latency,
        "single.1.completed": np.cumsum(latency),
        "single.1.sessions": np.full(5, n // 5, dtype=np.int64),
    }
    return facts(loads=[load]), series


def compared(made: Any, *, filtered: bool = True, looks: int = 1, throttled: int = 0) -> Recording:
    about = {
        "id": "single",
        "batch": 1,
        "looks": looks,
        "own_time_known": filtered,
        "interruptions_known": True,
        "throttled": throttled,
    }
    return Recording(facts(comparisons=[about]), series_of("single.compared", made))


def named(rows: tuple[Any, ...], name: str, labels: Mapping[str, str] | None = None) -> Any:
    found = [
        row
        for row in rows
        if row.name == name and all(row.labels[k] == v for k, v in (labels or {}).items())
    ]
    assert len(found) == 1
    return found[0]


def measurement(recording: Recording, name: str, **labels: str) -> Measurement:
    row = named(derive(recording, (0.95,)).measurements, name, labels)
    assert isinstance(row, Measurement)
    return row


def comparison(recording: Recording, name: str) -> Comparison:
    row = named(derive(recording, (0.95,)).comparisons, name)
    assert isinstance(row, Comparison)
    return row


def test_a_steady_closed_loop_has_exact_figures() -> None:
    recording = Recording(*closed(1000))
    p99 = measurement(recording, "latency_ms.p99")
    assert (p99.value, p99.unit, p99.n) == (1.0, "ms", 1000)
    assert (p99.bounds[0].low, p99.bounds[0].high) == (1.0, 1.0)
    assert measurement(recording, "throughput_qps").value == pytest.approx(1000)
    # 3.6 USD an hour is 0.001 USD a second, for 500 answers a second.
    assert measurement(recording, "cost_usd_per_million").value == pytest.approx(2.0)


def test_a_load_that_failed_has_no_figure_though_some_queries_were_answered() -> None:
    recording = Recording(*closed(1000, failed="the server fell behind"))
    for name in ("latency_ms.p50", "latency_ms.p999", "throughput_qps"):
        row = measurement(recording, name)
        assert row.value is None
        assert row.reason == "the server fell behind"
    assert measurement(recording, "cost_usd_per_million").value is None


def test_too_few_queries_say_how_many_are_missing() -> None:
    row = measurement(Recording(*closed(100)), "latency_ms.p99")
    assert row.bounds[0].high is None
    assert "needs 473 queries, 373 more than there were" in row.because[0]


def test_a_gpu_that_was_not_steady_has_no_interval() -> None:
    row = measurement(Recording(*closed(1000, unsteady=True)), "latency_ms.p50")
    assert (row.bounds[0].low, row.bounds[0].high) == (None, None)
    assert "not steady" in row.because[0]


def test_without_a_price_there_is_no_cost() -> None:
    made, series = closed(100)
    made["terms"] = {**TERMS, "price": None}
    row = measurement(Recording(made, series), "cost_usd_per_million")
    assert row.value is None
    assert "price_usd_per_hour" in (row.reason or "")


def test_a_comparison_has_ratio_difference_and_value_that_agree() -> None:
    row = comparison(compared(epochs_of(np.random.default_rng(0), 1.05)), "latency_ms.p50")
    assert row.value is not None
    assert row.reference is not None
    ratio, difference = row.ratio[0], row.difference[0]
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.low < row.value / row.reference < ratio.high
    assert difference.low == pytest.approx((ratio.low - 1) * row.reference)


def test_a_baseline_that_disagrees_with_itself_makes_every_comparison_impossible() -> None:
    found = derive(compared(epochs_of(np.random.default_rng(1), sentinel=1.12)), (0.95,))
    assert found.comparisons
    for row in found.comparisons:
        assert row.value is None
        assert "disagrees with itself" in (row.reason or "")


def test_too_much_interruption_leaves_the_filtered_tail_without_ends() -> None:
    made = epochs_of(np.random.default_rng(2), preempted=0.4, pairs=400)
    row = comparison(compared(made), "latency_ms.p99_unpreempted")
    assert (row.ratio[0].low, row.ratio[0].high) == (None, None)
    assert "too many to leave out" in row.because[0]


def test_the_filter_is_not_used_where_it_does_not_hold() -> None:
    made = epochs_of(np.random.default_rng(3))
    found = derive(compared(made, filtered=False), (0.95,))
    assert all(row.name != "latency_ms.p99_unpreempted" for row in found.comparisons)
    assert all(row.name != "preempted" for row in found.measurements)


def test_too_few_epochs_or_pairs_are_said() -> None:
    rng = np.random.default_rng(4)
    row = comparison(compared(epochs_of(rng, epochs=2)), "latency_ms.p50")
    assert row.value is None
    assert "2 epochs ran" in (row.reason or "")
    row = comparison(compared(epochs_of(rng, epochs=6, pairs=50)), "latency_ms.p999")
    assert row.value is None
    assert "10,000" in (row.reason or "")


def test_no_epochs_are_no_comparison() -> None:
    row = comparison(compared([]), "latency_ms.p50")
    assert "0 epochs ran" in (row.reason or "")


def test_a_ramp_that_failed_says_why() -> None:
    ramp = {"steps": [], "overload": [], "limit": 1.0, "percentile": 0.5, "workers": 1, "looks": 1}
    row = measurement(Recording(facts(ramp={**ramp, "failed": "why"}), {}), "capacity.knee_qps")
    assert row.reason == "why"
    row = measurement(Recording(facts(ramp=ramp), {}), "cost_usd_per_million")
    assert row.value is None


def test_a_gpu_shared_by_mig_is_not_attributable() -> None:
    gpu: dict[str, Any] = {"memory": 5, "mig": True, "utilisation": None, "energy": []}
    recording = Recording(facts(gpu=gpu), {})
    assert measurement(recording, "gpu.memory_bytes").value == 5
    for name in ("gpu.utilization", "energy_j_per_inference"):
        assert "MIG" in (measurement(recording, name).reason or "")
    windows = [{"joules": 10.0, "answers": 5}, {"joules": 14.0, "answers": 7}]
    alone = {"memory": 5, "mig": False, "utilisation": 0.5, "energy": windows}
    recording = Recording(facts(gpu=alone), {})
    assert measurement(recording, "energy_j_per_inference").value == pytest.approx(2.0)
    assert measurement(recording, "gpu.utilization").value == 0.5


def test_five_cold_starts_bound_their_median() -> None:
    phases = ("spawn", "import_", "load", "first", "total", "steady")
    starts = [{**dict.fromkeys(phases, i * 1_000_000), "peak_rss": i} for i in (5, 1, 4, 2, 3)]
    recording = Recording(facts(cold_starts=starts), {})
    row = measurement(recording, "cold_start_ms", phase="total")
    assert (row.value, row.bounds[0].low, row.bounds[0].high) == (3.0, 1.0, 5.0)
    assert measurement(recording, "rss_bytes").value == 5
    few = Recording(facts(cold_starts=starts[:3]), {})
    assert measurement(few, "cold_start_ms", phase="total").bounds[0].high is None


def test_a_recording_that_lacks_a_series_is_an_error() -> None:
    made, _ = closed(10)
    with pytest.raises(StageError, match="not complete"):
        derive(Recording(made, {}), (0.95,))
    with pytest.raises(StageError, match="not complete"):
        derive(Recording({}, {}), (0.95,))


def test_every_confidence_has_its_interval() -> None:
    found = derive(compared(epochs_of(np.random.default_rng(5))), (0.9, 0.95, 0.99))
    for row in found.comparisons:
        if row.value is not None:
            assert [b.confidence for b in row.ratio] == [0.9, 0.95, 0.99]
            assert row.ratio[0].low is not None
            assert row.ratio[2].low is not None
            assert row.ratio[0].low > row.ratio[2].low


def test_late_starts_are_told_beside_the_knee_its_cost_and_the_latencies() -> None:
    def recording(late: float) -> Recording:
        step = {"offered": 100, "completed": 100, "mean": 2e6, "p99": 2e6, "late": late * 2e6}
        steps = [
            {**step, "round": r, "rate": rate, "response": one, "kept": True}
            for r in range(2)
            for rate, one in ((100.0, 1e6), (120.0, 4e6))
        ]
        ramp: dict[str, Any] = {"steps": steps, "overload": [], "limit": 2e6, "percentile": 0.5}
        plain, series = closed(100, late_share=late)
        return Recording({**plain, "ramp": {**ramp, "workers": 1, "looks": 1, **ALONE}}, series)

    for name in ("capacity.knee_qps", "cost_usd_per_million", "latency_ms.p50"):
        assert measurement(recording(0.05), name).because == ()
        said = measurement(recording(0.42), name).because
        assert said
        assert said[0].startswith("42 % or more of the response times is other work")


def session_recording(medians: list[float], n: int = 2000) -> Recording:
    """A closed loop of several loadings of the model, each with a speed of its own (ns)."""
    made, _ = closed(n * len(medians))
    rng = np.random.default_rng(0)
    latency = np.concatenate([median * rng.gamma(400, 1 / 400, n) for median in medians])
    whole = latency.astype(np.int64)
    series = {
        "single.1.latency": whole,
        "single.1.completed": np.cumsum(whole),
        "single.1.sessions": np.full(len(medians), n, dtype=np.int64),
    }
    return Recording(made, series)


def test_b6_the_interval_is_of_the_next_loading_of_the_model() -> None:
    """Loadings that differ by 1.5 %: an independent one lies within in nine of ten cases."""
    rng = np.random.default_rng(6)
    held = 0
    for _ in range(200):
        speeds = 50_000 * np.exp(rng.normal(0, 0.015, 6))
        row = measurement(session_recording(speeds[:5].tolist(), 200), "latency_ms.p50")
        low, high = row.bounds[0].low, row.bounds[0].high
        assert low is not None
        assert high is not None
        held += low <= speeds[5] / 1e6 <= high
    assert held / 200 >= 0.85


def test_b6_one_loading_says_nothing_of_the_next() -> None:
    row = measurement(session_recording([50_000.0]), "latency_ms.p50")
    assert (row.bounds[0].low, row.bounds[0].high) == (None, None)


def test_b5_half_the_queries_interrupted_leave_the_tail_without_ends() -> None:
    made = epochs_of(np.random.default_rng(7), 1.1, preempted=0.5, pairs=400)
    row = comparison(compared(made), "latency_ms.p50")
    assert row.ratio[0].low is not None
    assert row.ratio[0].low < 1.1 < (row.ratio[0].high or 0)
    assert any("own thread" in line for line in row.because)
    tail = comparison(compared(made), "latency_ms.p95")
    assert (tail.ratio[0].low, tail.ratio[0].high) == (None, None)


def test_b5_of_several_threads_nobody_knows_the_own_time() -> None:
    made = epochs_of(np.random.default_rng(8), 1.1, preempted=0.5)
    row = comparison(compared(made, filtered=False), "latency_ms.p50")
    assert (row.ratio[0].low, row.ratio[0].high) == (None, None)
    assert any("threads: 1" in line for line in row.because)


def test_b1_what_a_quota_interrupts_is_not_left_out() -> None:
    made = epochs_of(np.random.default_rng(9), pairs=400)
    recording = compared(made, throttled=17)
    row = measurement(recording, "latency_ms.p99_unpreempted")
    assert row.value is None
    assert "quota stopped the process in 17 periods" in (row.reason or "")
    assert comparison(recording, "latency_ms.p50").ratio[0].low is not None


def ramp_recording(**more: Any) -> Recording:
    step = {"offered": 100, "completed": 100, "mean": 2e6, "p99": 2e6, "late": 0.0}
    steps = []
    for number in range(4):
        for rate, response in ((100.0, 1e6), (120.0 + number, 4e6)):
            steps.append(
                {**step, "round": number, "rate": rate, "response": response, "kept": True}
            )
    ramp = {"steps": steps, "overload": [], "limit": 2e6, "percentile": 0.5}
    return Recording(facts(ramp={**ramp, "workers": 1, "looks": 1, **ALONE, **more}), {})


def test_b1_a_throttled_ramp_whose_times_leave_interruptions_out_has_no_ends() -> None:
    row = measurement(ramp_recording(throttled=331, undisturbed=True), "capacity.knee_qps")
    assert (row.bounds[0].low, row.bounds[0].high) == (None, None)
    assert "quota stopped the process in 331 periods" in row.because[0]
    by_the_clock = measurement(ramp_recording(throttled=331), "capacity.knee_qps")
    assert by_the_clock.bounds[0].low is not None
    cost = measurement(ramp_recording(throttled=3, undisturbed=True), "cost_usd_per_million")
    assert (cost.bounds[0].low, cost.bounds[0].high) == (None, None)


def test_b18_more_workers_than_cores_are_told_and_no_end_is_beyond_what_can_be() -> None:
    row = measurement(ramp_recording(workers=4, ceiling=111.0), "capacity.knee_qps")
    assert "4 workers share 2 cores" in row.because
    assert row.bounds[0].high == pytest.approx(max(111.0, row.value or 0))


def test_b17_an_overload_of_one_is_the_knee() -> None:
    overload = {"max_inflight": 4, "rate": 220.0, "response": 1e6, "rejected": 0.5}
    knee = measurement(ramp_recording(), "capacity.knee_qps").value
    assert knee is not None
    served = ramp_recording(overload=[{**overload, "goodput": knee}], percentile=0.99)
    assert measurement(served, "capacity.overload_goodput").value == pytest.approx(1.0)


def test_b8_an_open_loop_has_no_cost() -> None:
    made, series = closed(1000)
    made["loads"][0]["kind"] = "server"
    row = measurement(Recording(made, series), "cost_usd_per_million")
    assert row.value is None
    assert "add {kind: ramp} or {kind: single}" in (row.reason or "")
