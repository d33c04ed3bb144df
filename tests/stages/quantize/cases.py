"""Small projects in which something legal looks unusual: models in ONNX's text form, and rows."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper, parser

Arrays = dict[str, Any]

# A classifier of 16 numbers into 4 classes, 5 KB. Int8 loses about 0.9 of 100 answers.
MLP = """g (float[N,16] x) => (float[N,4] y) {
  a = MatMul(x, W1)  c = Add(a, b1)  r = Relu(c)  y = MatMul(r, W2)
}"""


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (rng.normal(0, 1, shape) * scale).astype(np.float32)


def written(graph: str, weights: Arrays, *, domain: str = "", opset: int = 17) -> onnx.ModelProto:
    """A model out of ONNX's text form; `weights` become initializers."""
    other = f', "{domain}": 1' if domain else ""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}{other}]>\n{graph}')
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


def mlp_weights() -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "W1": normal(rng, 16, 64, scale=1 / 4),
        "b1": normal(rng, 64, scale=0.1),
        "W2": normal(rng, 64, 4, scale=1 / 8),
    }


def mlp() -> onnx.ModelProto:
    return written(MLP, mlp_weights())


def answers(model: onnx.ModelProto, feeds: Arrays, output: str | None = None) -> np.ndarray:
    """One output, the first if none is named, for all rows at once."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    data = model.SerializeToString()
    session = ort.InferenceSession(data, options, ["CPUExecutionProvider"])
    values: np.ndarray = session.run(output and [output], feeds)[0]
    return values


def rows(count: int, seed: int, *shape: int) -> np.ndarray:
    return normal(np.random.default_rng(seed), count, *(shape or (16,)))


def labelled(model: onnx.ModelProto, count: int, seed: int, *shape: int) -> Arrays:
    """Random rows, labelled with the model's own answers."""
    x = rows(count, seed, *shape)
    return {"x": x, "label": answers(model, {"x": x}).argmax(1)}


def drop(limit: float) -> dict[str, Any]:
    return {"metric": "accuracy", "compared_to": "source", "max_drop": limit}


SMALLER = {"metric": "size_ratio", "max": 0.9}


def project(
    folder: Path, model: onnx.ModelProto, calibration: Arrays, evaluation: Arrays, **options: Any
) -> dict[str, Any]:
    """Options of a stage whose model and rows lie in `folder`; by default int8 may lose 5 points."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / "model.onnx"))
    np.savez(folder / "cal.npz", **calibration)
    np.savez(folder / "eval.npz", **evaluation)
    label = "label" if "label" in evaluation else None
    return {
        "model": str(folder / "model.onnx"),
        "calibration": str(folder / "cal.npz"),
        "evaluation": {"dataset": str(folder / "eval.npz"), "label": label},
        "gates": [drop(0.05), SMALLER],
        **options,
    }
