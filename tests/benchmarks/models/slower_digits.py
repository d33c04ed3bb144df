"""Write slower_digits.onnx: the digits model with layers that change nothing but its latency.

A chain of 1 x 1 convolutions with the identity as weights, all sharing one constant, after the
second block. The answers are the same and the file hardly grows, so only a latency gate can tell
the two apart; no graph optimiser of onnxruntime removes a convolution for its values. Needs onnx
alone.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

SOURCE = Path(__file__).parents[3] / "templates" / "digits" / "models" / "digits.onnx"


def slowed(model: onnx.ModelProto, layers: int) -> onnx.ModelProto:
    """`model` with `layers` identity convolutions before its first MaxPool."""
    place = next(i for i, node in enumerate(model.graph.node) if node.op_type == "MaxPool")
    pool = model.graph.node[place]
    widths = {
        tensor.name: tensor.dims[1] for tensor in model.graph.initializer if len(tensor.dims) == 4
    }
    follower = next(node for node in model.graph.node[place:] if node.op_type == "Conv")
    width = widths[follower.input[1]]
    identity = np.eye(width, dtype=np.float32)[:, :, None, None]
    model.graph.initializer.append(numpy_helper.from_array(identity, "identity"))
    value = pool.input[0]
    for layer in range(layers):
        result = f"unchanged_{layer}"
        node = helper.make_node("Conv", [value, "identity"], [result], name=f"keep_{layer}")
        model.graph.node.insert(place + layer, node)
        value = result
    model.graph.node[place + layers].input[0] = value
    model.graph.name = "slower_digits"
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--source", type=Path, default=SOURCE)
    parser.add_argument("--layers", type=int, default=24)
    options = parser.parse_args()
    model = slowed(onnx.load(options.source), options.layers).SerializeToString(deterministic=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(model)
    print(f"{options.out.name}: {len(model):,} bytes, {options.layers} layers that change nothing")


if __name__ == "__main__":
    main()
