"""The trained suite as the quantize benchmarks read it: models, rows, and the loss on held-out rows.

Folders come from `models/quantization_suite.py`, one per seed. `data/heldout.parquet` is read here
alone: no tool is given its path.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mlgate.data.session import Session
from mlgate.statistics.paired import Pairs
from tests.stages.quantize.jobs import quantize

POINT = 0.01
SIDE = 16
BATCH = 32
# In the order of the tables. Imbalance marked † was put in on purpose, which favours equalization.
TITLES = {
    "plain": "plain",
    "depthwise": "depthwise",
    "vit": "vit",
    "depthwise_1.2": "depthwise, σ = 1.2 †",
    "depthwise_1.6": "depthwise, σ = 1.6 †",
    "vit_outliers": "vit, outliers †",
}
Rows = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Loss:
    """Accuracy that a candidate loses on held-out rows, and the least it loses at 95 %."""

    drop: float
    least: float

    @property
    def over(self) -> bool:
        """More than a point is lost, by the estimate."""
        return self.drop > POINT

    @property
    def proven(self) -> bool:
        """More than a point is lost, by the lower end of the paired interval."""
        return self.least > POINT


def models(folder: Path, wanted: list[str] | None = None) -> Iterator[Path]:
    """The folder's models in the order of the tables."""
    for name in TITLES:
        path = folder / f"{name}.onnx"
        if path.exists() and (not wanted or name in wanted):
            yield path


def rows(path: Path) -> Rows:
    """(images [n, 1, side, side], labels [n])."""
    table = pq.read_table(path)
    pixels = np.stack([table[c].to_numpy() for c in table.column_names if c != "digit"], axis=1)
    return pixels.reshape(-1, 1, SIDE, SIDE).astype(np.float32), table["digit"].to_numpy()


def right(model: Path | bytes, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which answers are right [n]."""
    session = Session(model)
    name = session.inputs[0].name
    feeds = ({name: images[i : i + BATCH]} for i in range(0, len(images), BATCH))
    scores = np.concatenate([next(iter(out.values())) for out in session.stream(feeds)])
    found: np.ndarray = scores.argmax(axis=1) == labels
    return found


def held_out(source: Path, candidate: Path | bytes) -> Loss:
    """What `candidate` loses against `source` on the rows that no tool sees."""
    heldout = rows(source.parent / "data" / "heldout.parquet")
    pairs = Pairs.of(right(source, *heldout), right(candidate, *heldout))
    return Loss(0.0 - pairs.difference, 0.0 - pairs.interval(0.95)[2])


def options_of(model: Path, max_drop: float = POINT, **changes: Any) -> dict[str, Any]:
    """The stage's options for a model of the suite: everything by default but the data."""
    data = model.parent / "data"
    return {
        "model": str(model),
        "calibration": {"dataset": str(data / "calibration.parquet")},
        "search": {"dataset": str(data / "search.parquet"), "label": "digit"},
        "evaluation": {
            "dataset": str(data / "confirm.parquet"),
            "label": "digit",
            "confirm": 1,
            "inputs": {Session(model).inputs[0].name: {"columns": "pixel_*"}},
        },
        "gates": [{"metric": "accuracy", "compared_to": "source", "max_drop": max_drop}],
        **changes,
    }


def searched(model: Path, workdir: Path, **changes: Any) -> dict[str, Any]:
    """One run of the stage: what it counted, its verdict, and the bytes of what it wrote."""
    evidence = quantize(options_of(model, **changes), workdir)
    values = {m.name: m.value for m in evidence.measurements if not m.labels}
    artifact = evidence.outputs.get("model") or evidence.outputs["best_effort"]
    return {
        "winner": evidence.details["winner"],
        "approved": "model" in evidence.outputs,
        "refused": evidence.details.get("refused"),
        "trials": values["trials"],
        "passes": values["calibration_passes"],
        "inferences": values["sample_inferences"],
        "size": values["size_ratio"],
        "bytes": (workdir / artifact.name).read_bytes(),
    }
