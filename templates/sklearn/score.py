"""Answer for a scikit-learn model: rows as JSON Lines on standard input, answers on standard output.

    python score.py models/tumours.joblib < rows.jsonl

Each row is an object of its columns and `key`; each answer is {"key", "answer", "scores"}. Any
framework fits behind these two lines of JSON. Whatever else is to be said goes to standard error.
"""

import json
import sys

import joblib
import numpy as np

NOT_FEATURES = {"key"}


def main() -> None:
    model = joblib.load(sys.argv[1])
    rows = [json.loads(line) for line in sys.stdin]
    names = [name for name in rows[0] if name not in NOT_FEATURES]
    features = np.array([[row[name] for name in names] for row in rows])
    classes = [str(name) for name in model.classes_]
    for row, scores in zip(rows, model.predict_proba(features), strict=True):
        answer = classes[int(scores.argmax())]
        named = dict(zip(classes, scores.tolist(), strict=True))
        print(json.dumps({"key": row["key"], "answer": answer, "scores": named}))


if __name__ == "__main__":
    main()
