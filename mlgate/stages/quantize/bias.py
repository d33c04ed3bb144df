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
    axes: Mapping[str, int] | None = None,
) -> tuple[onnx.ModelProto, int]:
    """(a copy with corrected biases of Conv, Gemm and MatMul → Add, how many there were).

    Nodes `kept` in float round nothing, and keep their biases. `axes`: nodes whose weights have
    one scale per index of another axis than that of their outputs.
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
        axis = (axes or {}).get(node.name, axis)
        shift = _shift(node, graph.array(weight).astype(np.float64), seen.means, axis)
        value = graph.array(bias).astype(np.float64)
        if shift is None or shift.shape != value.shape:
            continue
        tensor = numpy_helper.from_array((value - shift).astype(np.float32), bias)
        graph.weights[bias].CopyFrom(tensor)
        corrected += 1
    return copy, corrected


def rounding_error(weight: Floats, *, axis: int | None) -> Floats:
    """W_q − W for symmetric int8 with one scale per index of `axis`, or one in all."""
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


def _shift(node: onnx.NodeProto, weight: Floats, means: Floats, axis: int | None) -> Floats | None:
    if node.op_type == "Conv":
        error = rounding_error(weight, axis=axis)
        error = error.reshape(*weight.shape[:2], -1).sum(axis=2)
        groups = attribute(node, "group", 1)
        if groups == 1:
            return error @ means if error.shape[1] == len(means) else None
        if groups == len(weight) == len(means):
            return np.asarray(error[:, 0] * means)
        return None
    if weight.ndim != 2 or attribute(node, "transA", 0):
        return None
    error = rounding_error(weight, axis=axis)
    if node.op_type == "Gemm" and attribute(node, "transB", 0):
        error = error.T
    return np.asarray(means @ error) if len(error) == len(means) else None
