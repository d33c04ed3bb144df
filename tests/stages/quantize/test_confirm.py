"""After the one that was not proved: a second choice; a cascade's promise; a model of one's own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import quantize_dynamic
from pydantic import ValidationError

from mlgate.errors import StageError
from mlgate.stages.quantize import STAGE
from mlgate.stages.quantize.spec import Quantize
from mlgate.stages.quantize.vector_codes import read_codes
from tests.projects import evidence_of
from tests.stages.quantize.cases import SMALLER, drop, labelled, mlp, project, rows
from tests.stages.quantize.jobs import job_of
from tests.stages.quantize.jobs import quantize as measured


def quantize(options: dict[str, Any], workdir: Path) -> Any:
    """Evidence, whose details tests look into."""
    return measured(options, workdir)


def shares(evidence: Any) -> list[float]:
    return [entry["share"] for entry in evidence.details["confirmed"]]


def test_q18_a_second_candidate_meets_the_rows_with_what_is_left_of_the_error(
    tmp_path: Path,
) -> None:
    model = mlp()
    options = project(
        tmp_path,
        model,
        labelled(model, 150, 1),
        labelled(model, 1600, 2),
        gates=[drop(0.012), SMALLER],
    )
    evidence = quantize(options, tmp_path / "w")
    assert "model" in evidence.outputs
    assert evidence.details["winner"] != evidence.details["confirmed"][0]["name"]
    assert sum(shares(evidence)) <= 1
    assert len(shares(evidence)) > 1


def test_a_single_scheme_has_the_whole_error(tmp_path: Path) -> None:
    model = mlp()
    data = labelled(model, 150, 1), labelled(model, 800, 2)
    evidence = quantize(project(tmp_path, model, *data, schemes=["fp16"]), tmp_path / "w")
    assert shares(evidence) == [1.0]


def test_q19_vectors_have_a_second_choice(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    centres = rng.normal(0, 1, (40, 32))
    for name, count in (("matrix", 2000), ("queries", 400)):
        vectors = centres[rng.integers(0, 40, count)] + rng.normal(0, 0.5, (count, 32))
        np.save(tmp_path / f"{name}.npy", vectors.astype(np.float32))
    evidence = quantize(
        {
            "vectors": {
                "matrix": str(tmp_path / "matrix.npy"),
                "queries": str(tmp_path / "queries.npy"),
            },
            "gates": [
                {"metric": "recall_at_k", "min": 0.893},
                {"metric": "size_ratio", "max": 0.5},
            ],
        },
        tmp_path / "w",
    )
    assert "index" in evidence.outputs
    assert len(shares(evidence)) == 2


def test_q28_an_index_is_read_by_its_path(tmp_path: Path) -> None:
    vectors = rows(300, 1)
    np.save(tmp_path / "v.npy", vectors)
    np.save(tmp_path / "q.npy", rows(200, 2))
    evidence = quantize(
        {
            "vectors": {"matrix": str(tmp_path / "v.npy"), "queries": str(tmp_path / "q.npy")},
            "gates": [{"metric": "recall_at_k", "min": 0.1}],
        },
        tmp_path / "w",
    )
    assert read_codes(tmp_path / "w" / evidence.outputs["index"].name).decode().shape == (300, 16)
    (tmp_path / "no.npz").write_bytes(b"PK no")
    with pytest.raises(StageError, match=r"no\.npz holds no codes"):
        read_codes(tmp_path / "no.npz")


def test_q15_a_cascade_that_is_not_proved_is_not_handed_on(tmp_path: Path) -> None:
    model = mlp()
    options = project(
        tmp_path,
        model,
        labelled(model, 150, 1),
        labelled(model, 800, 2),
        gates=[drop(0.05)],
        schemes=["int8-qdq"],
        cascade={"max_drop": 0.005},
    )
    evidence = quantize(options, tmp_path / "w")
    assert set(evidence.outputs) == {"best_effort"}
    assert "cascade.accuracy" in str(evidence.details["refused"])


def test_what_a_cascade_promises_is_a_gate_unless_there_is_one() -> None:
    base = {"model": "m", "calibration": "c", "evaluation": {"dataset": "e", "label": "y"}}
    asked = Quantize.model_validate({**base, "cascade": {"max_drop": 0.02}}, strict=False)
    assert [(g.metric, g.max_drop) for g in asked.gates] == [("cascade.accuracy", 0.02)]
    own = {"metric": "cascade.accuracy", "min": 0.9}
    asked = Quantize.model_validate(
        {**base, "cascade": {"max_drop": 0.02}, "gates": [own]}, strict=False
    )
    assert len(asked.gates) == 1


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Any]:
    """A project with a candidate of one's own: the source, quantized dynamically."""
    model = mlp()
    data = labelled(model, 150, 1), labelled(model, 800, 2)
    options = project(tmp_path, model, *data, gates=[drop(0.05)])
    quantize_dynamic(str(tmp_path / "model.onnx"), str(tmp_path / "own.onnx"))
    return {**options, "candidate": str(tmp_path / "own.onnx")}


