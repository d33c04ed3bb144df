"""Train the model that is in production on data/reference.parquet, as models/production.onnx.

A plain network of one hidden layer: what the convolutional one of `train.py` has to be as good as.
It takes and returns the same: `image`, float32 [N, 1, 8, 8], and `logits`, float32 [N, 10]. Needs
scikit-learn, onnx, onnxruntime and pyarrow; takes a second.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

HERE = Path(__file__).parent
LABEL = "digit"
SIDE = 8


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images as float32 [N, 64] and labels as int64 [N]."""
    table = pq.read_table(path)
    pixels = [table[name].to_numpy() for name in table.column_names if name != LABEL]
    return np.stack(pixels, axis=1), table[LABEL].to_numpy()


def train(images: np.ndarray, labels: np.ndarray, *, seed: int) -> MLPClassifier:
    with threadpool_limits(1):
        network = MLPClassifier((48,), solver="lbfgs", alpha=0.1, max_iter=500, random_state=seed)
        return network.fit(images.astype(np.float64), labels)


def to_onnx(network: MLPClassifier, *, trained_on: str) -> bytes:
    """Flatten, then Gemm and Relu for the hidden layer, and Gemm for the classes."""
    constants = {}
    for layer, (weight, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        constants |= {f"weight_{layer}": weight, f"bias_{layer}": bias}
    nodes = [
        helper.make_node("Flatten", ["image"], ["pixels"], name="flatten"),
        helper.make_node("Gemm", ["pixels", "weight_0", "bias_0"], ["sum"], name="gemm_0"),
        helper.make_node("Relu", ["sum"], ["hidden"], name="relu"),
        helper.make_node("Gemm", ["hidden", "weight_1", "bias_1"], ["logits"], name="gemm_1"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])
    weights = [
        numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()
    ]
    graph = helper.make_graph(nodes, "production", [image], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"trained_on": trained_on})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def accuracy(model: bytes, images: np.ndarray, labels: np.ndarray) -> float:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": images.reshape(-1, 1, SIDE, SIDE)})
    return float((np.argmax(logits, axis=1) == labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE / "data")
    parser.add_argument("--out", type=Path, default=HERE / "models" / "production.onnx")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    source = options.data / "reference.parquet"
    digest = f"sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}"
    exported = to_onnx(train(*read(source), seed=options.seed), trained_on=digest)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(exported)
    right = accuracy(exported, *read(options.data / "holdout.parquet"))
    print(f"{options.out.name}: {len(exported):,} bytes, accuracy on holdout {right:.4f}")


if __name__ == "__main__":
    main()
