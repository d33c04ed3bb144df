"""Run an ONNX model the same way every time: one thread per batch, a fixed batch, a fixed order."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mlgate.errors import StageError

Array = NDArray[Any]
Feeds = dict[str, Array]

_DTYPES: Final[Mapping[str, str]] = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}

# What scikit-learn's exports put out by default: one map per row, from class to share.
_MAPS: Final = ("seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))")
_MOST_CLASSES: Final = 100_000
_SOURCE_FILE: Final = re.compile(r"/onnxruntime_src/\S+ [^)]*\) ")
_FOLDER: Final = "session.model_external_initializers_file_folder_path"


# The first bytes of what is no ONNX model, and how to get one.
_FOREIGN: Final = (
    (0, b"\x80", "a Python pickle, as scikit-learn's: export it with skl2onnx, zipmap=False"),
    (0, b"PK\x03\x04", "a zip archive, as PyTorch's .pt: export it with torch.onnx.export"),
    (0, b"\x89HDF", "HDF5, as Keras': export it with model.export(…, format='onnx')"),
    (8, b"{", "safetensors, weights without a graph: export the model that they belong to"),
    (0, b"version https://git-lfs", "a Git LFS pointer: git lfs pull"),
)


@dataclass(frozen=True)
class Port:
    """An input or output of a model. A dimension of None is free; the first one is the batch.

    `axis` is where the model itself has the batch: `shape` is as if it were first. An input that
    is `once` has none: one value for the whole batch. `kind` is onnxruntime's word for what is no
    tensor; `maps` are one per row, and become an array [n, classes].
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    axis: int = 0
    once: bool = False
    kind: str | None = None

    @property
    def maps(self) -> bool:
        return self.kind in _MAPS


class Session:
    """A loaded model on the CPU. Raises `StageError` when onnxruntime refuses the model."""

    def __init__(
        self,
        model: Path | bytes,
        *,
        name: str = "the model",
        folder: Path | None = None,
        batch_axis: Mapping[str, int] | None = None,
    ) -> None:
        """`folder` is where weights lie that `model` does not hold itself.

        `batch_axis` says of inputs and outputs where their batch is, if it is not the first axis.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        if folder is not None:
            options.add_session_config_entry(_FOLDER, str(folder))
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = ort.InferenceSession(source, options, ["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 (onnxruntime's errors have no common class)
            raise StageError(
                f"onnxruntime {ort.__version__} cannot load {name}: {first_line(error)}",
                hint=_hint(str(error)),
            ) from None
        self.name = name
        given = self._session.get_inputs()
        axes = {**_axes_of(given), **(batch_axis or {})}
        self.inputs = _ports(given, axes)
        made = [_port(value, axes) for value in self._session.get_outputs()]
        self.outputs = tuple(port for port in made if port.kind is None or port.maps)
        self.others = tuple(port for port in made if port not in self.outputs)
        self.fetched = tuple(port.name for port in self.outputs)

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that the model insists on, if it does."""
        sizes = {port.shape[0] for port in self.inputs if not port.once}
        fixed = {size for size in sizes if size is not None}
        return fixed.pop() if len(fixed) == 1 and len(sizes) == 1 else None

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """The `fetched` outputs by name, the batch first.

        Raises `StageError` when the model cannot take or process `feeds`.
        """
        fed = {
            port.name: _fed(port, feeds[port.name]) for port in self.inputs if port.name in feeds
        }
        try:
            values = self._session.run(list(self.fetched), fed)
        except Exception as error:  # noqa: BLE001 (onnxruntime's errors have no common class)
            raise StageError(
                f"{self.name} failed on a batch: {first_line(error)}",
                hint="do the rows have the shapes and types that the model wants?",
            ) from None
        ports = {port.name: port for port in self.outputs}
        return {
            name: _taken(ports[name], value)
            for name, value in zip(self.fetched, values, strict=True)
        }

    def stream(self, batches: Iterable[Feeds], *, threads: int = 1) -> Iterator[dict[str, Array]]:
        """Outputs of every batch, in order; a short batch is padded where the batch is fixed.

        Each batch runs on one thread whatever `threads` is, so its numbers do not depend on it.
        No more than `threads` results wait: some are a thousand times the model.
        """
        if threads <= 1:
            yield from map(self._padded, batches)
            return
        with ThreadPoolExecutor(threads) as pool:
            waiting = []
            for feeds in batches:
                waiting.append(pool.submit(self._padded, feeds))
                if len(waiting) >= threads:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()

    def _padded(self, feeds: Feeds) -> dict[str, Array]:
        rows, wanted = len(next(iter(feeds.values()))), self.fixed_batch
        if wanted is None or wanted == rows:
            return self.run(feeds)
        padded = {
            name: np.concatenate([value, np.repeat(value[-1:], wanted - rows, axis=0)])
            for name, value in feeds.items()
        }
        found = self.run(padded)
        # What has another length is no batch, and whoever asked for it is told so.
        return {
            name: value[:rows] if value.ndim and len(value) == wanted else value
            for name, value in found.items()
        }


