"""Options: what is refused when they are read, and what lint says about them."""

from typing import Any

import pytest
from pydantic import ValidationError

from mlgate.stage import inputs_of
from mlgate.stages.quantize import STAGE
from mlgate.stages.quantize.spec import Quantize

GOOD: dict[str, Any] = {
    "model": "m.onnx",
    "calibration": "c.parquet",
    "evaluation": {"dataset": "e.parquet", "label": "y"},
}


def parsed(**changes: object) -> Quantize:
    return Quantize.model_validate({**GOOD, **changes}, strict=False)


def conflicts(**changes: object) -> list[str]:
    return [message for _, message, _ in STAGE.conflicts(parsed(**changes))]


def test_defaults() -> None:
    options = parsed()
    assert options.evaluation is not None
    assert options.evaluation.confirm == 0.75
    assert not options.wants_latency
    assert conflicts() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"model": None},
        {"calibration": None},
        {"vectors": {"matrix": "m.npy", "queries": "q.npy"}},
        {"schemes": ["int3"]},
        {"batch_size": 0},
        {"unknown": 1},
        {"metrics": {"m": {"command": []}}},
    ],
)
def test_refused_when_read(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        parsed(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"evaluation": {"dataset": "e", "label": "y", "confirm": 1}}, "no rows to search on"),
        ({"evaluation": "e.parquet"}, "needs a label"),
        ({"task": "regression", "cascade": {}}, "a cascade needs class scores"),
        ({"schemes": ["fp16", "fp16"]}, "listed twice"),
        ({"gates": [{"metric": "custom.x", "min": 1}]}, "not declared"),
    ],
)
def test_flaws(changes: dict[str, object], said: str) -> None:
    assert any(said in message for message in conflicts(**changes))


def test_agreement_alone_needs_no_label() -> None:
    unlabelled = {"evaluation": "e.parquet", "gates": [{"metric": "agreement", "min": 0.9}]}
    assert conflicts(**unlabelled) == []
    unlabelled["gates"] = [{"metric": "accuracy", "min": 0.9}]
    assert any("needs a label" in message for message in conflicts(**unlabelled))


def test_a_latency_gate_turns_latency_on() -> None:
    gate = {"metric": "latency_ms.p50", "compared_to": "source", "max_increase": "0%"}
    assert parsed(gates=[gate]).wants_latency


def test_q27_a_program_beside_the_spec_is_an_input() -> None:
    spec = {
        "model": "m",
        "calibration": "c",
        "evaluation": {"dataset": "e", "label": "y"},
        "metrics": {"near": {"command": ["./score", "--wer"]}, "installed": {"command": ["wer"]}},
    }
    options = Quantize.model_validate(spec, strict=False)
    paths = [value.path for _, value in inputs_of(options)]
    assert "./score" in paths
    assert "wer" not in paths
