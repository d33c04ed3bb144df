"""The quantize stage, run as the others are. It takes the suite's files, for it confirms its winner.

`task.json` says where the suite's model lies; held-out rows are not read.
"""

import json
import tempfile
from pathlib import Path

from tests.benchmarks.peers.task import Task, perform
from tests.benchmarks.quantize_suite import searched


def search(task: Task) -> bytes | None:
    source = Path(json.loads((task.folder / "task.json").read_text())["source"])
    with tempfile.TemporaryDirectory() as folder:
        found = searched(source, Path(folder), max_drop=task.max_drop)
    task.trials, task.passes = found["trials"], found["passes"]
    task.notes["counted by the stage"] = found["inferences"]
    task.notes["said"] = found["winner"] if found["approved"] else found["refused"]
    return found["bytes"] if found["approved"] else None


if __name__ == "__main__":
    perform(search, "mlgate")
