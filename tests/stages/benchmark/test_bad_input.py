"""Bad input through the command line: every case is one clear error at its place, and exit 3 or 2."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.projects import mlgate, stages
from tests.stages.benchmark.onnx_models import write_chain

SHORT = [{"kind": "single", "duration": "50ms"}]
# What is wrong, the block, what is said, and the hint.
MEASURED: dict[str, tuple[dict[str, Any], str, str]] = {
    "gpu": (
        {"provider": "cuda"},
        "CUDAExecutionProvider",
        "mlgate[gpu]",
    ),
    "dynamic": ({"model": "dynamic.onnx"}, "dynamic axis T without a size", "add dims: {T: 128}"),
    "no-such-axis": ({"dims": {"TT": 3}}, "no dynamic axis TT", "its dynamic axes are N"),
    "batch-axis": ({"dims": {"N": 128}}, "N is the first axis", "sizes: [128]"),
    "no-such-input": (
        {"inputs": {"q": {"synthetic": "zeros", "shape": [1, 64]}}},
        "the model has no input q",
        "its inputs are x",
    ),
    "dtype": ({"inputs": {"x": {"npz": "double.npz"}}}, "wants float32, and is given", "dtype"),
    "nan": ({"model": "nan.onnx"}, "nan.onnx: output h1 is NaN", "give real rows"),
    "nan-baseline": ({"baseline": "nan.onnx"}, "nan.onnx: output h1 is NaN", "give real rows"),
    "external": ({"model": "external.onnx"}, "which does not exist", "beside"),
    "no-model": ({"model": "junk.onnx"}, "junk.onnx cannot be loaded", "valid ONNX file"),
    "baseline": ({"baseline": "named.onnx"}, "the baseline has inputs z, the model x", "compare"),
    "baseline-width": ({"baseline": "narrow.onnx"}, "float32 (N, 32) in the baseline", "compare"),
    "text": ({"dataset": "rows.csv"}, "the columns give 1", "shape"),
}
WRITTEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "provider": ({"provider": "rocm"}, "'rocm' is not known", "provider"),
    "b13": ({"provider": "gpu"}, "'gpu' is not known", "provider"),
    "b10": (
        {"gates": [{"metric": "latency_ms.p50", "where": {"batch": 8}, "max": "1s"}]},
        "no batch of 8 is measured",
        "where",
    ),
    "b10-load": (
        {"scenarios": [{"kind": "cold_start"}]},
        "no scenario measures latency_ms.p50",
        "metric",
    ),
    "b10-phase": (
        {
            "scenarios": [{"kind": "cold_start"}],
            "gates": [{"metric": "cold_start_ms", "where": {"phase": "all"}, "max": "9s"}],
        },
        "there is no phase all",
        "where",
    ),
    "b11": (
        {"gates": [{"metric": "latency_ms.p99_unpreempted", "max": "1s"}]},
        "latency_ms.p99_unpreempted is measured beside a baseline",
        "metric",
    ),
    "b11-threads": (
        {
            "baseline": "ok.onnx",
            "threads": 2,
            "gates": [{"metric": "latency_ms.p99_unpreempted", "max": "1s"}],
        },
        "known of one thread",
        "metric",
    ),
    "b8": (
        {
            "price_usd_per_hour": 1.0,
            "scenarios": [{"kind": "server", "qps": 10}],
            "gates": [{"metric": "cost_usd_per_million", "max": 1}],
        },
        "the rate that was offered",
        "metric",
    ),
    "zero": (
        {"scenarios": [{"kind": "single", "duration": "0s"}]},
        "'0s' is not a dur",
        "duration",
    ),
    "kind": ({"scenarios": [{"kind": "singel"}]}, "kind: 'singel' is not known", "singel"),
    "no-kind": ({"scenarios": [{"id": "x"}]}, "kind is missing", "{"),
    "key": ({"scenarios": [{"kind": "batch", "size": 8}]}, "unknown key 'size'", "size"),
    "negative": ({"epoch": "-3s"}, "'-3s' is not a duration", "epoch"),
    "limit": ({"time_limit": "10ms"}, "the shortest run takes", "time_limit"),
    "options": ({"provider_options": {"a": 1}}, "has no options", "provider_options"),
    "anchor": (
        {
            "anchor": "a.onnx",
            "scenarios": [{"kind": "cold_start"}],
            "gates": [{"metric": "rss_bytes", "max": "9GB"}],
        },
        "needs a single scenario",
        "anchor",
    ),
}


def block(given: Mapping[str, Any]) -> dict[str, Any]:
    gates = [{"metric": "latency_ms.p50", "max": "1h"}]
    return {"uses": "benchmark", "model": "ok.onnx", "scenarios": SHORT, "gates": gates, **given}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, Any]], str]:
    """One check of a spec whose stages are all wrong; and what it printed for people."""
    folder = tmp_path_factory.mktemp("bad")
    write_chain(folder / "ok.onnx")
    write_chain(folder / "dynamic.onnx", extra_axis="T")
    write_chain(folder / "nan.onnx", poison=True)
    write_chain(folder / "named.onnx", name="z")
    write_chain(folder / "narrow.onnx", width=32)
    external = write_chain(folder / "external.onnx")
    whole = onnx.load(external)
    options: dict[str, Any] = {"location": "external.onnx.data", "size_threshold": 0}
    onnx.save(whole, str(external), save_as_external_data=True, **options)
    (folder / "external.onnx.data").unlink()
    (folder / "junk.onnx").write_bytes(b"nothing")
    np.savez(folder / "double.npz", x=np.ones((4, 64)))
    (folder / "rows.csv").write_text("x\nmany\n")
    text = stages(**{name: block(given) for name, (given, _, _) in MEASURED.items()})
    (folder / "mlgate.yaml").write_text(text)
    done = mlgate("check", "--format", "json", cwd=folder)
    assert done.returncode == 3, done.stderr
    return {row["id"]: row for row in json.loads(done.stdout)["stages"]}, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_what_cannot_be_measured_is_an_error_with_a_hint(
    told: tuple[dict[str, dict[str, Any]], str], name: str
) -> None:
    _, says, hint = MEASURED[name]
    row = told[0][name]
    assert row["outcome"] == "error"
    assert says in row["reason"]
    assert hint in row["hint"]
    assert "Traceback" not in told[1]


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_wrong_as_written_is_told_at_its_line_and_alone(tmp_path: Path, name: str) -> None:
    given, says, key = WRITTEN[name]
    (tmp_path / "mlgate.yaml").write_text(stages(latency=block(given)))
    done = mlgate("lint", "--format", "json", cwd=tmp_path)
    problems = json.loads(done.stdout)["problems"]
    assert done.returncode == 2
    lines = (tmp_path / "mlgate.yaml").read_text().splitlines()
    (problem,) = problems
    assert says in problem["message"]
    assert key in lines[problem["line"] - 1]