def test_a_candidate_of_ones_own_is_judged_by_the_same_gates(
    own: dict[str, Any], tmp_path: Path
) -> None:
    del own["calibration"]
    evidence = quantize(own, tmp_path / "w")
    made = evidence.outputs["model"]
    assert (tmp_path / "w" / made.name).read_bytes() == (tmp_path / "own.onnx").read_bytes()
    assert evidence.details["winner"] == "given own.onnx"
    assert "candidate" in evidence.inputs
    passes = [m.value for m in evidence.measurements if m.name == "calibration_passes"]
    assert passes == [0]


def test_a_candidate_that_loses_is_refused(own: dict[str, Any], tmp_path: Path) -> None:
    _spoil(own["candidate"])
    evidence = quantize(own, tmp_path / "w")
    assert set(evidence.outputs) == {"best_effort"}
    assert "fail: accuracy" in str(evidence.details["refused"])


def test_with_schemes_it_is_one_more_entry(own: dict[str, Any], tmp_path: Path) -> None:
    _spoil(own["candidate"])
    evidence = quantize({**own, "schemes": ["int8-qdq"]}, tmp_path / "w")
    names = [entry["name"] for entry in evidence.details["candidates"]]
    assert names == ["given own.onnx", "int8-qdq minmax"]
    assert "model" in evidence.outputs


def _spoil(path: str) -> None:
    """Halve the weights of the last layer's first class, in int8."""
    model = onnx.load(path)
    (weight,) = (t for t in model.graph.initializer if t.name.startswith("W2") and len(t.dims) == 2)
    values = onnx.numpy_helper.to_array(weight).copy()
    values[:, 0] //= 2
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, path)


def test_a_candidate_takes_what_the_source_takes(own: dict[str, Any], tmp_path: Path) -> None:
    other = onnx.load(own["candidate"])
    for node in other.graph.node:
        for place, name in enumerate(node.input):
            if name == "x":
                node.input[place] = "image"
    other.graph.input[0].name = "image"
    onnx.save(other, own["candidate"])
    with pytest.raises(StageError, match=r"takes image \(float32\), the source x \(float32\)"):
        quantize(own, tmp_path / "w")


def test_a_search_needs_calibration_and_a_judgement_none() -> None:
    base = {"model": "m", "evaluation": {"dataset": "e", "label": "y"}}
    Quantize.model_validate({**base, "candidate": "n"}, strict=False)
    with pytest.raises(ValidationError, match="needs calibration"):
        Quantize.model_validate({**base, "candidate": "n", "schemes": ["fp16"]}, strict=False)


def test_q20_rows_that_have_decided_before_are_named(tmp_path: Path) -> None:
    model = mlp()
    options = project(
        tmp_path,
        model,
        labelled(model, 150, 1),
        labelled(model, 800, 2),
        gates=[drop(0.05)],
        schemes=["fp16"],
    )
    first = quantize(options, tmp_path / "a")
    assert "looked_again" not in first.details
    (tmp_path / "first.json").write_bytes(first.canonical())
    job = job_of(options, tmp_path / "b")
    job = replace(job, earlier=(tmp_path / "first.json", tmp_path / "gone.json"))
    assert (
        "looked_again" not in evidence_of(STAGE, job).details
    )  # the same rows: nothing new was seen
    options["evaluation"]["seed"] = 1
    job = replace(job_of(options, tmp_path / "c"), earlier=(tmp_path / "first.json",))
    found = evidence_of(STAGE, job)
    assert found.details["looked_again"]["times"] == 1  # type: ignore[index,call-overload]
    (note,) = STAGE.advice(found)
    assert "1 time(s) before" in note.text
