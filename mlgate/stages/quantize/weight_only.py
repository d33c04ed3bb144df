"""Weights kept in int8 and computed in float: the size of int8 without rounding activations.

Each weight becomes an int8 constant and a DequantizeLinear with one scale per output channel.
Where input channels were scaled far apart, rounding is done on weights that are multiplied with
their inputs' levels, and a Mul takes that back: no channel drowns in the scale of another.
onnxruntime unpacks it in every inference, which costs time (about two to four times the source's
on the CPU); it is for size where int8 activations lose too much. It reaches what int8 activations
do not: LSTM and GRU, and layers in the branches of an If.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mlgate.stages.quantize.bias import rounding_error
from mlgate.stages.quantize.calibrate import Activation, Floats
from mlgate.stages.quantize.graph import RECURRENT, attribute, copied, inner_graphs

_SMALLEST: Final = 256  # numbers: below, scales and nodes cost more than they save
_QUIETEST: Final = 1e-12  # of the loudest channel's energy
_WORTH: Final = 0.5  # of the plain rounding's error: more is not worth another node


@dataclass(frozen=True)
class Storing:
    """How a layer's weights are stored: the axis of its outputs, and factors taken back after.

    `factors` are shaped to multiply the weight with, None for ones.
    """

    axis: int
    factors: Floats | None


@dataclass(frozen=True)
class Weight:
    """A constant that one node alone uses, and the graph that holds it."""

    node: onnx.NodeProto
    tensor: onnx.TensorProto
    owner: onnx.GraphProto


def weights_of(model: onnx.ModelProto) -> Iterator[Weight]:
    """Every layer's weights in every graph, those that lie in an outer graph included."""
    users: dict[tuple[int, str], int] = {}
    found: list[tuple[Weight, tuple[int, str]]] = []
    graphs: list[onnx.GraphProto] = []

    def walk(graph: onnx.GraphProto, outer: Mapping[str, tuple[int, onnx.TensorProto]]) -> None:
        number = len(graphs)
        graphs.append(graph)
        known = dict(outer) | {tensor.name: (number, tensor) for tensor in graph.initializer}
        for node in graph.node:
            for position, name in enumerate(node.input):
                if name not in known:
                    continue
                place, tensor = known[name]
                users[place, name] = users.get((place, name), 0) + 1
                if position in _positions(node):
                    found.append((Weight(node, tensor, graphs[place]), (place, name)))
            for inner in inner_graphs(node):
                walk(inner, known)

    walk(model.graph, {})
    for weight, key in found:
        if users[key] == 1:
            yield weight


def store_weights(
    model: onnx.ModelProto, ways: Mapping[str, Storing], folder: Path | None = None
) -> onnx.ModelProto:
    """A copy in which the weights of the nodes in `ways` are stored in int8.

    Weights that lie in `folder` are read one by one.
    """
    copy = copied(model)
    for weight in list(weights_of(copy)):
        way = ways.get(weight.node.name)
        if way is None:
            continue
        values = _array(weight.tensor, folder)
        unpacking = _unpacking(weight, values, way)
        nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in weight.owner.node]
        del weight.owner.node[:]
        weight.owner.node.extend([*unpacking, *nodes])
    if folder is not None:
        onnx.load_external_data_for_model(copy, str(folder))  # the others
    return copy


def _unpacking(weight: Weight, values: Floats, way: Storing) -> list[onnx.NodeProto]:
    """Put the rounded weight in the float one's place; the nodes that make floats of it again."""
    name, constants = weight.tensor.name, weight.owner.initializer
    label = f"{weight.node.name}.{name}"
    unpacked = name
    if way.factors is not None:
        values = values * way.factors.astype(np.float32)
        unpacked = f"{name}.scaled"
    others = tuple(i for i in range(values.ndim) if i != way.axis)
    scale = np.abs(values).max(axis=others) / np.float32(127)
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    spread = [-1 if i == way.axis else 1 for i in range(values.ndim)]
    rounded = np.round(values / scale.reshape(spread)).astype(np.int8)
    weight.tensor.CopyFrom(numpy_helper.from_array(rounded, f"{name}.int8"))
    constants.append(numpy_helper.from_array(scale, f"{name}.scale"))
    nodes = [
        helper.make_node(
            "DequantizeLinear",
            [f"{name}.int8", f"{name}.scale"],
            [unpacked],
            name=f"{label}.unpack",
            axis=way.axis,
        )
    ]
    if way.factors is not None:
        back = (1 / way.factors.astype(np.float32)).astype(np.float32)
        constants.append(numpy_helper.from_array(back, f"{name}.back"))
        nodes.append(
            helper.make_node("Mul", [unpacked, f"{name}.back"], [name], name=f"{label}.back")
        )
    return nodes


def storable(
    model: onnx.ModelProto,
    excluded: Iterable[str],
    activations: Mapping[str, Activation],
    folder: Path | None = None,
) -> dict[str, Storing]:
    """The layers whose weights can be stored, and how each rounds less.

    Rounding counts by the energy of the channel that it is multiplied with, as a share of what
    the output channel has: what follows may scale that up.
    """
    left_out = set(excluded)
    found: dict[str, Storing] = {}
    for weight in weights_of(model):
        node, dims = weight.node, weight.tensor.dims
        axes = _axes(node, len(dims))
        is_float = weight.tensor.data_type == onnx.TensorProto.FLOAT
        if node.name in left_out or axes is None or not is_float or math.prod(dims) < _SMALLEST:
            continue
        if node.op_type in RECURRENT:
            found[node.name] = Storing(axes[0], None)
            continue
        values = _array(weight.tensor, folder)
        seen = activations.get(node.input[0])
        energy = None if seen is None else seen.energies
        found[node.name] = _lesser(values.astype(np.float64), axes, energy)
    return found


def _array(tensor: onnx.TensorProto, folder: Path | None) -> Floats:
    values: Floats = numpy_helper.to_array(tensor, base_dir=str(folder or ""))
    return values


def _lesser(weight: Floats, axes: tuple[int, int | None], energy: Floats | None) -> Storing:
    out, into = axes
    plain = Storing(out, None)
    if into is None or energy is None or len(energy) != weight.shape[into] or not energy.any():
        return plain
    energy = energy.reshape([-1 if i == into else 1 for i in range(weight.ndim)])
    levels = np.sqrt(np.maximum(energy / energy.max(), _QUIETEST))
    others = tuple(i for i in range(weight.ndim) if i != out)
    whole = (weight**2 * energy).sum(axis=others)

    def error(factors: Floats | None) -> float:
        part = (rounding_error(weight, axis=out, factors=factors) ** 2 * energy).sum(axis=others)
        return float((part / np.where(whole > 0, whole, 1.0)).sum())

    return Storing(out, levels) if error(levels) < _WORTH * error(None) else plain


def _positions(node: onnx.NodeProto) -> tuple[int, ...]:
    """The inputs of a node that are weights."""
    if node.op_type in RECURRENT:
        return (1, 2)
    return (1,) if node.op_type in ("Conv", "Gemm", "MatMul") else ()


def _axes(node: onnx.NodeProto, rank: int) -> tuple[int, int | None] | None:
    """The axes of a node's weight that its output and its input channels lie on."""
    if node.op_type in RECURRENT:
        return 1, 2  # [directions, gates, inputs]
    if node.op_type == "Conv":
        return 0, 1 if attribute(node, "group", 1) == 1 else None
    if node.op_type == "Gemm":
        return (0, 1) if attribute(node, "transB", 0) else (1, 0)
    return (1, 0) if node.op_type == "MatMul" and rank == 2 else None
