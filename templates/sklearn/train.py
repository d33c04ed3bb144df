"""Train two scikit-learn models on data/, the candidate and the one in production, as models/*.joblib.

The candidate is a logistic regression on data/train.parquet, production a naive Bayes classifier on
data/reference.parquet. Neither becomes ONNX: `score.py` answers for them. Needs scikit-learn and
pyarrow; takes a second.
"""

import argparse
from pathlib import Path

import joblib
import numpy as np
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
LABEL = "diagnosis"
NAMES = np.array(["benign", "malignant"])


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features as float64 [N, 30], in the order of the file, and labels as text [N]."""
    table = pq.read_table(path)
    columns = [table[name].to_numpy() for name in table.column_names if name != LABEL]
    return np.stack(columns, axis=1).astype(np.float64), NAMES[table[LABEL].to_numpy()]


def train(data: Path) -> dict[str, Pipeline]:
    """Both models, fitted."""
    return {
        "tumours": make_pipeline(StandardScaler(), LogisticRegression(C=0.05)).fit(
            *read(data / "train.parquet")
        ),
        "production": make_pipeline(StandardScaler(), GaussianNB()).fit(
            *read(data / "reference.parquet")
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE / "data")
    parser.add_argument("--out", type=Path, default=HERE / "models")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    features, labels = read(options.data / "holdout.parquet")
    for name, model in train(options.data).items():
        joblib.dump(model, options.out / f"{name}.joblib", compress=9)
        print(f"{name}.joblib: accuracy on holdout {model.score(features, labels):.4f}")


if __name__ == "__main__":
    main()
