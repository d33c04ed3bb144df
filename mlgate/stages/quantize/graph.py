"""Read an ONNX graph: load it safely, see what can be quantized, and who feeds whom.

A model is a graph whose nodes may hold more graphs: the branches of an If, the body of a Loop.
"""

import heapq
import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper, version_converter
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from mlgate.data.session import Array, first_line, refuse_foreign
from mlgate.errors import StageError
from mlgate.sources import files

OLDEST_OPSET: Final = 13  # the first whose QuantizeLinear has an axis
_LIFTED_OPSET: Final = 17  # the first with LayerNormalization as one node
LARGEST: Final = 2**31 - 2**20  # a protobuf ends at 2 GiB

QUANTIZABLE: Final = tuple(sorted(set(QDQRegistry) | set(QLinearOpsRegistry)))
WEIGHTED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather")
RECURRENT: Final = ("LSTM", "GRU", "RNN")
_FLOATS: Final = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
_FEW: Final = 256  # numbers: fewer outside of layers are scales and limits, and not worth a scheme
_QUANTIZED: Final = {
    "QuantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
    "MatMulNBits",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
}


@dataclass(frozen=True)
class Graph:
    """Look-ups into one model's main graph. Changing `model` does not change them.

    `folder` is where the weights of a large model lie.
    """

    model: onnx.ModelProto
    folder: Path | None = None
    weights: Mapping[str, onnx.TensorProto] = field(init=False)
    producers: Mapping[str, onnx.NodeProto] = field(init=False)
    consumers: Mapping[str, list[onnx.NodeProto]] = field(init=False)
    outputs: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        graph = self.model.graph
        consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                consumers.setdefault(name, []).append(node)
        fields = {
            "weights": {tensor.name: tensor for tensor in graph.initializer},
            "producers": {name: node for node in graph.node for name in node.output},
            "consumers": consumers,
            "outputs": frozenset(value.name for value in graph.output),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def weight_of(self, node: onnx.NodeProto, position: int = 1) -> str | None:
        """The name of a constant input used by this node alone."""
        if position >= len(node.input):
            return None
        name = node.input[position]
        return name if name in self.weights and len(self.consumers[name]) == 1 else None

    def array(self, name: str) -> Array:
        """A constant's values."""
        values: Array = numpy_helper.to_array(self.weights[name], base_dir=str(self.folder or ""))
        return values

    def bytes_of(self, node: onnx.NodeProto) -> int:
        """Bytes of the constants that a node uses."""
        return sum(_bytes(self.weights[name]) for name in node.input if name in self.weights)


def load(path: Path) -> onnx.ModelProto:
    """The model with its external data. Raises `StageError` for what is not a valid model.

    Of a model over 2 GiB, which no protobuf can hold, only the graph: its weights stay outside.
    """
    refuse_foreign(path)
    try:
        large = size_on_disk(path) > LARGEST
        model = onnx.load(str(path), load_external_data=not large)
    except FileNotFoundError as error:
        missing = Path(error.filename or path).name
        raise StageError(
            f"{path.name}: {missing} does not exist",
            hint="put the model's external data file beside the model",
        ) from None
    except (DecodeError, ValueError, OSError, onnx.checker.ValidationError) as error:
        hint = "is it complete? an interrupted download and a Git LFS pointer look like this"
        if "external" in str(error).lower() or "data" in str(error).lower():
            hint = "put the model's external data file beside the model, in full"
        said = f"{path.name} is not an ONNX model: {first_line(error)}"
        raise StageError(said, hint=hint) from None
    if not model.graph.node:
        raise StageError(
            f"{path.name} is not an ONNX model: it has no nodes",
            hint="is it complete? an empty file reads as an empty model",
        )
    in_order(model)
    try:
        onnx.checker.check_model(str(path) if large else model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise StageError(f"{path.name} is not a valid ONNX model: {first_line(error)}") from None
    return model


def weights_outside(model: onnx.ModelProto) -> bool:
    """Whether some weights are in a file beside the model, as those of a large one are."""
    return any(
        tensor.data_location == onnx.TensorProto.EXTERNAL
        for graph in graphs_of(model)
        for tensor in graph.initializer
    )


def copied(model: onnx.ModelProto, folder: Path | None = None) -> onnx.ModelProto:
    """A copy, with the weights that lie in `folder`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if folder is not None:
        onnx.load_external_data_for_model(copy, str(folder))
    return copy


def size_on_disk(path: Path) -> int:
    """Bytes of a model, its external data included."""
    return sum(file.stat().st_size for file in files(str(path)))


def graphs_of(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph, then every graph inside its nodes, outer ones first."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop(0)
        yield graph
        for node in graph.node:
            waiting.extend(inner_graphs(node))


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The branches of an If, the body of a Loop or Scan."""
    for part in node.attribute:
        if part.type == onnx.AttributeProto.GRAPH:
            yield part.g
        elif part.type == onnx.AttributeProto.GRAPHS:
            yield from part.graphs


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every constant: initializers, and the values of Constant nodes."""
    for graph in graphs_of(model):
        yield from graph.initializer
        for node in graph.node:
            for part in node.attribute:
                if part.type == onnx.AttributeProto.TENSOR:
                    yield part.t


def refuse_quantized(model: onnx.ModelProto) -> None:
    """Raises `StageError` when the model is quantized already."""
    hint = "give the model as it was trained, in float32; this one can be its `candidate:`"
    kinds = sorted({node.op_type for g in graphs_of(model) for node in g.node} & _QUANTIZED)
    if kinds:
        raise StageError(
            f"the model is quantized already: it holds {', '.join(kinds)}",
            hint=hint,
        )
    narrow = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}
    for tensor in _tensors(model):
        if tensor.data_type in narrow and tensor.dims:
            raise StageError(
                f"the model is quantized already: its weights are {narrow[tensor.data_type]}",
                hint=hint,
            )


def quantizable(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the main graph's layers whose constant weights can be rounded to int8."""
    graph = Graph(model)
    return tuple(
        node.name
        for node in model.graph.node
        if node.op_type in WEIGHTED
        and any(
            name in graph.weights and graph.weights[name].data_type == onnx.TensorProto.FLOAT
            for name in node.input
        )
    )


def where_layers_are(model: onnx.ModelProto) -> str:
    """Of a model without a layer that int8 activations can reach: where its layers are instead."""
    recurrent = sorted({n.op_type for g in graphs_of(model) for n in g.node} & set(RECURRENT))
    inner = [g for number, g in enumerate(graphs_of(model)) if number]
    if any(node.op_type in WEIGHTED for graph in inner for node in graph.node):
        return "the layers are in branches and loops"
    if recurrent:
        return f"the layers are {', '.join(recurrent)}"
    return "no Conv, Gemm, MatMul or Gather has constant float weights"


def has_float_weights(model: onnx.ModelProto) -> bool:
    """Whether any graph holds float weights of a layer, or that many floats elsewhere.

    Weights may be constants that a layer meets only after a Transpose or Reshape, and they may
    lie in an outer graph: so every float constant counts, wherever it is used.
    """
    in_layers = False
    largest = 0
    for graph in graphs_of(model):
        floats = {tensor.name for tensor in graph.initializer if tensor.data_type in _FLOATS}
        for node in graph.node:
            if node.op_type in (*WEIGHTED, *RECURRENT):
                in_layers = in_layers or any(name in floats for name in node.input)
    for tensor in _tensors(model):
        if tensor.data_type in _FLOATS:
            largest = max(largest, math.prod(tensor.dims))
    return in_layers or largest >= _FEW


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose nodes all have a name of their own: exclusion goes by name."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes = [node for graph in graphs_of(copy) for node in graph.node]
    taken = {node.name for node in nodes if node.name}
    seen: set[str] = set()
    for index, node in enumerate(nodes):
        if not node.name or node.name in seen:
            name = f"{node.op_type}_{index}"
            while name in taken:
                name += "_"
            taken.add(name)
            node.name = name
        seen.add(node.name)
    return copy


def lifted(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model at an opset that int8 needs. Raises `StageError` when it cannot be converted."""
    opset = opset_of(model)
    if opset >= OLDEST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, _LIFTED_OPSET)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise StageError(
            f"opset {opset} cannot be lifted to {_LIFTED_OPSET}: {first_line(error)}",
            hint=f"export the model with opset {OLDEST_OPSET} or later",
        ) from None


def in_order(model: onnx.ModelProto) -> None:
    """Put the nodes in an order that ONNX asks for: a value is made before it is used. Stable."""
    for graph in reversed(list(graphs_of(model))):
        _sort(graph)


def _sort(graph: onnx.GraphProto) -> None:
    nodes = list(graph.node)
    makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    needs = [{makers[n] for n in _reads(node) if n in makers} - {i} for i, node in enumerate(nodes)]
    users: list[list[int]] = [[] for _ in nodes]
    for place, needed in enumerate(needs):
        for before in needed:
            users[before].append(place)
    waiting = [len(needed) for needed in needs]
    ready = [place for place, count in enumerate(waiting) if count == 0]
    ordered = []
    while ready:
        place = heapq.heappop(ready)
        ordered.append(place)
        for after in users[place]:
            waiting[after] -= 1
            if waiting[after] == 0:
                heapq.heappush(ready, after)
    if ordered == list(range(len(nodes))) or len(ordered) < len(nodes):
        return  # in order, or in a circle, of which the checker will speak
    copies = [onnx.NodeProto.FromString(nodes[place].SerializeToString()) for place in ordered]
    del graph.node[:]
    graph.node.extend(copies)


def shorten_names(model: onnx.ModelProto, known: Collection[str]) -> None:
    """Give values and nodes that are not `known` short names.

    A quantizer derives several long names from each old one; in a small model they take more
    room than the weights.
    """
    graph = model.graph
    taken = set(known) | {value.name for value in (*graph.input, *graph.output)}
    taken |= {name for node in graph.node for part in _inner(node) for name in _reads(part)}
    short: dict[str, str] = {}
    fresh = (name for name in map("q{}".format, itertools.count()) if name not in taken)
    for tensor in graph.initializer:
        if tensor.name not in taken:
            short[tensor.name] = next(fresh)
            tensor.name = short[tensor.name]
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name and name not in taken:
                    short[name] = short.get(name) or next(fresh)
                    names[place] = short[name]
        if node.name not in taken:
            node.name = ""


def _inner(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a node's branches and loop bodies."""
    for graph in inner_graphs(node):
        yield from graph.node


def names_of(model: onnx.ModelProto) -> frozenset[str]:
    """Every name of a value, constant or node."""
    nodes = model.graph.node
    values = {name for node in nodes for name in (*node.input, *node.output, node.name)}
    return frozenset(values | {tensor.name for tensor in model.graph.initializer})


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Every value that a node uses, those of its branches and loop bodies included."""
    yield from (name for name in node.input if name)
    for inner in _inner(node):
        yield from _reads(inner)


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operators that the model is written in."""
    versions = [int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")]
    return max(versions, default=1)


def groups(model: onnx.ModelProto, leaders: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Each weighted node with the nodes after it that would be fused with it: what goes together.

    A node without weights belongs to the group that makes its first input.
    """
    graph = Graph(model)
    group: dict[str, str] = {}
    for node in model.graph.node:
        if node.name in leaders:
            group[node.name] = node.name
            continue
        for name in node.input:
            before = graph.producers.get(name)
            if before is not None and before.name in group:
                group[node.name] = group[before.name]
                break
    return {leader: tuple(name for name, of in group.items() if of == leader) for leader in leaders}


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """An integer attribute of a node."""
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _bytes(tensor: onnx.TensorProto) -> int:
    width = int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    return int(math.prod(tensor.dims)) * width
