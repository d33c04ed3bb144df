"""Run an ONNX model the same way every time: one thread per batch, a fixed batch, a fixed order."""

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
    """An input or output of a model. A dimension of None is free; the first one is the batch."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Session:
    """A loaded model on the CPU. Raises `StageError` when onnxruntime refuses the model."""

    def __init__(
        self, model: Path | bytes, *, name: str = "the model", folder: Path | None = None
    ) -> None:
        """`folder` is where weights lie that `model` does not hold itself."""
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
        self.inputs = tuple(_port(value) for value in self._session.get_inputs())
        self.outputs = tuple(_port(value) for value in self._session.get_outputs())

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that the model insists on, if it does."""
        sizes = {port.shape[0] for port in self.inputs if port.shape}
        fixed = {size for size in sizes if size is not None}
        return fixed.pop() if len(fixed) == 1 and len(sizes) == 1 else None

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Outputs by name. Raises `StageError` when the model cannot take or process `feeds`."""
        try:
            values = self._session.run(None, feeds)
        except Exception as error:  # noqa: BLE001 (onnxruntime's errors have no common class)
            raise StageError(
                f"{self.name} failed on a batch: {first_line(error)}",
                hint="do the rows have the shapes and types that the model wants?",
            ) from None
        return {port.name: value for port, value in zip(self.outputs, values, strict=True)}

    def stream(self, batches: Iterable[Feeds], *, threads: int = 1) -> Iterator[dict[str, Array]]:
        """Outputs of every batch, in order; a short batch is padded where the batch is fixed.

        Each batch runs on one thread whatever `threads` is, so its numbers do not depend on it.
        """
        if threads <= 1:
            yield from map(self._padded, batches)
            return
        with ThreadPoolExecutor(threads) as pool:
            waiting = []
            for feeds in batches:
                waiting.append(pool.submit(self._padded, feeds))
                if len(waiting) > 2 * threads:
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
        return {name: value[:rows] for name, value in self.run(padded).items()}


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
    line = text.splitlines()[0]
    return line[:300]


def _hint(message: str) -> str:
    if "not a registered" in message or "Could not find an implementation" in message:
        return "the model uses an operator that this onnxruntime lacks"
    if "external data" in message.lower() or "External initializer" in message:
        return "put the model's external data file beside the model"
    return "is it a complete ONNX file? onnx.checker.check_model says more"


def _port(value: Any) -> Port:
    dtype = _DTYPES.get(value.type)
    if dtype is None:
        raise StageError(
            f"the model's {value.name} is a {value.type}, and only tensors are supported",
            hint="export the model with plain tensors (scikit-learn: zipmap=False)",
        )
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return Port(value.name, dtype, shape)
