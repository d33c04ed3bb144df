"""Tiny ONNX models with random weights, and data whose labels they answer (nearly) rightly."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper


def save(path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, str(path))
    return path


def model_of(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    shape: list[str | int | None],
    classes: int | None = 10,
    *,
    opset: int = 17,
    output_shape: list[str | int | None] | None = None,
    extra_outputs: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """A model from `x` to `scores`."""
    floats = TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info("scores", floats, output_shape or ["N", classes])]
    outputs += [helper.make_tensor_value_info(name, floats, None) for name in extra_outputs]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", floats, shape)],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def convolutional(
    *,
    seed: int = 0,
    spread: float = 0.0,
    opset: int = 17,
    batch: str | int = "N",
    side: int = 6,
    classes: int = 4,
    filters: int = 8,
) -> onnx.ModelProto:
    """Conv → Relu → Conv → Relu → mean → Gemm; `spread` scales channels apart, same function."""
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.normal(0, spread, filters)).astype(np.float32)
    w1 = rng.normal(0, 0.6, (filters, 1, 3, 3)).astype(np.float32)
    w2 = rng.normal(0, 0.4, (filters, filters, 3, 3)).astype(np.float32)
    b1 = rng.normal(0, 0.3, filters).astype(np.float32)
    weights = {
        "w1": w1 * scale[:, None, None, None],
        "b1": b1 * scale,
        "w2": w2 / scale[None, :, None, None],
        "b2": rng.normal(0, 0.3, filters).astype(np.float32),
        "w3": rng.normal(0, 1, (classes, filters)).astype(np.float32),
        "b3": np.zeros(classes, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="first_relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="second", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], name="second_relu"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["scores"], name="head", transB=1),
    ]
    return model_of(nodes, weights, [batch, 1, side, side], classes, opset=opset)


def transformer_block(*, seed: int = 0, outliers: float = 1.0) -> onnx.ModelProto:
    """LayerNormalization → MatMul → Relu → MatMul → mean over tokens; gammas with outliers."""
    rng = np.random.default_rng(seed)
    wide, tokens, classes = 16, 4, 4
    factor = np.ones(wide, np.float32)
    factor[:2] = outliers
    weights = {
        "gamma": factor,
        "beta": rng.normal(0, 0.1, wide).astype(np.float32) * factor,
        "w1": rng.normal(0, 0.3, (wide, 32)).astype(np.float32) / factor[:, None],
        "b1": rng.normal(0, 0.1, 32).astype(np.float32),
        "w2": rng.normal(0, 0.3, (32, classes)).astype(np.float32),
    }
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gamma", "beta"], ["n"], name="norm"),
        helper.make_node("MatMul", ["n", "w1"], ["m1"], name="up"),
        helper.make_node("Add", ["m1", "b1"], ["a1"], name="up_bias"),
        helper.make_node("Relu", ["a1"], ["r1"], name="relu"),
        helper.make_node("MatMul", ["r1", "w2"], ["m2"], name="down"),
        helper.make_node("ReduceMean", ["m2"], ["scores"], name="mean", axes=[1], keepdims=0),
    ]
    return model_of(nodes, weights, ["N", tokens, wide], classes)


def run(model: onnx.ModelProto | bytes, x: np.ndarray) -> np.ndarray:
    """The first output for `x`."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    values: np.ndarray = session.run(None, {"x": x})[0]
    return values


def inputs(count: int, shape: tuple[int, ...], *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *shape), dtype=np.float32)


def write_rows(path: Path, model: onnx.ModelProto, count: int, *, seed: int) -> Path:
    """`x` and `y` as .npz: random inputs, and the model's own answers as labels.

    Samples that the model is unsure about are left out, so that rounding rarely changes answers.
    """
    shape = tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:])
    x = inputs(count * 3, shape, seed=seed)
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    scores = (
        np.concatenate([run(model, x[i : i + 1]) for i in range(len(x))])
        if fixed
        else run(model, x)
    )
    # Each class scores about equally well: otherwise one class would win everywhere.
    ranked = np.sort(scores, axis=1)
    sure = ranked[:, -1] - ranked[:, -2]
    keep = np.sort(np.argsort(-sure, kind="stable")[:count])
    np.savez(path, x=x[keep], y=scores[keep].argmax(axis=1).astype(np.int64))
    return path


def balanced(model: onnx.ModelProto, shape: tuple[int, ...], *, seed: int = 9) -> onnx.ModelProto:
    """The model with its scores centred by a last Sub, so that every class is answered."""
    scores = run(model, inputs(400, shape, seed=seed))
    graph = model.graph
    graph.node[-1].output[0] = "raw"
    offset = scores.mean(axis=0).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(offset, "offset"))
    scale = (1 / (scores.std(axis=0) + 1e-6)).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(scale, "scale"))
    graph.node.append(helper.make_node("Sub", ["raw", "offset"], ["centred"], name="centre"))
    graph.node.append(helper.make_node("Mul", ["centred", "scale"], ["scores"], name="spread"))
    return model
