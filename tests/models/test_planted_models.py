"""The planted models hold the one fault that a gate has to find, and no other."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest

HERE = Path(__file__).parent
DIGITS = HERE.parents[1] / "templates" / "digits"
SLOWER, HOSTILE = HERE / "slower_digits.onnx", HERE / "hostile_digits.onnx"


def logits(model: Path) -> tuple[np.ndarray, np.ndarray]:
    """Logits for the holdout images, and the true digits."""
    table = pq.read_table(DIGITS / "data" / "holdout.parquet")
    pixels = [table[name].to_numpy() for name in table.column_names if name != "digit"]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    images = np.stack(pixels, axis=1).reshape(-1, 1, 8, 8)
    return session.run(["logits"], {"image": images})[0], table["digit"].to_numpy()


def products(model: Path) -> int:
    """Multiplications of all convolutions for one image: what the model costs."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(model)).graph
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in graph.value_info
    }
    weights = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    return sum(
        weights[node.input[1]] * int(np.prod(sizes[node.output[0]][2:]))
        for node in graph.node
        if node.op_type == "Conv"
    )


@pytest.mark.parametrize("model", [SLOWER, HOSTILE], ids=lambda model: model.stem)
def test_a_planted_model_is_small_and_whole(model: Path) -> None:
    assert model.stat().st_size < 300_000
    loaded = onnx.load(model, load_external_data=False)
    onnx.checker.check_model(loaded, full_check=True)
    assert not any(node.doc_string or node.metadata_props for node in loaded.graph.node)


def test_the_slower_model_answers_as_the_digits_model_does() -> None:
    slower, _ = logits(SLOWER)
    original, _ = logits(DIGITS / "models" / "digits.onnx")
    assert np.array_equal(slower.argmax(axis=1), original.argmax(axis=1))
    assert np.allclose(slower, original, atol=1e-5)


def test_the_slower_model_multiplies_more_than_twice_as_much() -> None:
    assert products(SLOWER) > 2 * products(DIGITS / "models" / "digits.onnx")


def test_the_hostile_model_reads_digits_well() -> None:
    answers, labels = logits(HOSTILE)
    assert float((answers.argmax(axis=1) == labels).mean()) >= 0.97


def test_the_hostile_models_channels_differ_a_thousandfold() -> None:
    """What one int8 scale for a whole activation tensor cannot hold."""
    graph = onnx.load(HOSTILE).graph
    last = [node for node in graph.node if node.op_type == "Conv"][-1]
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    largest = np.abs(tensors[last.input[1]]).max(axis=(1, 2, 3))
    assert largest.max() / largest.min() > 1000
