"""Evaluate jobs on a made-up churn table, with answers of two made-up models."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from mlgate.evidence import Measured
from mlgate.stage import Job, Located, inputs_of
from mlgate.stages.evaluate.run import measure
from mlgate.stages.evaluate.spec import Evaluate

ROWS = 600


def evaluate(options: dict[str, Any], workdir: Path, **settings: Any) -> Measured:
    """The evidence of one run, on the paths that `options` names."""
    parsed = Evaluate.model_validate(options, strict=False)
    located = {}
    for _, value in inputs_of(parsed):
        path = Path(value.path or "")
        digest = None
        if path.is_file():
            digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        located[value] = Located(str(path), digest)
    workdir.mkdir(parents=True, exist_ok=True)
    return measure(Job("good", parsed, workdir, located, (0.95,), **settings))


def row(evidence: Measured, name: str, **labels: str) -> Any:
    """The one measurement of that name with exactly these labels (`class_` is `class`)."""
    wanted = {key.rstrip("_"): value for key, value in labels.items()}
    (found,) = (m for m in evidence.measurements if m.name == name and m.labels == wanted)
    return found


def change(evidence: Measured, name: str, **labels: str) -> Any:
    """The one comparison of that name with exactly these labels."""
    wanted = {key.rstrip("_"): value for key, value in labels.items()}
    (found,) = (c for c in evidence.comparisons if c.name == name and c.labels == wanted)
    return found


class Churn:
    """A table of customers in `folder`, and answers of a better and a worse model."""

    def __init__(self, folder: Path, rows: int = ROWS, seed: int = 0) -> None:
        self.folder, self.rng = folder, np.random.default_rng(seed)
        self.left = self.rng.random(rows) < 0.3
        self.keys = np.arange(1000, 1000 + rows)
        self.site = self.rng.choice(list("abc"), rows)
        self.label = np.where(self.left, "yes", "no")
        self.table = pa.table(
            {
                "id": self.keys,
                "site": self.site,
                "months": self.rng.normal(size=rows) + self.left,
                "churn": self.label,
            }
        )
        self.holdout = folder / "holdout.parquet"
        pq.write_table(self.table, self.holdout)
        self.good = self.shares(0.8)
        self.weak = self.shares(2.0)

    def shares(self, noise: float) -> np.ndarray:
        signal = 3.0 * self.left - 1.5 + self.rng.normal(size=len(self.left)) * noise
        found: np.ndarray = 1 / (1 + np.exp(-signal))
        return found

    def predictions(self, name: str, shares: np.ndarray, **columns: Any) -> dict[str, Any]:
        """A CSV file of answers in another order, as options name it."""
        order = self.rng.permutation(len(shares))
        content = {
            "id": self.keys,
            "said": np.where(shares >= 0.5, "yes", "no"),
            "p_no": 1 - shares,
            "p_yes": shares,
            **columns,
        }
        pacsv.write_csv(pa.table(content).take(pa.array(order)), self.folder / name)
        return {
            "file": str(self.folder / name),
            "answer": "said",
            "scores": {"no": "p_no", "yes": "p_yes"},
        }

    def options(self, **changes: Any) -> dict[str, Any]:
        return {
            "evaluation": {"dataset": str(self.holdout), "label": "churn", "key": "id"},
            **changes,
        }
