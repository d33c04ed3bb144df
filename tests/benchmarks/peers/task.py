"""What every tool gets, and how its work is counted: the same for all of them.

The task is a folder: `model.onnx` and `rows.npz` with calibration images, search images and their
labels (held-out rows are not in it), `task.json` with the accuracy that may be lost and the tool's
mode. The tool leaves `result.json`, and `found.onnx` when it returned a model.

Samples are counted where onnxruntime runs a whole model, whoever calls it, and every session gets
one thread.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

BATCH = 32


@dataclass
class Task:
    """The work, and what has been counted of it so far."""

    folder: Path
    max_drop: float
    mode: str
    calibration: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    input: str = ""
    trials: int = -1  # the first evaluation is the source model's
    passes: int = 0
    inferences: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "Task":
        said = json.loads((folder / "task.json").read_text())
        with np.load(folder / "rows.npz") as rows:
            parts = [rows[name] for name in ("calibration", "images", "labels")]
        return cls(folder, said["max_drop"], said["mode"], *parts)

    @property
    def model(self) -> Path:
        return self.folder / "model.onnx"

    def batches(self, size: int = BATCH) -> Iterator[np.ndarray]:
        """One calibration pass, in whole batches; counted when it begins."""
        self.passes += 1
        for start in range(0, len(self.calibration) // size * size, size):
            yield self.calibration[start : start + size]

    def accuracy(self, model: str | bytes) -> float:
        """The share of right answers on the search rows: one trial."""
        self.trials += 1
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        hits = 0
        for start in range(0, len(self.images), BATCH):
            feeds = {self.input: self.images[start : start + BATCH]}
            scores = session.run(None, feeds)[0]
            hits += int((scores.argmax(1) == self.labels[start : start + BATCH]).sum())
        return hits / len(self.images)


def count_inferences(task: Task) -> None:
    """One thread for every session; samples that pass through the model's input are counted."""
    begin, run = ort.InferenceSession.__init__, ort.InferenceSession.run

    def single(self: Any, model: Any, sess_options: Any = None, *args: Any, **kwargs: Any) -> None:
        options = sess_options or ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        begin(self, model, options, *args, **kwargs)

    def counted(self: Any, names: Any, feeds: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if task.input in feeds:
            task.inferences += len(feeds[task.input])
        return run(self, names, feeds, *args, **kwargs)

    task.input = ort.InferenceSession(str(task.model)).get_inputs()[0].name
    ort.InferenceSession.__init__ = single
    ort.InferenceSession.run = counted


def cpu_seconds() -> float:
    """User + system of this process and of its children so far."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def perform(search: Callable[[Task], bytes | None], package: str) -> None:
    """Run a tool's search on the task that the command line names, and write what came of it."""
    task = Task.of(Path(sys.argv[1]))
    count_inferences(task)
    begin, began = cpu_seconds(), time.monotonic()
    found, exited = None, None
    try:
        found = search(task)
    except SystemExit as raised:
        exited = raised
    result = {
        "tool": f"{package} {version(package)}",
        "cpu": cpu_seconds() - begin,
        "wall": time.monotonic() - began,
        "trials": task.trials,
        "passes": task.passes,
        "inferences": task.inferences,
        **task.notes,
    }
    if found is not None:
        (task.folder / "found.onnx").write_bytes(found)
    (task.folder / "result.json").write_text(json.dumps(result))
    if exited is not None:
        raise exited
