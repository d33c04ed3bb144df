"""Which output is scored, and that its rows are those that went in.

An output that is [time, batch, classes], or [tokens, words] of one row, would be counted as that many
independent rows, and its intervals would be a fiction. So a few rows are sent in, and once more in
reverse: what comes out must have as many entries, and turn around with them.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from mlgate.data.session import Array, Feeds, Port, Session
from mlgate.errors import StageError
from mlgate.metrics.options import Task

ROWS: Final = 5  # sent in: few models have five of anything else
_SAME: Final = 1e-3  # of an output's largest value: kernels differ by place in the batch


def scored_output(session: Session, asked: str | None, task: Task) -> str:
    """The output to score: the one that is named, or the first that holds numbers of `task`.

    A classifier that answers words first and scores after is scored by its scores.
    """
    names = [port.name for port in (*session.outputs, *session.others)]
    ports = {port.name: port for port in session.outputs}
    if asked is not None and asked not in names:
        raise StageError(
            f"the model has no output {asked!r}",
            hint=nearest(asked, names, "its outputs"),
            option=("output",),
        )
    chosen = asked or next(iter(ports), names[0])
    if chosen not in ports:
        kind = next(port.kind for port in session.others if port.name == chosen)
        raise StageError(
            f"the model's {chosen} is a {kind}, and only tensors are supported",
            hint="name another output, or export the model with plain tensors",
        )
    if ports[chosen].dtype != "object":
        return chosen
    numbers = [port for port in session.outputs if port.dtype != "object"]
    scores = [port for port in numbers if _holds_scores(port)]
    if asked is None and task == "classification" and len(scores) == 1:
        return scores[0].name
    if not numbers:
        raise StageError(
            f"output {chosen} is text, and the model has no output of numbers",
            hint="export the model with its scores as an output",
        )
    raise StageError(
        f"output {chosen} is text: name the numbers, output: {numbers[0].name}",
        hint=f"outputs of numbers: {', '.join(port.name for port in numbers)}",
        option=("output",) if asked is not None else (),
    )


def _holds_scores(port: Port) -> bool:
    return port.dtype.startswith("float") and len(port.shape) == 2


def class_words(model: onnx.ModelProto, width: int | None) -> tuple[str, ...]:
    """The words that a scikit-learn export answers with, in the order of its scores; () if none."""
    for node in model.graph.node:
        for part in node.attribute:
            if part.name == "classlabels_strings" and len(part.strings) == width:
                return tuple(word.decode(errors="replace") for word in part.strings)
    tables = [
        tensor
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.STRING and list(tensor.dims) == [width]
    ]
    if len(tables) != 1:
        return ()
    words = numpy_helper.to_array(tables[0]).tolist()
    return tuple(w.decode(errors="replace") if isinstance(w, bytes) else str(w) for w in words)


def refuse_unknown_axes(session: Session, batch_axis: Mapping[str, int]) -> None:
    """Raises `StageError` for a name in `batch_axis` that the model does not have."""
    names = [port.name for port in (*session.inputs, *session.outputs)]
    for name in batch_axis:
        if name not in names:
            raise StageError(
                f"batch_axis names {name!r}, which is no input or output of the model",
                hint=nearest(name, names, "its inputs and outputs"),
                option=("batch_axis", name),
            )


def bind(session: Session, feeds: Feeds, scored: str) -> None:
    """Leave in `session.fetched` the outputs whose first axis is the batch.

    Raises `StageError` when the `scored` one is none of them.
    """
    count = len(next(iter(feeds.values())))
    found = session.run(feeds)
    turned = session.run({name: value[::-1].copy() for name, value in feeds.items()})
    bound = []
    for port in session.outputs:
        value, other = found[port.name], turned[port.name]
        if _follows(value, other, 0, count):
            bound.append(port.name)
            continue
        axes = [axis for axis in range(1, value.ndim) if _follows(value, other, axis, count)]
        plain = value.ndim > 0 and len(value) == count
        if plain and not axes and not _repeats(session, feeds, port.name, value):
            bound.append(port.name)  # it draws numbers of its own, and tells nothing of its rows
        elif port.name == scored:
            raise _unbound(port, value, count, axes)
    session.fetched = tuple(bound)


def _repeats(session: Session, feeds: Feeds, output: str, value: Array) -> bool:
    """Whether the same rows have the same answers."""
    return bool(np.array_equal(session.run(feeds)[output], value))


def _follows(value: Array, turned: Array, axis: int, count: int) -> bool:
    """Whether `axis` has an entry for each row, which moves with its row."""
    if value.ndim <= axis or value.shape[axis] != count or value.shape != turned.shape:
        return False
    back = np.flip(turned, axis)
    if value.dtype.kind not in "fiub":
        return bool(np.array_equal(value, back))
    a, b = value.astype(np.float64), back.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    scale = float(np.abs(a[finite]).max(initial=0.0)) or 1.0
    return float(np.abs(a[finite] - b[finite]).max(initial=0.0)) <= _SAME * scale


def _unbound(port: Port, value: Array, count: int, axes: Sequence[int]) -> StageError:
    hint = "export the model with the batch as the first axis of its outputs"
    if axes and not port.axis:
        hint = f"say where it is: batch_axis: {{{port.name}: {axes[0]}}}"
    entries = len(value) if value.ndim else "no"
    where = f"axis {port.axis}" if port.axis else "its first axis"
    said = (
        f"output {port.name} has {entries} entries for a batch of {count}: {where} is not the batch"
    )
    if value.ndim and len(value) == count and axes:
        said = f"output {port.name} does not follow its rows: {where} is not the batch"
    elif value.ndim and len(value) == count:
        said = f"what output {port.name} says of a row depends on the rows beside it"
        hint = "rows that are one sequence are one sample: export the model with a batch before it"
    return StageError(said, hint=hint, option=("batch_axis", port.name) if port.axis else ())


def nearest(name: str, known: Sequence[str], what: str) -> str:
    """A hint: the name that was probably meant, else all there are."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{what}: {', '.join(known[:12])}"
