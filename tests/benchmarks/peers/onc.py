"""onnx-neural-compressor 1.0: a list of settings, tried in order. Needs prettytable beside it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx_neural_compressor import data_reader
from onnx_neural_compressor.quantization import config, tuning

from tests.benchmarks.peers.task import Task, perform

_OPERATORS = ["Conv", "MatMul", "Gemm"]


def search(task: Task) -> bytes | None:
    class Reader(data_reader.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rewind()

        def rewind(self) -> None:
            self.left: Iterator[np.ndarray] = task.batches()

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.left, None)
            return None if batch is None else {task.input: batch}

    settings = [
        config.StaticQuantConfig(
            calibration_data_reader=Reader(),
            per_channel=per_channel,
            op_types_to_quantize=_OPERATORS,
        )
        for per_channel in (True, False)
    ]
    # Its goal is a share of the source's accuracy; this one is the same loss, and not its work.
    base = task.accuracy(str(task.model))
    task.trials, task.inferences = -1, 0
    goal = tuning.TuningConfig(config_set=settings, tolerable_loss=task.max_drop / base)
    found = tuning.autotune(
        str(task.model),
        goal,
        lambda path: task.accuracy(str(path)),
        calibration_data_reader=Reader(),
    )
    if found is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.onnx"
        onnx.save(found, str(path))
        return path.read_bytes()


if __name__ == "__main__":
    perform(search, "onnx-neural-compressor")
