"""The declaration and options: defaults that work, and combinations that cannot."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mlgate.errors import MissingPackage
from mlgate.quantity import seconds
from mlgate.stage import Job
from mlgate.stages.benchmark import STAGE
from mlgate.stages.benchmark.spec import Benchmark, shortest


def options(**given: Any) -> Benchmark:
    block = {"uses": "benchmark", "model": "m.onnx", **given}
    return Benchmark.model_validate_json(json.dumps(block))


def test_the_shortest_block_works() -> None:
    plain = options()
    assert list(STAGE.conflicts(plain)) == []
    assert {scenario.kind for scenario in plain.scenarios} == {
        "single",
        "ramp",
        "server",
        "cold_start",
    }
    assert shortest(plain) < seconds(plain.time_limit)


def test_declaring_loads_nothing_heavy() -> None:
    code = (
        "import sys, mlgate.stages.benchmark as b; b.STAGE.summary; "
        "sys.exit(any(m in sys.modules for m in ('numpy', 'onnxruntime', 'onnx', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "block",
    [
        {"provider": "rocm"},
        {"epochs": 3},
        {"epochs": 4},
        {"epochs": 7},
        {"time_limit": "0s"},
        {"time_limit": "-3s"},
        {"epoch": "fast"},
        {"dims": {"N": 0}},
        {"price_usd_per_hour": 0},
        {"utilisation": 1.5},
        {"scenarios": []},
        {"scenarios": [{"kind": "singel"}]},
        {"scenarios": [{"kind": "single", "duration": "0s"}]},
        {"scenarios": [{"kind": "single"}, {"kind": "single"}]},
        {"scenarios": [{"kind": "ramp"}, {"kind": "ramp", "id": "again"}]},
        {"scenarios": [{"kind": "server", "qps": -1}]},
        {"scenarios": [{"kind": "batch", "sizes": [0]}]},
        {"scenarios": [{"kind": "ramp", "factor": 1}]},
        {"scenarios": [{"kind": "single", "id": "a/b"}]},
        {"slo": {"latency": "20"}},
        {"surprise": 1},
    ],
)
def test_wrong_options_are_refused(block: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        options(**block)


@pytest.mark.parametrize(
    ("block", "path", "says"),
    [
        ({"time_limit": "1s"}, ("time_limit",), "shortest run"),
        ({"timeout": "30s"}, ("timeout",), "before its time_limit"),
        (
            {"gates": [{"metric": "cost_usd_per_million", "max": 1}]},
            ("gates", 0, "metric"),
            "price",
        ),
        (
            {"gates": [{"metric": "latency_ms.p50", "compared_to": "baseline", "max_increase": 1}]},
            ("gates", 0, "metric"),
            "no baseline",
        ),
        (
            {"gates": [{"metric": "gpu.utilization", "min": 0.5}]},
            ("gates", 0, "metric"),
            "not measured on the CPU",
        ),
        (
            {
                "scenarios": [{"kind": "single"}],
                "gates": [{"metric": "capacity.knee_qps", "min": 5}],
            },
            ("gates", 0, "metric"),
            "needs a ramp",
        ),
        (
            {"gates": [{"metric": "latency_ms.p99", "where": {"scenario": "sinlge"}, "max": 5}]},
            ("gates", 0, "where"),
            "no scenario sinlge",
        ),
        ({"baseline": "b.onnx", "scenarios": [{"kind": "ramp"}]}, ("baseline",), "single"),
        ({"cuda_graph": True}, ("cuda_graph",), "no CUDA graphs"),
        ({"max_fallback_nodes": 2}, ("max_fallback_nodes",), "every node"),
    ],
)
def test_combinations_that_cannot_work_are_flaws(
    block: dict[str, Any], path: tuple[str | int, ...], says: str
) -> None:
    found = list(STAGE.conflicts(options(**block)))
    assert [flaw[0] for flaw in found] == [path]
    assert says in found[0][1]


def test_every_duration_counts_towards_the_shortest_run() -> None:
    plain = shortest(options())
    compared = shortest(options(baseline="b.onnx"))
    assert compared == pytest.approx(plain + 8 * 0.35)
    swept = options(scenarios=[{"kind": "batch", "sizes": [1, 2], "duration": "2s"}])
    assert shortest(swept) == 4.0


@pytest.mark.parametrize(("provider", "extra"), [("cpu", "cpu"), ("tensorrt", "gpu")])
def test_without_onnxruntime_the_extra_to_install_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, provider: str, extra: str
) -> None:
    for name in [n for n in sys.modules if n.startswith("mlgate.stages.benchmark.")]:
        if name.rsplit(".", 1)[1] not in ("spec", "figures", "notes"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackage, match="onnxruntime is not installed") as caught:
        STAGE.measure(Job("latency", options(provider=provider), tmp_path))
    assert caught.value.hint == f"pip install 'mlgate[{extra}]'"
