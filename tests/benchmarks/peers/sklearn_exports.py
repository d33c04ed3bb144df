"""Ten scikit-learn models as skl2onnx writes them, with rows: python sklearn_exports.py FOLDER

Runs in an environment of its own that has scikit-learn and skl2onnx. Each folder gets model.onnx
and all.npz: the inputs by name, and the label.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    StringTensorType,
)
from sklearn.datasets import load_diabetes, load_digits
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

Array = NDArray[Any]
RNG = np.random.default_rng(0)
ROWS = 4200


def digits() -> tuple[Array, Array]:
    """Digits moved about by noise, so that there are enough rows to resolve a point."""
    x, y = load_digits(return_X_y=True)
    index = RNG.integers(0, len(x), ROWS)
    return (x[index] + RNG.normal(0, 1.0, (ROWS, 64))).astype(np.float32), y[index]


def write(
    folder: Path,
    name: str,
    model: Any,
    kind: list[tuple[str, Any]],
    feeds: dict[str, Any],
    label: Array,
) -> None:
    where = folder / name
    where.mkdir(parents=True, exist_ok=True)
    made = to_onnx(model, initial_types=kind)
    (where / "model.onnx").write_bytes(made.SerializeToString())
    np.savez(where / "all.npz", **feeds, label=label)


def main(folder: Path) -> None:
    x, y = digits()
    floats = [("x", FloatTensorType([None, 64]))]
    words = np.array(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    )
    wide = {"hidden_layer_sizes": (128, 64), "max_iter": 60, "random_state": 0}
    train = slice(0, 1200)
    classifiers = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
        "gradient boosting": GradientBoostingClassifier(n_estimators=10, random_state=0),
        "random forest": RandomForestClassifier(n_estimators=20, random_state=0),
        "support vectors": SVC(),
        "nearest neighbours": KNeighborsClassifier(),
        "perceptron": MLPClassifier(**wide),
        "perceptron after scaling": make_pipeline(StandardScaler(), MLPClassifier(**wide)),
    }
    for name, model in classifiers.items():
        model.fit(x[train], y[train])
        write(folder, name, model, floats, {"x": x}, y)
    model = MLPClassifier(**wide).fit(x[train], words[y[train]])
    write(folder, "perceptron of words", model, floats, {"x": x}, words[y])
    bmi, progress = load_diabetes(return_X_y=True)
    index = RNG.integers(0, len(bmi), ROWS)
    rows = bmi[index] + RNG.normal(0, 0.01, (ROWS, bmi.shape[1]))
    model = MLPRegressor(hidden_layer_sizes=(128, 64), max_iter=200, random_state=0)
    model.fit(rows[train], progress[index][train])
    doubles = [("x", DoubleTensorType([None, bmi.shape[1]]))]
    write(folder, "regressor in double", model, doubles, {"x": rows}, progress[index])
    spoken = np.array([" ".join(words[int(v) // 2] for v in row[10:30]) for row in x])
    model = make_pipeline(TfidfVectorizer(), MLPClassifier(**wide))
    model.fit(spoken[train], y[train])
    text = [("x", StringTensorType([None]))]
    write(folder, "perceptron of text", model, text, {"x": spoken}, y)


main(Path(sys.argv[1]))
