"""Tiny ONNX models for the tests: matrix products, more of them for more work."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_chain(
    path: Path,
    *,
    layers: int = 2,
    width: int = 64,
    batch: int | str = "N",
    name: str = "x",
    dtype: int = TensorProto.FLOAT,
    extra_axis: int | str | None = None,
    poison: bool = False,
) -> Path:
    """`layers` matrix products of `width`; `poison` makes the answer NaN."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], name
    if dtype != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [last], ["cast"], to=TensorProto.FLOAT))
        last = "cast"
    for layer in range(layers):
        matrix = (rng.standard_normal((width, width)) / width**0.5).astype(np.float32)
        if poison:
            matrix[:] = np.nan
        weights.append(numpy_helper.from_array(matrix, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"h{layer}"]))
        last = f"h{layer}"
    shape: list[int | str] = [batch, *([] if extra_axis is None else [extra_axis]), width]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info(name, dtype, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path
