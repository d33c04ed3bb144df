"""NNCF's accuracy-aware quantization: int8, then groups reverted one by one until the goal is met.

Samples go in one at a time, as its ranking by single samples wants. Its bias correction runs parts
of the model besides, which are not counted.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import nncf
import numpy as np
import onnx
import onnxruntime as ort

from tests.benchmarks.peers.task import Task, perform


def search(task: Task) -> bytes:
    calibration = list(singles(task.calibration))

    def read(image: np.ndarray) -> dict[str, np.ndarray]:
        task.passes += image is calibration[0]
        return {task.input: image}

    def validate(model: Any, pairs: Iterable[Any]) -> tuple[float, list[float]]:
        if isinstance(model, onnx.ModelProto):
            model = ort.InferenceSession(model.SerializeToString())
        right = [
            float(scores_of(model, task.input, image).argmax() == label) for image, label in pairs
        ]
        # It tries the function on one sample first.
        task.trials += len(right) > 1
        return float(np.mean(right)), right

    found: onnx.ModelProto = nncf.quantize_with_accuracy_control(
        onnx.load(str(task.model)),
        nncf.Dataset(calibration, read),
        nncf.Dataset(list(zip(singles(task.images), task.labels.tolist(), strict=True))),
        validate,
        max_drop=task.max_drop,
        drop_type=nncf.DropType.ABSOLUTE,
        subset_size=len(task.calibration),
    )
    return bytes(found.SerializeToString())


def singles(images: np.ndarray) -> Iterator[np.ndarray]:
    for index in range(len(images)):
        yield images[index : index + 1]


def scores_of(model: Any, name: str, image: np.ndarray) -> np.ndarray:
    out = model.run(None, {name: image})
    found: np.ndarray = next(iter(out.values())) if isinstance(out, dict) else out[0]
    return found


if __name__ == "__main__":
    perform(search, "nncf")