def _axes_of(inputs: Sequence[Any]) -> dict[str, int]:
    """The batch of inputs that share a named dimension with the first axis of another input.

    A recurrent state [2, batch, 8] beside x [batch, 16].
    """
    first = {value.shape[0] for value in inputs if value.shape and isinstance(value.shape[0], str)}
    axes = {}
    for value in inputs:
        places = [
            i for i, size in enumerate(value.shape) if isinstance(size, str) and size in first
        ]
        if len(places) == 1 and isinstance(value.shape[0], int):
            axes[value.name] = places[0]
    return axes


def _ports(values: Sequence[Any], axes: Mapping[str, int]) -> tuple[Port, ...]:
    """Inputs; those without a batch are `once`."""
    ports = [_port(value, axes) for value in values]
    for port in ports:
        if port.kind is not None:
            raise StageError(
                f"the model's input {port.name} is a {port.kind}, and only tensors are supported",
                hint="export the model with plain tensors",
            )
    batched = [port for port in ports if port.shape and port.shape[0] != 1]
    found = []
    for port in ports:
        alone = port.shape[:1] == (1,) and bool(batched) and port.name not in axes
        found.append(replace(port, once=not port.shape or alone))
    return tuple(found)


def _fed(port: Port, value: Array) -> Array:
    """An input as the model itself takes it, of an array with the batch first."""
    if not port.once:
        return np.ascontiguousarray(np.moveaxis(value, 0, port.axis)) if port.axis else value
    if (value != value[:1]).any():
        few = f": {', '.join(str(kind) for kind in np.unique(value)[:3].tolist())}"
        raise StageError(
            f"input {port.name} is one value for a whole batch, and its rows hold several"
            f"{few if value.ndim == 1 else ''}",
            hint="filter the rows to one of them, and give the others a stage of their own",
        )
    return np.asarray(value[0] if not port.shape else value[:1])


def _taken(port: Port, value: Any) -> Array:
    """An output with the batch first."""
    if port.maps:
        return _unmapped(value)
    found: Array = value
    if port.axis and found.ndim > port.axis:
        return np.ascontiguousarray(np.moveaxis(found, port.axis, 0))
    return found


def _unmapped(maps: Sequence[Mapping[Any, float]]) -> Array:
    """Shares [n, classes] out of one map per row; class numbers are columns, words go by order."""
    keys = list(maps[0]) if maps else []
    width = len(keys)
    places = {key: place for place, key in enumerate(keys)}
    if all(isinstance(key, int) and 0 <= key < _MOST_CLASSES for key in keys):
        places = {key: key for key in keys}
        width = max(keys, default=-1) + 1
    found = np.zeros((len(maps), width), np.float32)
    for row, shares in enumerate(maps):
        for key, share in shares.items():
            found[row, places[key]] = share
    return found


def refuse_foreign(path: Path) -> None:
    """Raises `StageError` for a file of another framework, and says how it becomes ONNX."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError:
        return  # told better by who reads it
    for start, mark, what in _FOREIGN:
        if head[start:].startswith(mark):
            raise StageError(
                f"{path.name} is not ONNX: it is {what}",
                hint="answers of any model are evaluated as predictions: or command: "
                "(uses: evaluate)",
            )


def latencies_ms(
    sessions: Mapping[str, Session], feeds: Feeds, *, rounds: int, warmup: int = 5
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds per batch [rounds] of each session, measured in turns, so that drift cancels."""
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for number in range(warmup + rounds):
        # Every other round goes backwards: nobody always runs first.
        order = list(sessions) if number % 2 else list(sessions)[::-1]
        for name in order:
            begin = time.perf_counter_ns()
            sessions[name].run(feeds)
            if number >= warmup:
                times[name].append((time.perf_counter_ns() - begin) / 1e6)
    return {name: np.array(values) for name, values in times.items()}


def first_line(error: BaseException) -> str:
    """The first line that says something, without onnxruntime's file names and addresses."""
    text = str(error).strip() or type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[0]
    if line.endswith(("indices", "node:", "Attempting")) and len(lines) > 1:
        line = "; ".join(lines[:4])  # the first one announces what the others say
    return _SOURCE_FILE.sub("", line)[:300]


def _hint(message: str) -> str:
    if "not a registered" in message or "Could not find an implementation" in message:
        return "the model uses an operator that this onnxruntime lacks"
    if "construct locale" in message:
        return (
            "this machine lacks that locale: locale-gen en_US.UTF-8 (Debian: apt install locales)"
        )
    if "external data" in message.lower() or "External initializer" in message:
        return "put the model's external data file beside the model"
    return "is it a complete ONNX file? onnx.checker.check_model says more"


def _port(value: Any, axes: Mapping[str, int]) -> Port:
    dtype = _DTYPES.get(value.type)
    if dtype is None:
        return Port(value.name, "float32", (None, None), kind=value.type)
    shape = tuple(size if isinstance(size, int) else None for size in value.shape or ())
    axis = axes.get(value.name, 0)
    if axis and axis >= len(shape) and shape:
        raise StageError(
            f"batch_axis: {value.name} has the axes 0 to {len(shape) - 1}",
            option=("batch_axis", value.name),
        )
    if shape:
        shape = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    return Port(value.name, dtype, shape, axis)
