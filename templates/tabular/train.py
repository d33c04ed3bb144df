"""Train a small neural network on data/train.parquet and write it as models/tumours.onnx.

`--rows reference` trains the one in production in the same way, as models/production.onnx.

The model takes `features`, float32 [N, 30], unscaled and in the order of the file's columns, and
returns `logits`, float32 [N, 2]: benign, malignant. Scaling to zero mean and unit deviation is part
of the model, so that whoever serves it cannot forget it. One thread and a fixed seed: the same
machine gives the same bytes. Needs scikit-learn, onnx, onnxruntime and pyarrow; takes a second.
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
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

HERE = Path(__file__).parent
LABEL = "diagnosis"
HIDDEN = (32, 16)


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features as float32 [N, 30] and labels as int64 [N]."""
    table = pq.read_table(path)
    features = [table[name].to_numpy() for name in table.column_names if name != LABEL]
    return np.stack(features, axis=1), table[LABEL].to_numpy()


def train(
    features: np.ndarray, labels: np.ndarray, *, seed: int
) -> tuple[StandardScaler, MLPClassifier]:
    with threadpool_limits(1):
        scaler = StandardScaler().fit(features.astype(np.float64))
        # A strong penalty: 300 rows and 30 columns would otherwise be learnt by heart.
        network = MLPClassifier(HIDDEN, solver="lbfgs", alpha=3.0, max_iter=1000, random_state=seed)
        network.fit(scaler.transform(features.astype(np.float64)), labels)
    return scaler, network


def to_onnx(scaler: StandardScaler, network: MLPClassifier, *, trained_on: str) -> bytes:
    """(features - mean) / deviation, then Gemm and Relu for each layer; logits: one per class."""
    weights = [w.astype(np.float32) for w in network.coefs_]
    biases = [b.astype(np.float32) for b in network.intercepts_]
    # scikit-learn has one output z for two classes; logits (-z/2, z/2) have the same softmax.
    weights[-1] = np.concatenate([-weights[-1] / 2, weights[-1] / 2], axis=1)
    biases[-1] = np.concatenate([-biases[-1] / 2, biases[-1] / 2])
    constants = {
        "mean": scaler.mean_.astype(np.float32),
        "deviation": scaler.scale_.astype(np.float32),
    }
    nodes = [
        helper.make_node("Sub", ["features", "mean"], ["centred"], name="centre"),
        helper.make_node("Div", ["centred", "deviation"], ["scaled"], name="scale"),
    ]
    value, last = "scaled", len(weights) - 1
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        constants |= {f"weight_{layer}": weight, f"bias_{layer}": bias}
        result = "logits" if layer == last else f"sum_{layer}"
        inputs = [value, f"weight_{layer}", f"bias_{layer}"]
        nodes.append(helper.make_node("Gemm", inputs, [result], name=f"gemm_{layer}"))
        if layer != last:
            value = f"hidden_{layer}"
            nodes.append(helper.make_node("Relu", [result], [value], name=f"relu_{layer}"))
    graph = helper.make_graph(
        nodes,
        "tumours",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", len(scaler.mean_)])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"trained_on": trained_on})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def accuracy(model: bytes, features: np.ndarray, labels: np.ndarray) -> float:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"features": features})
    return float((np.argmax(logits, axis=1) == labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE / "data")
    parser.add_argument("--rows", choices=["train", "reference"], default="train")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    source = options.data / f"{options.rows}.parquet"
    digest = f"sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}"
    exported = to_onnx(*train(*read(source), seed=options.seed), trained_on=digest)
    name = "tumours.onnx" if options.rows == "train" else "production.onnx"
    out = options.out or HERE / "models" / name
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(exported)
    right = accuracy(exported, *read(options.data / "holdout.parquet"))
    print(f"{out.name}: {len(exported):,} bytes, accuracy on holdout {right:.4f}")


if __name__ == "__main__":
    main()
