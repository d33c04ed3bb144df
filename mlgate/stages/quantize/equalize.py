"""Cross-layer equalization: spread the ranges of channels evenly, without changing the function.

Conv → Conv or Gemm after Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction" (ICCV 2019, section 4.1): channel c of the first is divided by s, and the second's
weights for it multiplied. What lies between must be positively homogeneous per channel.
LayerNormalization → MatMul likewise, where 3|γ| + |β| stands for the activation's range.
"""

from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from mlgate.stages.quantize.graph import Graph, attribute

Floats = NDArray[np.float64]

_SWEEPS: Final = 20
# f(s·x) = s·f(x) for s > 0, in every channel alone.
_HOMOGENEOUS: Final = {"Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool"}
_SPATIAL: Final = {2, 3, -1, -2}


def equalize(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """(an equal function with even channels, number of pairs). Data free; float64 inside."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = Graph(copy)
    values: dict[str, Floats] = {}
    convolutions = _convolution_pairs(graph)
    for _ in range(_SWEEPS):
        for first, second in convolutions:
            _even_convolutions(graph, values, first, second)
    normalizations = _normalization_pairs(graph)
    for norm, products in normalizations:
        _even_normalization(graph, values, norm, products)
    for name, value in values.items():
        tensor = graph.weights[name]
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    return copy, len(convolutions) + len(normalizations)


def _convolution_pairs(graph: Graph) -> list[tuple[onnx.NodeProto, onnx.NodeProto]]:
    pairs = []
    for node in graph.model.graph.node:
        if node.op_type != "Conv" or graph.weight_of(node) is None:
            continue
        after = _only_consumer(graph, node)
        while after is not None and _keeps_channels(graph, after):
            after = _only_consumer(graph, after)
        if after is not None and _biases_are_own(graph, node) and _takes(graph, node, after):
            pairs.append((node, after))
    return pairs


def _keeps_channels(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether scaling a channel before the node scales the same channel after it."""
    if node.op_type == "Flatten":
        # Of more than one pixel a channel it would make several features; `_takes` counts them.
        return attribute(node, "axis", 1) == 1
    if node.op_type == "ReduceMean":
        axes = next((list(a.ints) for a in node.attribute if a.name == "axes"), [])
        if len(node.input) > 1 and node.input[1] in graph.weights:
            axes = graph.array(node.input[1]).tolist()
        return bool(axes) and set(axes) <= _SPATIAL
    return node.op_type in _HOMOGENEOUS


def _takes(graph: Graph, first: onnx.NodeProto, second: onnx.NodeProto) -> bool:
    """Whether each input channel of `second` is one output channel of `first`."""
    name = graph.weight_of(second)
    if name is None:
        return False
    shape, channels = list(graph.weights[name].dims), graph.weights[first.input[1]].dims[0]
    if second.op_type == "Conv":
        groups = attribute(second, "group", 1)
        return bool((groups == 1 and shape[1] == channels) or groups == shape[0] == channels)
    plain = second.op_type == "Gemm" and not attribute(second, "transA", 0)
    return bool(plain and shape[attribute(second, "transB", 0)] == channels)


def _normalization_pairs(graph: Graph) -> list[tuple[onnx.NodeProto, list[onnx.NodeProto]]]:
    pairs = []
    for node in graph.model.graph.node:
        if node.op_type != "LayerNormalization" or node.output[0] in graph.outputs:
            continue
        after = graph.consumers.get(node.output[0], [])
        scales = [graph.weight_of(node, position) for position in range(1, len(node.input))]
        fits = all(
            n.op_type == "MatMul" and n.input[0] == node.output[0] and graph.weight_of(n)
            for n in after
        )
        if after and fits and all(scales) and _is_last_axis(graph, node):
            pairs.append((node, after))
    return pairs


def _is_last_axis(graph: Graph, norm: onnx.NodeProto) -> bool:
    return len(graph.weights[norm.input[1]].dims) == 1 and attribute(norm, "axis", -1) == -1


def _even_convolutions(
    graph: Graph, values: dict[str, Floats], first: onnx.NodeProto, second: onnx.NodeProto
) -> None:
    a, b = (_value(graph, values, node.input[1]) for node in (first, second))
    out = np.abs(a).reshape(len(a), -1).max(axis=1)
    depthwise = attribute(second, "group", 1) != 1
    rows = depthwise or (second.op_type == "Gemm" and not attribute(second, "transB", 0))
    into = np.abs(b).reshape(len(b), -1).max(axis=1) if rows else _column_ranges(b)
    s = np.sqrt(out / np.maximum(into, 1e-12))
    s = np.where((out > 1e-9) & (into > 1e-9), s, 1.0)
    spread = (-1, *[1] * (a.ndim - 1))
    a /= s.reshape(spread)
    if len(first.input) > 2 and first.input[2]:
        _value(graph, values, first.input[2])[:] /= s
    b *= s.reshape(-1, *[1] * (b.ndim - 1)) if rows else s.reshape(1, -1, *[1] * (b.ndim - 2))


def _even_normalization(
    graph: Graph, values: dict[str, Floats], norm: onnx.NodeProto, products: list[onnx.NodeProto]
) -> None:
    scales = [_value(graph, values, name) for name in norm.input[1:]]
    weights = [_value(graph, values, node.input[1]) for node in products]
    out = 3 * np.abs(scales[0]) + (np.abs(scales[1]) if len(scales) > 1 else 0)
    into = np.max([np.abs(w).max(axis=1) for w in weights], axis=0)
    t = np.sqrt(out / np.maximum(into, 1e-12))
    t = np.where((out > 1e-9) & (into > 1e-9), t, 1.0)
    for scale in scales:
        scale /= t
    for weight in weights:
        weight *= t[:, None]


def _column_ranges(weight: Floats) -> Floats:
    return np.asarray(np.abs(weight).max(axis=(0, *range(2, weight.ndim))))


def _only_consumer(graph: Graph, node: onnx.NodeProto) -> onnx.NodeProto | None:
    name = node.output[0]
    after = graph.consumers.get(name, [])
    alone = len(after) == 1 and name not in graph.outputs and after[0].input[0] == name
    return after[0] if alone and len(node.output) == 1 else None


def _biases_are_own(graph: Graph, node: onnx.NodeProto) -> bool:
    return len(node.input) < 3 or not node.input[2] or graph.weight_of(node, 2) is not None


def _value(graph: Graph, values: dict[str, Floats], name: str) -> Floats:
    if name not in values:
        values[name] = graph.array(name).astype(np.float64)
    return values[name]
