"""Weights kept in int8 and computed in float: the size of int8 without rounding activations.

Each weight becomes an int8 constant and a DequantizeLinear with one scale per output channel.
Where input channels were scaled far apart, rounding is done on weights that are multiplied with
their inputs' levels, and a Mul takes that back: no channel drowns in the scale of another.
onnxruntime unpacks it in every inference, which costs time (about two to four times the source's
on the CPU); it is for size where int8 activations lose too much.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mlgate.stages.quantize.bias import rounding_error
from mlgate.stages.quantize.calibrate import Activation, Floats
from mlgate.stages.quantize.graph import Graph, attribute, copied

_SMALLEST: Final = 256  # numbers: below, scales and nodes cost more than they save
_QUIETEST: Final = 1e-12  # of the loudest channel's energy
_WORTH: Final = 0.5  # of the plain rounding's error: more is not worth another node


@dataclass(frozen=True)
class Storing:
    """How a weight is stored: the axis of its outputs, and factors that are taken back after.

    `factors` are shaped to multiply the weight with, None for ones.
    """

    axis: int
    factors: Floats | None


def store_weights(
    model: onnx.ModelProto, ways: Mapping[str, Storing], folder: Path | None = None
) -> onnx.ModelProto:
    """A copy in which the weights of the nodes in `ways` are stored in int8.

    Weights that lie in `folder` are read one by one.
    """
    copy = copied(model)
    graph = Graph(copy, folder)
    unpacking: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        weight = graph.weight_of(node)
        if node.name not in ways or weight is None:
            continue
        way, tensor, values = ways[node.name], graph.weights[weight], graph.array(weight)
        unpacked = weight
        if way.factors is not None:
            values = values * way.factors.astype(np.float32)
            unpacked = f"{weight}.scaled"
        others = tuple(i for i in range(values.ndim) if i != way.axis)
        scale = np.abs(values).max(axis=others) / np.float32(127)
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        spread = [-1 if i == way.axis else 1 for i in range(values.ndim)]
        rounded = np.round(values / scale.reshape(spread)).astype(np.int8)
        tensor.CopyFrom(numpy_helper.from_array(rounded, f"{weight}.int8"))
        copy.graph.initializer.append(numpy_helper.from_array(scale, f"{weight}.scale"))
        unpacking.append(
            helper.make_node(
                "DequantizeLinear",
                [f"{weight}.int8", f"{weight}.scale"],
                [unpacked],
                name=f"{node.name}.unpack",
                axis=way.axis,
            )
        )
        if way.factors is not None:
            back = (1 / way.factors.astype(np.float32)).astype(np.float32)
            copy.graph.initializer.append(numpy_helper.from_array(back, f"{weight}.back"))
            unpacking.append(
                helper.make_node(
                    "Mul", [unpacked, f"{weight}.back"], [weight], name=f"{node.name}.back"
                )
            )
    nodes = [*unpacking, *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    if folder is not None:
        onnx.load_external_data_for_model(copy, str(folder))  # the others
    return copy


def storable(
    model: onnx.ModelProto,
    names: Iterable[str],
    activations: Mapping[str, Activation],
    folder: Path | None = None,
) -> dict[str, Storing]:
    """Those of the named nodes whose weights can be stored, and how each rounds less.

    Rounding counts by the energy of the channel that it is multiplied with, as a share of what
    the output channel has: what follows may scale that up.
    """
    graph = Graph(model, folder)
    wanted, found = set(names), {}
    for node in model.graph.node:
        weight = graph.weight_of(node)
        if node.name not in wanted or weight is None:
            continue
        values = graph.array(weight)
        axes = _axes(node, values.ndim)
        if axes is None or values.dtype != np.float32 or values.size < _SMALLEST:
            continue
        seen = activations.get(node.input[0])
        energy = None if seen is None else seen.energies
        found[node.name] = _lesser(values.astype(np.float64), axes, energy)
    return found


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


def _axes(node: onnx.NodeProto, rank: int) -> tuple[int, int | None] | None:
    """The axes of a node's weight that its output and its input channels lie on."""
    if node.op_type == "Conv":
        return 0, 1 if attribute(node, "group", 1) == 1 else None
    if node.op_type == "Gemm":
        return (0, 1) if attribute(node, "transB", 0) else (1, 0)
    return (1, 0) if node.op_type == "MatMul" and rank == 2 else None
