"""Models whose weights lie outside: built the same, and quantized though no protobuf holds them."""

import multiprocessing
import resource
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlgate.errors import StageError
from mlgate.stages.quantize import graph
from mlgate.stages.quantize.calibrate import calibrate
from mlgate.stages.quantize.candidates import Candidate, CandidateBuilder
from mlgate.stages.quantize.prepare import prepare
from tests.stages.quantize.jobs import quantize
from tests.stages.quantize.models import convolutional, inputs, model_of, run

WIDE, ROWS = 1024, 270_000


def weights_beside(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """The graph of a model whose weights now lie in a file of the folder."""
    file = str(folder / "m.onnx")
    onnx.save(model, file, save_as_external_data=True, location="m.data", size_threshold=0)
    return onnx.load(file, load_external_data=False)


@pytest.mark.parametrize("scheme", ["int8-qdq", "int8-qdq-per-tensor", "int8-weight-dq", "fp16"])
def test_weights_outside_make_no_difference(scheme: str, tmp_path: Path) -> None:
    inside = graph.named(convolutional(filters=32))
    outside = weights_beside(inside, tmp_path)
    onnx.load_external_data_for_model(inside, str(tmp_path))  # saving has put them out
    assert graph.weights_outside(outside)
    assert not graph.weights_outside(inside)
    x = inputs(64, (1, 6, 6), seed=1)
    candidate = Candidate(scheme, "minmax")  # type: ignore[arg-type]
    answers = []
    for model, folder in ((inside, None), (outside, tmp_path)):
        seen = calibrate(model, [{"x": x}], folder=folder)
        builder = CandidateBuilder(model, seen, (), "cpu", False, tmp_path, folder)
        answers.append(run(builder.build(candidate), x))
    np.testing.assert_array_equal(answers[0], answers[1])


def test_a_large_model_of_an_old_opset_is_refused(tmp_path: Path) -> None:
    model = convolutional(opset=11)
    outside = weights_beside(model, tmp_path)
    with pytest.raises(StageError, match="opset 11"):
        prepare(outside, ("preprocess",), {"x": inputs(1, (1, 6, 6), seed=0)}, tmp_path)


def write_large(folder: Path) -> None:
    """Two tables of 1.1 GB, nearly all of them zeros that take no room on disk; x is an index."""
    rng = np.random.default_rng(0)
    size = ROWS * WIDE * 4
    head = rng.normal(0, 0.1, (WIDE, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table0", "x"], ["a"], name="first"),
        helper.make_node("Gather", ["table1", "x"], ["b"], name="second"),
        helper.make_node("Add", ["a", "b"], ["s"], name="sum"),
        helper.make_node("MatMul", ["s", "w"], ["scores"], name="head"),
    ]
    model = model_of(nodes, {}, ["N"], 4)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    model.graph.initializer.append(numpy_helper.from_array(head, "w"))
    tables = []
    with (folder / "weights.bin").open("wb") as file:
        for number in (0, 1):
            file.seek(number * size)
            tables.append(rng.normal(size=(100, WIDE)).astype(np.float32))
            file.write(tables[-1].tobytes())
            tensor = TensorProto(
                name=f"table{number}", data_type=TensorProto.FLOAT, dims=[ROWS, WIDE]
            )
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": "weights.bin", "offset": number * size, "length": size}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            model.graph.initializer.append(tensor)
        file.truncate(2 * size)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    x = np.arange(100)
    y = ((tables[0] + tables[1]) @ head).argmax(axis=1)
    np.savez(folder / "c.npz", x=x[:30], y=y[:30])
    np.savez(folder / "e.npz", x=x[30:], y=y[30:])


def quantized(folder: Path) -> tuple[dict[str, int], int]:
    """(sizes of the outputs, peak resident bytes) in a process of its own."""
    options = {
        "model": str(folder / "model.onnx"),
        "calibration": str(folder / "c.npz"),
        "evaluation": {"dataset": str(folder / "e.npz"), "label": "y"},
        "gates": [{"metric": "agreement", "min": 0.9}, {"metric": "size_ratio", "max": 0.26}],
    }
    evidence = quantize(options, folder / "work")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {name: output.size_bytes for name, output in evidence.outputs.items()}, peak


@pytest.mark.slow
def test_a_model_over_two_gibibytes_is_quantized_within_eight(tmp_path: Path) -> None:
    write_large(tmp_path)
    assert graph.size_on_disk(tmp_path / "model.onnx") > 2**31
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        outputs, peak = pool.apply(quantized, (tmp_path,))
    assert set(outputs) == {"model"}
    assert outputs["model"] < 0.6e9
    assert peak < 8 * 2**30
