"""Bias correction without inference: take the mean shift that rounding the weights causes off.

b ← b − (W_q − W) · E[x], after Nagel et al. (ICCV 2019, section 4.2), where E[x] per input
channel was seen in the calibration pass, and W_q is W as onnxruntime will round it.
"""

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from mlgate.stages.quantize.calibrate import Activation
from mlgate.stages.quantize.graph import Graph, attribute

Floats = NDArray[np.float64]


def correct_biases(
    model: onnx.ModelProto,
    activations: Mapping[str, Activation],
    *,
    kept: Collection[str] = (),
    per_channel: bool = True,
    factors: Mapping[str, Floats] | None = None,
) -> tuple[onnx.ModelProto, int]:
    """(a copy with corrected biases of Conv, Gemm and MatMul → Add, how many there were).

    Nodes `kept` in float round nothing, and keep their biases. `factors`: of nodes whose
    weights are rounded after a multiplication, which is taken back.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = Graph(copy)
    corrected = 0
    for node in copy.graph.node:
        bias = _bias_of(graph, node)
        seen = activations.get(node.input[0]) if node.input else None
        if bias is None or seen is None or seen.means is None or node.name in kept:
            continue
        weight = graph.weight_of(node)
        if weight is None:
            continue
        axis = _output_axis(node) if per_channel else None
        values = graph.array(weight).astype(np.float64)
        error = rounding_error(values, axis=axis, factors=(factors or {}).get(node.name))
        shift = _shift(node, error, seen.means)
        value = graph.array(bias).astype(np.float64)
        if shift is None or shift.shape != value.shape:
            continue
        tensor = numpy_helper.from_array((value - shift).astype(np.float32), bias)
        graph.weights[bias].CopyFrom(tensor)
        corrected += 1
    return copy, corrected


def rounding_error(weight: Floats, *, axis: int | None, factors: Floats | None = None) -> Floats:
    """W_q − W for symmetric int8 with one scale per index of `axis`, or one in all.

    With `factors`, W is multiplied by them before it is rounded, and divided after.
    """
    if factors is not None:
        return rounding_error(weight * factors, axis=axis) / factors
    others = None if axis is None else tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.abs(weight).max(axis=others, keepdims=True) / 127
    scale = np.where(scale > 0, scale, 1.0)
    return np.asarray(np.round(weight / scale) * scale - weight)


def _bias_of(graph: Graph, node: onnx.NodeProto) -> str | None:
    if node.op_type in ("Conv", "Gemm"):
        return graph.weight_of(node, 2)
    if node.op_type == "MatMul":
        after = graph.consumers.get(node.output[0], [])
        if len(after) == 1 and after[0].op_type == "Add" and node.output[0] not in graph.outputs:
            other = 1 if after[0].input[0] == node.output[0] else 0
            return graph.weight_of(after[0], other)
    return None


def _output_axis(node: onnx.NodeProto) -> int:
    transposed = node.op_type == "Gemm" and attribute(node, "transB", 0)
    return 0 if node.op_type == "Conv" or transposed else 1


def _shift(node: onnx.NodeProto, error: Floats, means: Floats) -> Floats | None:
    """What the rounding `error` of a weight adds to the outputs' means."""
    if node.op_type == "Conv":
        shape, error = error.shape, error.reshape(*error.shape[:2], -1).sum(axis=2)
        groups = attribute(node, "group", 1)
        if groups == 1:
            return error @ means if error.shape[1] == len(means) else None
        if groups == shape[0] == len(means):
            return np.asarray(error[:, 0] * means)
        return None
    if error.ndim != 2 or attribute(node, "transA", 0):
        return None
    if node.op_type == "Gemm" and attribute(node, "transB", 0):
        error = error.T
    return np.asarray(means @ error) if len(error) == len(means) else None
