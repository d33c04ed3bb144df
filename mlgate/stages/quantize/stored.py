"""Weights kept in int8 and computed in float: the size of int8 without rounding activations.

Each weight becomes an int8 constant and a DequantizeLinear with one scale per output channel.
onnxruntime unpacks it in every inference, which costs time (about two to four times the source's
on the CPU); it is for size where int8 activations lose too much.
"""

from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mlgate.stages.quantize.graph import Graph, attribute

_SMALLEST = 256  # numbers: below, scales and nodes cost more than they save


def store_weights(
    model: onnx.ModelProto, names: Collection[str], excluded: Collection[str] = ()
) -> onnx.ModelProto:
    """A copy in which the float weights of the named nodes are stored in int8."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = Graph(copy)
    unpacking: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        weight = graph.weight_of(node)
        if node.name not in names or node.name in excluded or weight is None:
            continue
        axis = _output_axis(node, len(graph.weights[weight].dims))
        tensor = graph.weights[weight]
        values = graph.array(weight)
        if axis is None or values.dtype != np.float32 or values.size < _SMALLEST:
            continue
        others = tuple(i for i in range(values.ndim) if i != axis)
        scale = np.abs(values).max(axis=others) / np.float32(127)
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        spread = [-1 if i == axis else 1 for i in range(values.ndim)]
        rounded = np.round(values / scale.reshape(spread)).astype(np.int8)
        tensor.CopyFrom(numpy_helper.from_array(rounded, f"{weight}.int8"))
        copy.graph.initializer.append(numpy_helper.from_array(scale, f"{weight}.scale"))
        unpacking.append(
            helper.make_node(
                "DequantizeLinear",
                [f"{weight}.int8", f"{weight}.scale"],
                [weight],
                name=f"{node.name}.unpack",
                axis=axis,
            )
        )
    nodes = [*unpacking, *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _output_axis(node: onnx.NodeProto, rank: int) -> int | None:
    """The axis of a node's weight that its output channels lie on."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return rank - 1 if node.op_type == "MatMul" and rank == 2 else None
