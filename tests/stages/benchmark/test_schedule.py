"""Arrival schedules and early stopping equal to MLPerf LoadGen's; schedules keep their rates."""

import re
from pathlib import Path

import numpy as np
import pytest

from mlgate.stages.benchmark import schedule
from mlgate.statistics.quantiles import discardable

loadgen = pytest.importorskip("mlperf_loadgen", reason="mlcommons-loadgen is the oracle")


def _run_loadgen(folder: Path, settings: object) -> tuple[str, str]:
    """LoadGen's summary and detail logs of a model that answers at once."""
    output = loadgen.LogOutputSettings()
    output.outdir = str(folder)
    logs = loadgen.LogSettings()
    logs.log_output = output
    logs.enable_trace = False

    def issue(queries: list[object]) -> None:
        for query in queries:
            answer = loadgen.QuerySampleResponse(query.id, 0, 0)  # type: ignore[attr-defined]
            loadgen.QuerySamplesComplete([answer])

    system = loadgen.ConstructSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(8, 8, lambda _: None, lambda _: None)
    loadgen.StartTestWithLogSettings(system, library, settings, logs, "")
    summary = (folder / "mlperf_log_summary.txt").read_text()
    return summary, (folder / "mlperf_log_detail.txt").read_text()


def _loadgen_schedule(folder: Path, seed: int, qps: float, ms: int) -> tuple[int, int]:
    """(queries, nanoseconds at which the next one would come) of LoadGen's Server scenario."""
    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.Server
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.server_target_qps = qps
    settings.server_target_latency_ns = 10**9
    settings.min_duration_ms = ms
    settings.min_query_count = 10
    settings.schedule_rng_seed = seed
    _, detail = _run_loadgen(folder, settings)

    def value(key: str) -> int:
        match = re.search(rf'"key": "{key}", "value": ([\d.]+)', detail)
        assert match is not None
        return int(match[1])

    return value("generated_query_count"), value("generated_query_duration")


@pytest.mark.parametrize(("n", "percentile"), [(65, 0.9), (500, 0.9), (5000, 0.9), (5000, 0.99)])
def test_early_stopping_is_loadgens(tmp_path: Path, n: int, percentile: float) -> None:
    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.single_stream_expected_latency_ns = 2000
    settings.single_stream_target_latency_percentile = percentile
    settings.min_duration_ms = 0
    settings.min_query_count = settings.max_query_count = n
    summary, _ = _run_loadgen(tmp_path, settings)
    said = re.search(r"Would discard (\d+)", summary)
    assert said is not None
    assert int(said[1]) == discardable(n, percentile, 0.99)


@pytest.mark.parametrize(
    ("seed", "qps", "ms"), [(12345, 1000.0, 300), (16159082839903944936, 300.0, 400)]
)
def test_poisson_is_loadgens(tmp_path: Path, seed: int, qps: float, ms: int) -> None:
    count, duration = _loadgen_schedule(tmp_path, seed, qps, ms)
    arrivals = schedule.poisson(qps, ms / 1000, seed)
    one_more = schedule.poisson(qps, ms / 1000, seed, at_least=count + 1)
    assert len(arrivals) == count
    assert one_more[count] == duration


def test_poisson_starts_at_zero_and_keeps_its_rate() -> None:
    arrivals = schedule.poisson(2000, 10, seed=1)
    assert arrivals[0] == 0
    assert np.all(np.diff(arrivals) >= 0)
    assert len(arrivals) / 10 == pytest.approx(2000, rel=0.03)
    assert np.array_equal(arrivals, schedule.poisson(2000, 10, seed=1))
    assert not np.array_equal(arrivals[:50], schedule.poisson(2000, 10, seed=2)[:50])


def test_bursts_keep_the_mean_and_are_burstier() -> None:
    arrivals = schedule.bursts(1000, 200, 3, peak=5, duty=0.1, period_s=1)
    assert len(arrivals) / 200 == pytest.approx(1000, rel=0.08)
    counts = np.histogram(arrivals, bins=2000, range=(0, 200e9))[0]
    assert counts.var() / counts.mean() > 5  # a Poisson process has 1


def test_mix_has_the_shares() -> None:
    kinds = schedule.mix([0.8, 0.2], 20_000, seed=4)
    assert kinds.mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_no_rate_no_schedule(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        schedule.poisson(rate, 1, 1)
    with pytest.raises(ValueError, match="above 0"):
        schedule.bursts(rate, 1, 1, peak=2, duty=0.5, period_s=1)
    with pytest.raises(ValueError, match="shares"):
        schedule.mix([], 3, 1)
