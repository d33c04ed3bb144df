"""Olive's search over its OnnxQuantization pass: a grid, in its default order, to the first that fits.

Two methods of its search are guarded here: the released version raises TypeError as soon as one
point of the grid was pruned, and would end there. Its evaluator wants torch and torchmetrics.
"""

import os
from pathlib import Path
from typing import Any

os.environ["OLIVE_DISABLE_TELEMETRY"] = "1"

import numpy as np
import torch
from olive.data.registry import Registry
from olive.search.search_results import SearchResults
from olive.search.search_strategy import SearchStrategy
from olive.systems.local import LocalSystem
from olive.workflows import run

from tests.benchmarks.peers.task import BATCH, Task, perform


class Rows(torch.utils.data.Dataset):  # type: ignore[misc]
    """Images with labels, or calibration images: a pass over those is counted as it begins."""

    def __init__(self, task: Task, images: np.ndarray, labels: np.ndarray | None) -> None:
        self.task, self.images, self.labels = task, images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], int]:
        self.task.passes += self.labels is None and index == 0
        label = 0 if self.labels is None else int(self.labels[index])
        return {self.task.input: self.images[index]}, label


def search(task: Task) -> bytes | None:
    torch.set_num_threads(1)
    register(task)
    count_and_guard(task)
    out = run(configuration(task))
    if not out.has_output_model():
        return None
    return Path(out.get_best_candidate().model_path).read_bytes()


def register(task: Task) -> None:
    whole = len(task.calibration) // BATCH * BATCH

    @Registry.register_dataset("calibration_rows")  # type: ignore[untyped-decorator]
    def calibration_rows(**_: Any) -> Rows:
        return Rows(task, task.calibration[:whole], None)

    @Registry.register_dataset("search_rows")  # type: ignore[untyped-decorator]
    def search_rows(**_: Any) -> Rows:
        return Rows(task, task.images, task.labels)

    @Registry.register_post_process("largest")  # type: ignore[untyped-decorator]
    def largest(output: Any, **_: Any) -> Any:
        scores = next(iter(output.values())) if isinstance(output, dict) else output
        return scores.argmax(axis=1)


def count_and_guard(task: Task) -> None:
    evaluate = LocalSystem.evaluate_model
    meets, results = SearchResults.meets_goals, SearchResults._get_results_list
    record = SearchStrategy.record_feedback_signal

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        task.trials += 1
        return evaluate(self, *args, **kwargs)

    def safely_meets(self: Any, index: int) -> bool:
        found = self._results
        return index < len(found) and bool(found[index] and found[index][0]) and meets(self, index)

    def safe_results(self: Any, apply_goals: bool = False) -> Any:
        saved = self._results
        self._results = [one if one and one[0] is not None else None for one in saved]
        try:
            return results(self, apply_goals)
        finally:
            self._results = saved

    def recorded(self: Any, index: int, signal: Any, *args: Any, **kwargs: Any) -> Any:
        task.notes["points"] = task.notes.get("points", 0) + 1
        task.notes["died"] = task.notes.get("died", 0) + (signal is None)
        return record(self, index, signal, *args, **kwargs)

    LocalSystem.evaluate_model = counted
    SearchResults.meets_goals, SearchResults._get_results_list = safely_meets, safe_results
    SearchStrategy.record_feedback_signal = recorded


def configuration(task: Task) -> dict[str, Any]:
    out = task.folder / "olive"
    accuracy = {
        "name": "accuracy_score",
        "priority": 1,
        "metric_config": {"task": "multiclass", "num_classes": 10},
        "goal": {"type": "max-degradation", "value": task.max_drop},
    }
    size = {"name": "bytes", "priority": 2}
    metrics = [
        {
            "name": "accuracy",
            "type": "accuracy",
            "backend": "torch_metrics",
            "data_config": "search",
            "sub_types": [accuracy],
        },
        {"name": "size", "type": "size_on_disk", "sub_types": [size]},
    ]
    device = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}
    return {
        "input_model": {"type": "ONNXModel", "model_path": str(task.model)},
        "systems": {"local": {"type": "LocalSystem", "accelerators": [device]}},
        "data_configs": [data("calibration"), data("search")],
        "evaluators": {"both": {"metrics": metrics}},
        "passes": {"quantize": {"type": "OnnxQuantization", "data_config": "calibration"}},
        "search_strategy": {
            "execution_order": "joint",
            "sampler": "sequential",
            "max_iter": 1000,
            "stop_when_goals_met": True,
        },
        "evaluator": "both",
        "host": "local",
        "target": "local",
        "cache_dir": str(out / "cache"),
        "output_dir": str(out),
        "log_severity_level": 4,
    }


def data(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "DataContainer",
        "load_dataset_config": {"type": f"{name}_rows"},
        "dataloader_config": {"batch_size": BATCH},
        "post_process_data_config": {"type": "largest"},
    }


if __name__ == "__main__":
    perform(search, "olive-ai")
