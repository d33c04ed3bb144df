"""Intel Neural Compressor 2.6, the last release that takes ONNX.

Modes: `auto`, its default, and `basic`, which falls back node by node.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from neural_compressor import PostTrainingQuantConfig, quantization
from neural_compressor.config import AccuracyCriterion, TuningCriterion

from tests.benchmarks.peers.task import BATCH, Task, perform


def search(task: Task) -> bytes | None:
    class Loader:
        batch_size = BATCH

        def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
            return ((batch, 0) for batch in task.batches(BATCH))

    def evaluate(model: Any) -> float:
        proto = model if isinstance(model, onnx.ModelProto) else model.model
        return task.accuracy(proto.SerializeToString())

    settings = PostTrainingQuantConfig(
        quant_level="auto" if task.mode == "auto" else 1,
        quant_format="QDQ",
        calibration_sampling_size=[len(task.calibration)],
        accuracy_criterion=AccuracyCriterion(criterion="absolute", tolerable_loss=task.max_drop),
        tuning_criterion=TuningCriterion(strategy="basic", timeout=0, max_trials=100),
    )
    with tempfile.TemporaryDirectory() as folder:
        found = quantization.fit(
            str(task.model), settings, calib_dataloader=Loader(), eval_func=evaluate
        )
        if found is None:
            return None
        path = Path(folder) / "found.onnx"
        found.save(str(path))
        return path.read_bytes()


if __name__ == "__main__":
    perform(search, "neural-compressor")
