"""Legal ONNX, rewritten in the one way that quantizers understand.

ONNX lets a model keep its weights in Constant nodes, its layers in functions, its numbers in double
precision, and the bias of a Gemm in any shape that broadcasts. onnxruntime runs all of that, and
its quantizer takes none of it. The outputs stay what they were: `prepare` checks that.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper

from mlgate.data.session import first_line
from mlgate.errors import StageError
from mlgate.stages.quantize.graph import attribute, graphs_of, in_order

_LEAST_IR: Final = 4  # before, every constant had to be an input too
_SINGLE: Final = onnx.TensorProto.FLOAT
_DOUBLE: Final = onnx.TensorProto.DOUBLE
_SIMPLE: Final = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def normalised(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, str]]:
    """(a copy without functions, Constant nodes and odd biases; step → what was done).

    Raises `StageError` for functions that cannot be taken apart.
    """
    steps: dict[str, str] = {}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if copy.functions:
        count = len(copy.functions)
        copy = _inlined(copy)
        steps["functions"] = f"{count} taken apart"
    _fix_weights(copy)
    moved = _move_constants(copy)
    if moved:
        steps["constants"] = f"{moved} made initializers"
    biases = flatten_biases(copy)
    if biases:
        steps["biases"] = f"{biases} of Gemm brought into shape [N]"
    if steps:
        copy.ir_version = max(copy.ir_version, _LEAST_IR)
        in_order(copy)
    return copy, steps


def _fix_weights(model: onnx.ModelProto) -> None:
    """Weights that callers could replace, as in models of IR 3, are constants from here on."""
    arrays = {tensor.name for tensor in model.graph.initializer if len(tensor.dims)}
    given = [value for value in model.graph.input if value.name not in arrays]
    if len(given) < len(model.graph.input):
        copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in given]
        del model.graph.input[:]
        model.graph.input.extend(copies)
        model.ir_version = max(model.ir_version, _LEAST_IR)


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every model-local function replaced by its nodes."""
    try:
        found = inliner.inline_local_functions(model)
        if found.functions:
            # A function written in another opset than the model.
            found = inliner.inline_local_functions(model, convert_version=True)
    except (RuntimeError, ValueError, TypeError) as error:
        raise StageError(
            f"the model's functions cannot be taken apart: {first_line(error)}",
            hint="export the model without functions (torch.onnx.export: onnx.inliner.inline_local_functions)",
        ) from None
    if found.functions:
        names = ", ".join(sorted(function.name for function in found.functions)[:4])
        raise StageError(
            f"the model's functions cannot be taken apart: {names}",
            hint="they are written in another opset than the model: export both in one",
        )
    return found


def _move_constants(model: onnx.ModelProto) -> int:
    """Make an initializer of every Constant node, in each graph. Returns how many there were."""
    moved = 0
    for graph in graphs_of(model):
        outputs = {value.name for value in graph.output}
        rest = []
        for node in graph.node:
            tensor = None if node.op_type != "Constant" else _value_of(node)
            if tensor is None or node.output[0] in outputs:
                rest.append(onnx.NodeProto.FromString(node.SerializeToString()))
                continue
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            moved += 1
        if len(rest) < len(graph.node):
            del graph.node[:]
            graph.node.extend(rest)
    return moved


