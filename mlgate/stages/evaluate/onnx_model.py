"""An ONNX model's outputs on the evaluated rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlgate.data.feeds import InputBinding, input_bindings
from mlgate.data.rows import Rows, open_rows
from mlgate.data.session import Feeds, Session, refuse_foreign
from mlgate.errors import StageError
from mlgate.metrics.values import are_answers
from mlgate.stage import Job, ModelInput, Npz
from mlgate.stages.evaluate.spec import Evaluate
from mlgate.stages.evaluate.tables import Truth

Outputs = dict[str, NDArray[Any]]


def outputs_of_model(job: Job[Evaluate], model: ModelInput, truth: Truth, whose: str) -> Outputs:
    """All outputs [n, …] by name. Raises `StageError` for a model or rows that do not fit."""
    path = Path(job.inputs[model].location)
    refuse_foreign(path)
    session = Session(path, name=path.name)
    rows = job.options.evaluation
    assert rows is not None
    arrays = {
        name: job.inputs[way.npz].location
        for name, way in rows.inputs.items()
        if isinstance(way, Npz)
    }
    read = open_rows(job.inputs[rows.dataset].location, rows.filter)
    bindings = tuple(input_bindings(read, rows, session.inputs, arrays, "evaluation"))
    size = session.fixed_batch or job.options.batch_size
    found: dict[str, list[NDArray[Any]]] = {}
    for outputs in session.stream(_feeds(bindings, read, size), threads=job.threads):
        for name, value in outputs.items():
            found.setdefault(name, []).append(value)
    made = {name: np.concatenate(parts) for name, parts in found.items()}
    for name, value in made.items():
        if len(value) != len(truth):
            raise StageError(
                f"output {name} of the {whose} has {len(value)} entries for {len(truth)} rows: "
                "its first axis is not the batch"
            )
    return made


def classes_of_outputs(outputs: Outputs) -> int:
    """How many classes the widest output of scores has; 0 where no output is one."""
    widths = [
        2 if value.ndim == 1 or value.shape[1] == 1 else value.shape[1]
        for value in outputs.values()
        if value.dtype.kind == "f" and value.ndim <= 2 and not are_answers(value)
    ]
    return max(widths, default=0)


def _feeds(bindings: tuple[InputBinding, ...], rows: Rows, size: int) -> Iterator[Feeds]:
    columns = list(dict.fromkeys(name for binding in bindings for name in binding.columns))
    start = 0
    for batch in rows.batches(columns or list(rows.names[:1]), size):
        count = len(next(iter(batch.values())))
        window = slice(start, start + count)
        yield {binding.port.name: binding.feed(batch, window) for binding in bindings}
        start += count
