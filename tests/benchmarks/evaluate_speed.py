"""CPU seconds and memory of `evaluate` on 1,000,000 predictions, 20 slices and 8 metrics.

python -m tests.benchmarks.evaluate_speed
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlgate.stage import Job, Located, inputs_of
from mlgate.stages.evaluate.run import measure
from mlgate.stages.evaluate.spec import Evaluate

METRICS = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "recall",
    "precision",
    "auroc",
    "log_loss",
    "brier",
)


def project(folder: Path, rows: int) -> Evaluate:
    """Rows with labels and 20 sites, and predictions of them."""
    rng = np.random.default_rng(0)
    truth = rng.random(rows) < 0.3
    shares = 1 / (1 + np.exp(-(2.0 * truth - 1 + rng.normal(size=rows))))
    site = np.array([f"s{number:02}" for number in range(20)])[rng.integers(0, 20, rows)]
    keys = np.arange(rows)
    pq.write_table(
        pa.table({"id": keys, "site": site, "y": truth.astype(np.int64)}), folder / "rows.parquet"
    )
    answers = {"id": keys, "said": (shares > 0.5).astype(np.int64), "p": shares}
    pq.write_table(pa.table(answers), folder / "answers.parquet")
    return Evaluate.model_validate(
        {
            "predictions": {
                "file": str(folder / "answers.parquet"),
                "answer": "said",
                "scores": "p",
            },
            "evaluation": {
                "dataset": str(folder / "rows.parquet"),
                "label": "y",
                "key": "id",
                "slices": ["site"],
            },
            "gates": [{"metric": name, "min": 0.1} for name in METRICS],
        },
        strict=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = project(folder, options.rows)
        located = {value: Located(str(value.path), None) for _, value in inputs_of(spec)}
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        began = time.process_time()
        found = measure(Job("speed", spec, folder, located, (0.95,)))
        spent = time.process_time() - began
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{options.rows:,} rows, 20 slices, {len(found.measurements)} numbers: {spent:.1f} CPU s")
    print(f"memory: {most:.0f} MiB at most, {before:.0f} MiB before")


if __name__ == "__main__":
    main()