def _value_of(constant: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor of a Constant node; None for text and sparse ones, which stay nodes."""
    for part in constant.attribute:
        if part.name == "value":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(part.t)
            return tensor
        if part.name in _SIMPLE:
            value = helper.get_attribute_value(part)
            return numpy_helper.from_array(np.array(value, _SIMPLE[part.name]), "")
    return None


def flatten_biases(model: onnx.ModelProto) -> int:
    """Give the bias of every Gemm the shape [N], or add it in a node of its own.

    Returns how many were changed. onnxruntime's own folding makes biases [1, N].
    """
    changed = 0
    for graph in graphs_of(model):
        weights = {tensor.name: tensor for tensor in graph.initializer}
        taken = set(weights) | {name for node in graph.node for name in node.output}
        place = 0
        while place < len(graph.node):
            node = graph.node[place]
            place += 1
            if node.op_type != "Gemm" or len(node.input) < 3 or not node.input[2]:
                continue
            width = _width(node, weights)
            bias = weights.get(node.input[2])
            if bias is not None and width is not None and _is_plain(node, bias, width):
                continue
            if bias is not None and width is not None and _is_row(bias, width):
                flat = _flat(bias, width, _scale(node, "beta"))
                flat.name = _fresh(f"{bias.name}.flat", taken)
                graph.initializer.append(flat)
                node.input[2] = flat.name
            elif _scale(node, "beta") == 1:
                graph.node.insert(place, _added_apart(node, taken))
                place += 1
            else:
                continue
            _drop(node, "beta")
            changed += 1
    return changed


def _is_plain(node: onnx.NodeProto, bias: onnx.TensorProto, width: int) -> bool:
    return list(bias.dims) == [width] and _scale(node, "beta") == 1


def _is_row(bias: onnx.TensorProto, width: int) -> bool:
    """Whether the bias is the same for every row."""
    inside = bias.data_location != onnx.TensorProto.EXTERNAL
    return (
        inside
        and all(size == 1 for size in bias.dims[:-1])
        and bias.dims[-1:] in ([], [1], [width])
    )


def _flat(bias: onnx.TensorProto, width: int, scale: float) -> onnx.TensorProto:
    values = numpy_helper.to_array(bias)
    row = np.broadcast_to(values.reshape(-1), (width,)) * values.dtype.type(scale)
    return numpy_helper.from_array(np.ascontiguousarray(row.astype(values.dtype)), "")


def _added_apart(node: onnx.NodeProto, taken: set[str]) -> onnx.NodeProto:
    """Take the bias off a Gemm, and return the Add that follows it."""
    bias, result = node.input[2], node.output[0]
    before = _fresh(f"{result}.product", taken)
    del node.input[2]
    node.output[0] = before
    name = f"{node.name}.bias" if node.name else ""
    return helper.make_node("Add", [before, bias], [result], name=name)


def _width(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> int | None:
    """N of a Gemm whose second input is a constant."""
    weight = weights.get(node.input[1])
    if weight is None or len(weight.dims) != 2:
        return None
    return int(weight.dims[0 if attribute(node, "transB", 0) else 1])


def _scale(node: onnx.NodeProto, name: str) -> float:
    return next((float(part.f) for part in node.attribute if part.name == name), 1.0)


def _drop(node: onnx.NodeProto, name: str) -> None:
    kept = [part for part in node.attribute if part.name != name]
    if len(kept) < len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(kept)


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def has_double_weights(model: onnx.ModelProto) -> bool:
    """Whether some constants of more than one number are in double precision."""
    return any(
        tensor.data_type == _DOUBLE and len(tensor.dims)
        for graph in graphs_of(model)
        for tensor in graph.initializer
    )


def in_single_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes in float where the model does in double; inputs and outputs keep theirs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for graph in graphs_of(copy):
        for tensor in graph.initializer:
            _make_single(tensor)
        for value in (*graph.value_info, *graph.input, *graph.output):
            if value.type.tensor_type.elem_type == _DOUBLE:
                value.type.tensor_type.elem_type = _SINGLE
        for node in graph.node:
            for part in node.attribute:
                if part.type == onnx.AttributeProto.TENSOR and node.domain in ("", "ai.onnx"):
                    _make_single(part.t)
                elif part.name in ("to", "dtype") and part.i == _DOUBLE:
                    part.i = _SINGLE
    doubles = [
        {v.name for v in values if v.type.tensor_type.elem_type == _DOUBLE}
        for values in (model.graph.input, model.graph.output)
    ]
    _cast_ends(copy.graph, doubles[0], doubles[1])
    return copy


def _make_single(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == _DOUBLE:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _cast_ends(graph: onnx.GraphProto, inputs: set[str], outputs: set[str]) -> None:
    """Casts at the inputs and outputs that are double for whoever calls the model."""
    for value in (*graph.input, *graph.output):
        if value.name in inputs | outputs:
            value.type.tensor_type.elem_type = _DOUBLE
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    for node in nodes:
        _rename(node, {name: f"{name}.single" for name in inputs | outputs})
    first = [helper.make_node("Cast", [n], [f"{n}.single"], to=_SINGLE) for n in sorted(inputs)]
    last = [helper.make_node("Cast", [f"{n}.single"], [n], to=_DOUBLE) for n in sorted(outputs)]
    del graph.node[:]
    graph.node.extend([*first, *nodes, *last])


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    for values in (node.input, node.output):
        for place, name in enumerate(values):
            values[place] = names.get(name, name)
    for part in node.attribute:
        if part.type == onnx.AttributeProto.GRAPH:
            for inner in part.g.node:
                _rename(inner, names)
            for value in part.g.output:
                value.name = names.get(value.name, value.name)
