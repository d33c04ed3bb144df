"""The whole stage on tiny models: what it measures, what it says when it cannot, and why."""

import json
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mlgate.errors import StageError
from mlgate.evidence import Evidence, digest_of
from mlgate.gate import judge
from mlgate.stage import Job, Located, Progress, inputs_of
from mlgate.stages.benchmark import STAGE
from mlgate.stages.benchmark.cold_start import warm_pool
from mlgate.stages.benchmark.provider import Runtime
from mlgate.stages.benchmark.recording import decode
from mlgate.stages.benchmark.run import measure, recompute
from mlgate.stages.benchmark.session import ORT_ERRORS, Prepared
from mlgate.stages.benchmark.spec import Benchmark
from mlgate.stages.benchmark.target import Target, target_of
from tests.projects import evidence_of
from tests.stages.benchmark.onnx_models import write_chain

QUICK: dict[str, Any] = {"scenarios": [{"kind": "single", "duration": "50ms"}]}
SHORT_EPOCHS: dict[str, Any] = {"epochs": 6, "epoch": "50ms", **QUICK}


class Bench:
    """Runs the stage on an options block, as `mlgate check` would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.news = folder, list[str]()

    def job(self, *, confidences: Iterable[float] = (0.95,), **block: Any) -> Job[Benchmark]:
        options = Benchmark.model_validate_json(json.dumps({"uses": "benchmark", **block}))
        workdir = self.folder / f"work{len(list(self.folder.iterdir()))}"
        workdir.mkdir()

        def tell(progress: Progress) -> None:
            self.news.append(progress.message)

        located = {i: Located(i.path or "", None) for _, i in inputs_of(options)}
        return Job("latency", options, workdir, located, tuple(confidences), tell=tell)

    def run(self, **block: Any) -> tuple[Evidence, Path]:
        job = self.job(**block)
        return evidence_of(STAGE, job), job.workdir


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_chain(tmp_path / "model.onnx"))


def outcome(gate: dict[str, Any], evidence: Evidence, block: dict[str, Any]) -> tuple[str, str]:
    made = Benchmark.model_validate_json(
        json.dumps({"uses": "benchmark", "model": "m", "gates": [gate], **block})
    ).gates[0]
    found = judge(made, evidence, confidence=0.95)
    return found.outcome, found.message


def value(evidence: Evidence, name: str, **labels: str) -> float:
    rows = [
        m
        for m in evidence.measurements
        if m.name == name and all(m.labels[k] == v for k, v in labels.items())
    ]
    assert len(rows) == 1
    assert rows[0].value is not None
    return rows[0].value


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evidence, Path, Bench]:
    """Every kind of scenario, once."""
    folder = tmp_path_factory.mktemp("whole")
    path = str(write_chain(folder / "model.onnx", width=128, extra_axis="T"))
    bench = Bench(folder)
    evidence, workdir = bench.run(
        model=path,
        baseline=path,
        dims={"T": 4},
        price_usd_per_hour=3.6,
        slo={"latency": "500ms", "percentile": 0.9},
        traffic={"qps": 100},
        epochs=6,
        epoch="60ms",
        scenarios=[
            {"kind": "single", "duration": "150ms"},
            {"kind": "server", "duration": "200ms", "qps": 200},
            {"kind": "burst", "duration": "300ms", "qps": 100, "period": "100ms"},
            {
                "kind": "long_tail",
                "duration": "100ms",
                "shapes": [{"dims": {"T": 2}, "share": 9}, {"dims": {"T": 64}, "share": 1}],
            },
            {"kind": "batch", "duration": "50ms", "sizes": [1, 8]},
            {"kind": "cold_start", "spawns": 2},
            {"kind": "ramp", "rounds": 2, "step": "60ms", "factor": 2},
        ],
    )
    return evidence, workdir, bench


def test_every_scenario_is_measured(whole: tuple[Evidence, Path, Bench]) -> None:
    evidence, _, _ = whole
    loads = {
        (m.labels["scenario"], m.labels["batch"])
        for m in evidence.measurements
        if m.name == "latency_ms.p50"
    }
    assert loads == {
        ("single", "1"),
        ("server", "1"),
        ("burst", "1"),
        ("long_tail", "1"),
        ("batch", "1"),
        ("batch", "8"),
    }
    assert value(evidence, "latency_ms.p50", scenario="single") > 0
    assert value(evidence, "throughput_qps", scenario="batch", batch="8") > 0
    assert value(evidence, "cold_start_ms", phase="total") > value(
        evidence, "cold_start_ms", phase="load"
    )
    assert value(evidence, "capacity.knee_qps") > 1
    assert value(evidence, "capacity.max_inflight") >= 1
    assert value(evidence, "rss_bytes") > 2e7
    knee = value(evidence, "capacity.knee_qps")
    assert value(evidence, "cost_usd_per_million") == pytest.approx(1e3 / (knee * 0.6), rel=1e-6)


def test_metrics_are_those_declared(whole: tuple[Evidence, Path, Bench]) -> None:
    evidence, _, _ = whole
    declared = {metric.name: metric for metric in STAGE.metrics}
    for row in evidence.measurements:
        assert row.unit == declared[row.name].unit
        assert set(row.labels) <= set(declared[row.name].labels) | {"scenario", "batch"}
    for against in evidence.comparisons:
        assert against.to in declared[against.name].compared_to


def test_the_account_is_there_for_the_report(whole: tuple[Evidence, Path, Bench]) -> None:
    evidence, _, _ = whole
    titles = [figure.title for figure in STAGE.figures(evidence)]
    assert len(titles) == 4
    assert STAGE.figures(Evidence(uses="benchmark", inputs={})) == ()
    profiles: Any = evidence.details["operators"]
    assert [(row["scenario"], row["batch"]) for row in profiles] == [
        ("single", 1),
        ("long_tail", 1),
        ("batch", 8),
    ]
    assert {row["top"][0]["op"] for row in profiles} == {"MatMul"}
    assert [note.title.split()[0] for note in STAGE.advice(evidence)] == [
        "Made-up",
        "Shed",
        "Shed",
        "Scale",
        "Adaptive",
        "Warm",
    ]
    assert STAGE.advice(Evidence(uses="benchmark", inputs={})) == ()
    (summary,) = STAGE.summaries(evidence)[:1]
    assert summary.values["p99_ms"] == pytest.approx(
        value(evidence, "latency_ms.p99", scenario="single")
    )
    assert "LIMIT" in str(evidence.details["ramp"])
    assert evidence.details["nodes"] == {"CPUExecutionProvider": 2}
    assert "instances" in str(evidence.details["warm_pool"])
    assert "batching" in evidence.details
    assert evidence.canonical()  # no NaN, no infinity anywhere


def test_the_file_of_latencies_recomputes_every_figure(
    whole: tuple[Evidence, Path, Bench],
) -> None:
    evidence, workdir, _ = whole
    artifact = evidence.outputs["latencies"]
    data = (workdir / artifact.name).read_bytes()
    assert digest_of(data) == artifact.digest
    assert len(data) == artifact.size_bytes
    again = recompute(data, (0.95,))
    assert again.measurements == evidence.measurements
    assert again.comparisons == evidence.comparisons
    assert [p.name for p in workdir.iterdir()] == [artifact.name]


def test_a_slower_candidate_fails_and_itself_passes(tmp_path: Path, bench: Bench) -> None:
    fast = str(write_chain(tmp_path / "fast.onnx", layers=4, width=256))
    slow = str(write_chain(tmp_path / "slow.onnx", layers=8, width=256))
    gate = {"metric": "latency_ms.p50", "compared_to": "baseline", "max_increase": "20%"}
    block = {"baseline": fast, "gates": [gate], **SHORT_EPOCHS}
    evidence, _ = bench.run(model=slow, **block)
    assert outcome(gate, evidence, block)[0] == "fail"
    evidence, _ = bench.run(model=fast, **block)
    assert outcome(gate, evidence, block)[0] == "pass"


def test_too_few_queries_are_inconclusive_and_say_how_many_are_missing(
    bench: Bench, model: str
) -> None:
    gate = {"metric": "latency_ms.p999", "max": "10s", "on_inconclusive": "warn"}
    scenarios = [{"kind": "single", "duration": "1ms"}]
    evidence, _ = bench.run(model=model, scenarios=scenarios, gates=[gate])
    strict = {**gate, "on_inconclusive": "extend"}
    assert outcome(strict, evidence, {"scenarios": scenarios})[0] == "inconclusive"
    row = next(m for m in evidence.measurements if m.name == "latency_ms.p999")
    assert row.bounds[0].high is None
    assert "more than there were" in row.because[0]


def test_an_open_gate_is_measured_longer_until_it_is_decided(bench: Bench, model: str) -> None:
    gate = {"metric": "latency_ms.p99", "max": "10s"}
    evidence, _ = bench.run(
        model=model, scenarios=[{"kind": "single", "duration": "1ms"}], gates=[gate]
    )
    assert "measuring longer: 1 gate undecided" in bench.news
    assert outcome(gate, evidence, {})[0] == "pass"


def test_a_gate_on_the_limit_stays_inconclusive_and_ends(bench: Bench, model: str) -> None:
    """No difference, and none allowed: no number of epochs decides it."""
    gate = {"metric": "latency_ms.p50", "compared_to": "baseline", "max_increase": "0%"}
    block = {"baseline": model, "gates": [gate], **SHORT_EPOCHS}
    begun = time.monotonic()
    evidence, _ = bench.run(model=model, **block)
    assert time.monotonic() - begun < 30
    row = next(c for c in evidence.comparisons if c.name == "latency_ms.p50")
    assert row.ratio[0].low is not None
    assert outcome(gate, evidence, block)[0] in ("inconclusive", "pass")


def test_out_of_time_is_no_value_and_a_reason(bench: Bench, model: str) -> None:
    evidence, _ = bench.run(
        model=model,
        baseline=model,
        time_limit="200ms",
        epochs=6,
        scenarios=[{"kind": "single", "duration": "5s"}, {"kind": "server"}],
    )
    rows = [m for m in evidence.measurements if m.name == "latency_ms.p50"]
    assert rows
    for row in rows:
        if row.value is None:
            assert "raise time_limit" in (row.reason or "")
    assert any(row.value is None for row in rows)
    gate = {"metric": "latency_ms.p50", "compared_to": "baseline", "max_increase": "5%"}
    assert outcome(gate, evidence, {})[0] == "error"


def test_a_server_that_falls_behind_is_no_measurement(bench: Bench, tmp_path: Path) -> None:
    slow = str(write_chain(tmp_path / "slow.onnx", layers=30, width=512))
    evidence, _ = bench.run(
        model=slow, scenarios=[{"kind": "server", "qps": 50_000, "duration": "100ms"}]
    )
    row = next(m for m in evidence.measurements if m.name == "latency_ms.p99")
    assert row.value is None
    assert "fell behind" in (row.reason or "")


def test_a_slow_models_ramp_ends_with_the_time_limit(bench: Bench, tmp_path: Path) -> None:
    slow = str(write_chain(tmp_path / "slow.onnx", layers=30, width=256, extra_axis="T"))
    begun = time.monotonic()
    evidence, _ = bench.run(
        model=slow,
        dims={"T": 512},
        time_limit="1s",
        price_usd_per_hour=1.0,
        scenarios=[{"kind": "ramp", "step": "2s", "rounds": 2}],
    )
    assert time.monotonic() - begun < 20
    for name in ("capacity.knee_qps", "cost_usd_per_million"):
        row = next(m for m in evidence.measurements if m.name == name)
        assert row.value is None
        assert "raise time_limit" in (row.reason or "")


def test_rows_of_a_dataset_are_the_queries(bench: Bench, tmp_path: Path, model: str) -> None:
    rows = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({f"f{i}": np.arange(9.0) for i in range(64)}), rows)
    evidence, _ = bench.run(
        model=model, dataset=str(rows), inputs={"x": {"columns": "f*"}}, **QUICK
    )
    assert evidence.inputs["dataset"] == digest_of(rows.read_bytes())
    with pytest.raises(StageError, match="matches 'x'"):
        bench.run(model=model, dataset=str(rows), **QUICK)


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        ({"name": "other"}, "the baseline has inputs other"),
        ({"dtype": 11}, "float64"),
        ({"extra_axis": 3}, "in the baseline"),
        ({"width": 32}, r"float32 \(N, 32\) in the baseline and float32 \(N, 64\) in the model"),
    ],
)
def test_a_baseline_with_other_inputs_is_an_error(
    bench: Bench, tmp_path: Path, model: str, theirs: dict[str, Any], says: str
) -> None:
    other = write_chain(tmp_path / "other.onnx", **theirs)
    with pytest.raises(StageError, match=says):
        bench.run(model=model, baseline=str(other), **SHORT_EPOCHS)


def test_bad_models_are_errors(bench: Bench, tmp_path: Path, model: str) -> None:
    with pytest.raises(StageError, match="there is no model"):
        bench.run(model=str(tmp_path / "none.onnx"), **QUICK)
    with pytest.raises(StageError, match="there is no baseline"):
        bench.run(model=model, baseline=str(tmp_path / "none.onnx"), **QUICK)
    poisoned = write_chain(tmp_path / "nan.onnx", poison=True)
    with pytest.raises(StageError, match="is NaN"):
        bench.run(model=str(poisoned), **QUICK)
    dynamic = write_chain(tmp_path / "dynamic.onnx", extra_axis="T")
    with pytest.raises(StageError, match="dynamic axis T without a size"):
        bench.run(model=str(dynamic), **QUICK)


def test_a_gpu_is_never_replaced_by_the_cpu(bench: Bench, model: str) -> None:
    for provider in ("cuda", "tensorrt"):
        with pytest.raises(StageError) as caught:
            bench.run(model=model, provider=provider, **QUICK)
        assert caught.value.hint


def test_evidence_holds_no_times_of_day_and_no_paths(whole: tuple[Evidence, Path, Bench]) -> None:
    evidence, workdir, _ = whole
    text = evidence.canonical().decode()
    assert str(workdir) not in text
    assert str(workdir.parent) not in text


def test_a_warm_pool_takes_the_traffic_of_the_end_of_a_start() -> None:
    assert warm_pool(1000, 0, 400, 5) == 3
    assert warm_pool(1000, 100, 400, 5) == 4
    assert warm_pool(1, 0, 400, 5) == 1
    with pytest.raises(ValueError, match="no traffic"):
        warm_pool(1, 0, 0, 5)


class Failing(Target):
    """A target whose query number `fails_at` fails on the device, in whatever it is run by."""

    fails_at = 0

    def prepare(self, batch: int = 1, path: Path | None = None) -> Prepared:
        prepared = super().prepare(batch, path)

        def run(binding: object, options: object) -> None:
            Failing.fails_at -= 1
            if Failing.fails_at == 0:
                raise ORT_ERRORS[1]("CUDA failure 700: an illegal memory access was encountered")
            prepared.run(binding, options)

        return Prepared(prepared.session, run, prepared.bindings, (prepared,))


def failing(at: int) -> Callable[[Job[Benchmark], Runtime], Target]:
    def aim(job: Job[Benchmark], runtime: Runtime) -> Target:
        Failing.fails_at = at
        return Failing(**vars(target_of(job, runtime)))

    return aim


GATES: list[dict[str, Any]] = [
    {"metric": "latency_ms.p50", "where": {"scenario": "single"}, "max": "10s"},
    {"metric": "latency_ms.p99", "where": {"scenario": "later"}, "max": "10s"},
    {
        "metric": "latency_ms.p50",
        "compared_to": "baseline",
        "where": {"scenario": "single"},
        "max_increase": "900%",
    },
    {"metric": "throughput_qps", "min": 1},
]


@pytest.mark.parametrize(
    ("at", "where", "kept"),
    [
        (400, "single: .*in the comparison, after 0 epochs", "single.compared.cut.baseline.wall"),
        (100_000, "single: .*after [0-9,]+ queries", "single.1.latency"),
    ],
)
def test_a_query_that_fails_loses_nothing_measured(
    bench: Bench, model: str, at: int, where: str, kept: str
) -> None:
    block: dict[str, Any] = {
        "baseline": model,
        "epochs": 6,
        "epoch": "30ms",
        "scenarios": [
            {"kind": "single", "duration": "5s"},
            {"kind": "single", "id": "later", "duration": "50ms"},
        ],
        "gates": GATES,
    }
    job = bench.job(model=model, **block)
    evidence = evidence_of(STAGE, job, measure(job, failing(at)))
    for gate in GATES:
        said, message = outcome(gate, evidence, block)
        assert said == "error"
        assert "CUDA failure 700" in message
        assert re.search(where, message), message
        assert "nothing was retried" in message
    assert all(row.value is None for row in evidence.measurements)
    assert all(row.value is None for row in evidence.comparisons)
    data = (job.workdir / evidence.outputs["latencies"].name).read_bytes()
    assert len(decode(data).series[kept]) > 20
    again = recompute(data, (0.95,))
    assert (again.measurements, again.comparisons) == (
        evidence.measurements,
        evidence.comparisons,
    )
    assert evidence.canonical()
    assert STAGE.figures(evidence) is not None


def test_a_ramp_that_fails_keeps_its_rates(bench: Bench, model: str) -> None:
    job = bench.job(
        model=model,
        scenarios=[{"kind": "single", "duration": "5ms"}, {"kind": "ramp", "step": "50ms"}],
        gates=[{"metric": "capacity.knee_qps", "min": 1}],
    )

    class Late(Failing):
        def prepare_workers(self, workers: int) -> list[Prepared]:
            Failing.fails_at = 20_000
            return [self.prepare() for _ in range(workers)]

    def aim(job: Job[Benchmark], runtime: Runtime) -> Target:
        Failing.fails_at = 0
        return Late(**vars(target_of(job, runtime)))

    evidence = evidence_of(STAGE, job, measure(job, aim))
    row = next(m for m in evidence.measurements if m.name == "capacity.knee_qps")
    assert row.value is None
    assert re.search(r"ramp: .*CUDA failure 700.*, after \d+ rates", row.reason or "")
    data = (job.workdir / evidence.outputs["latencies"].name).read_bytes()
    assert len(decode(data).series["single.1.latency"]) >= 3


def test_a_first_query_that_fails_is_an_error(bench: Bench, model: str) -> None:
    with pytest.raises(StageError, match="single: a query failed"):
        measure(bench.job(model=model, **QUICK), failing(1))


@pytest.mark.parametrize(("threads", "undisturbed"), [(1, True), (2, False)])
def test_a_ramp_takes_other_work_out_where_a_querys_own_time_is_known(
    bench: Bench, model: str, threads: int, undisturbed: bool
) -> None:
    ramp = {"kind": "ramp", "rounds": 2, "step": "40ms", "factor": 2, "overload": False}
    evidence, workdir = bench.run(model=model, threads=threads, scenarios=[ramp])
    data = (workdir / evidence.outputs["latencies"].name).read_bytes()
    facts: Any = decode(data).facts["ramp"]
    assert facts["undisturbed"] is undisturbed
    assert all(step["seen"] > 0 for step in facts["steps"])


def test_b9_memory_is_that_of_the_largest_load(bench: Bench, tmp_path: Path) -> None:
    """Rows of 512 numbers through wide layers: a batch of 256 needs what one row does not."""
    model = str(write_chain(tmp_path / "wide.onnx", layers=2, width=2048))
    cold: dict[str, Any] = {"kind": "cold_start", "spawns": 1}
    one, _ = bench.run(model=model, scenarios=[cold])
    many: dict[str, Any] = {"kind": "batch", "sizes": [2048], "duration": "10ms"}
    most, _ = bench.run(model=model, scenarios=[cold, many])
    # An input and an answer of 2,048 × 2,048 float32 are 17 MB each.
    assert value(most, "rss_bytes") > value(one, "rss_bytes") + 20e6


def test_b10_every_single_that_a_gate_compares_is_compared(bench: Bench, model: str) -> None:
    gate = {
        "metric": "latency_ms.p50",
        "compared_to": "baseline",
        "where": {"scenario": "eight"},
        "max_increase": "900%",
    }
    evidence, _ = bench.run(
        model=model,
        baseline=model,
        epochs=6,
        epoch="30ms",
        gates=[gate],
        scenarios=[
            {"kind": "single", "duration": "20ms"},
            {"kind": "single", "id": "eight", "batch": 8, "duration": "20ms"},
        ],
    )
    assert {c.labels["scenario"] for c in evidence.comparisons} == {"eight"}
    assert outcome(gate, evidence, {})[0] == "pass"


def test_b21_an_open_loop_has_the_workers_of_the_ramp(bench: Bench, model: str) -> None:
    evidence, _ = bench.run(
        model=model,
        scenarios=[
            {"kind": "ramp", "rounds": 2, "step": "40ms", "workers": 2, "overload": False},
            {"kind": "server", "qps": 50, "duration": "50ms"},
            {"kind": "burst", "qps": 50, "duration": "50ms", "workers": 3},
        ],
    )
    loads: Any = evidence.details["loads"]
    assert {load["id"]: load["workers"] for load in loads} == {"server": 2, "burst": 3}
