"""What a candidate answers, asked in a process of its own: loading some models kills onnxruntime.

The child is a fork: nothing is imported again, and its memory goes away with it. onnxruntime has
no threads of its own in this stage, as every session runs on one.
"""

import faulthandler
import io
import os
import resource
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from mlgate.data.session import Array, Feeds, Session
from mlgate.errors import StageError
from mlgate.stages.quantize.blocks import joined

_SECONDS: Final = 600.0  # for a few samples: longer is a deadlock
_SAID: Final = b"!"
_ANSWERED: Final = b"="


def outputs_of(
    model: bytes,
    batches: Sequence[Feeds],
    output: str,
    *,
    folder: Path | None = None,
    name: str = "the model",
    batch_axis: Mapping[str, int] | None = None,
) -> Array:
    """One output of a model for all `batches`; `folder` is where its weights lie, if not in it.

    Raises `StageError` when the model cannot be loaded or run, or takes the process with it.
    """

    def answer() -> Array:
        session = Session(model, name=name, folder=folder, batch_axis=batch_axis)
        session.fetched = (output,)
        return joined([{output: found[output]} for found in session.stream(batches)])[output]

    if sys.platform != "linux":
        return answer()  # forks are not safe there
    return _in_a_child(answer, name)


@dataclass(frozen=True)
class Ports:
    """Names and types of a model's inputs and outputs."""

    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


def ports_of(model: bytes, name: str) -> Ports:
    """What a model takes and gives. Raises `StageError` when it cannot be loaded."""

    def answer() -> Array:
        session = Session(model, name=name)
        sides = (session.inputs, session.outputs)
        return np.array(
            [
                (str(side), port.name, port.dtype)
                for side, ports in enumerate(sides)
                for port in ports
            ]
        )

    rows = _in_a_child(answer, name) if sys.platform == "linux" else answer()
    inputs, outputs = (
        tuple((str(port), str(dtype)) for own, port, dtype in rows if own == side) for side in "01"
    )
    return Ports(inputs, outputs)


def _in_a_child(answer: Callable[[], Array], name: str) -> Array:
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which NumPy's pool has
        child = os.fork()
    if not child:
        os.close(reading)
        _answer(answer, writing)
    os.close(writing)
    try:
        said = _read(reading, child, name)
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        died_of = signal.Signals(os.WTERMSIG(status)).name
        raise StageError(f"onnxruntime dies of {died_of} when it loads {name}")
    if said[:1] == _SAID:
        raise StageError(said[1:].decode(errors="replace"))
    if said[:1] != _ANSWERED:
        raise StageError(f"onnxruntime ended its process when it loaded {name}")
    values: Array = np.lib.format.read_array(io.BytesIO(said[1:]), allow_pickle=False)
    return values


def _answer(answer: Callable[[], Array], writing: int) -> None:
    """In the child: write what came of it, and end without the parent's clean-up."""
    code = 1
    faulthandler.disable()  # the parent says what killed it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with os.fdopen(writing, "wb") as pipe:
            try:
                values = answer()
                if values.dtype == object:
                    values = values.astype(str)
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, values, allow_pickle=False)
                pipe.write(_ANSWERED + buffer.getvalue())
            except StageError as error:
                pipe.write(_SAID + error.message.encode())
            except MemoryError:
                pipe.write(_SAID + b"it needs more memory than there is")
        code = 0
    finally:
        os._exit(code)


def _read(reading: int, child: int, name: str) -> bytes:
    """All that the child writes. Raises `StageError` when it does not end."""
    deadline = time.monotonic() + _SECONDS
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            raise StageError(f"{name} does not answer within {_SECONDS:g} s")
        part = os.read(reading, 2**20)
        if not part:
            return b"".join(parts)
        parts.append(part)
