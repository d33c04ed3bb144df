"""Whole-number inputs that nobody filled: how high each may be drawn, by what the graph does to it.

Zeros are padding to a model of language, and padding is what nobody serves.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import onnx
from google.protobuf.message import DecodeError

# Operators after which a number is still the number that was fed.
_SAME: Final = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose")
_INTEGERS: Final = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)


def vocabulary(model: Path) -> dict[str, int]:
    """For each whole-number input that looks up rows of tables: the height of the lowest table.

    `Gather` along axis 0 of an initializer is such a look-up. Weights beside the model are not
    read. Empty for a model that is no ONNX file: opening it says so.
    """
    try:
        graph = onnx.load(str(model), load_external_data=False).graph
    except (DecodeError, OSError, ValueError):
        return {}
    tables = {table.name: table for table in graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = {}
    for given in graph.input:
        if given.type.tensor_type.elem_type not in _INTEGERS:
            continue
        heights = list(_heights(given.name, readers, tables, set()))
        if heights:
            found[given.name] = min(heights)
    return found


def _heights(
    name: str, readers: dict[str, list[Any]], tables: dict[str, Any], seen: set[str]
) -> Iterator[int]:
    """Heights of the tables in which the numbers of a tensor are looked up."""
    if name in seen:
        return
    seen.add(name)
    for node in readers.get(name, ()):
        if node.op_type == "Gather" and node.input[1] == name:
            axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
            table = tables.get(node.input[0])
            if table is not None and axis == 0 and table.dims:
                yield int(table.dims[0])
        elif node.op_type in _SAME and node.input[0] == name:
            yield from _heights(node.output[0], readers, tables, seen)
