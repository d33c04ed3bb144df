"""ONNX Runtime sessions that run where they were told to, with every buffer bound beforehand.

ONNX Runtime falls back to the CPU without an error when a GPU provider cannot load, and again
when a run fails on the GPU. Here each of those is a `StageError` (see `provider.check_placement`).
"""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from mlgate.errors import StageError
from mlgate.stages.benchmark.provider import (
    LIBRARIES,
    Runtime,
    check_placement,
    providers_of,
    require_provider,
)

Array = npt.NDArray[np.generic]
Feed = Mapping[str, Array]
Run = Callable[[object, object], object]
# Shape and dtype of each output of one query.
OutputShapes = tuple[tuple[tuple[int, ...], np.dtype[np.generic]], ...]

# A missing TensorRT is a plain RuntimeError; the others have no common base.
ORT_ERRORS: Final[tuple[type[Exception], ...]] = (
    RuntimeError,
    *(
        value
        for value in vars(ort_errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ),
)
# Libraries that do not load are our errors to report, once and with a hint.
onnxruntime.set_default_logger_severity(4)


@dataclass(frozen=True)
class Port:
    """An input of a model: its ONNX name, NumPy dtype, and axes (a name, or None, if symbolic)."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class Prepared:
    """A session with its bindings: `run(bindings[i], None)` is one query, and returns when done.

    `run` is ONNX Runtime's own, below the Python wrapper that would retry on the CPU.
    """

    session: onnxruntime.InferenceSession
    run: Run
    bindings: tuple[object, ...]
    _keep_alive: tuple[object, ...] = ()


def open_session(
    model: Path, runtime: Runtime, *, profile_into: Path | None = None
) -> onnxruntime.InferenceSession:
    """A session on exactly the provider that was asked for, or a `StageError`."""
    require_provider(runtime)
    if runtime.provider != "cpu":
        _preload_libraries()
    if not model.is_file():
        raise StageError(f"there is no model at {model}", hint="check the path in mlgate.yaml")
    settings = session_options(runtime)
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if profile_into is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(profile_into)
    if runtime.provider != "cpu" and runtime.max_fallback_nodes == 0:
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = onnxruntime.InferenceSession(
            str(model), settings, providers=providers_of(runtime, model), enable_fallback=0
        )
    except ORT_ERRORS as error:
        raise _not_loaded(model, runtime, error) from None
    session.disable_fallback()
    check_placement(session, runtime)
    return session


_LEVELS: Final = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def settings_of(runtime: Runtime) -> tuple[dict[str, int], dict[str, str]]:
    """Attributes and entries of ONNX Runtime's `SessionOptions`, as numbers and text.

    A fresh process that is timed (`cold_start_child`) is given them, too.
    """
    wanted = runtime.session
    mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    if wanted.inter_threads > 1:
        mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    attributes = {
        "intra_op_num_threads": runtime.threads,
        "inter_op_num_threads": wanted.inter_threads,
        "execution_mode": int(mode),
        "graph_optimization_level": int(_LEVELS[wanted.optimization]),
        "enable_cpu_mem_arena": int(wanted.arena),
        "enable_mem_pattern": int(wanted.memory_pattern),
    }
    entries = {
        "session.set_denormal_as_zero": wanted.denormals_as_zero,
        "session.intra_op.allow_spinning": wanted.spinning,
        "session.inter_op.allow_spinning": wanted.spinning,
    }
    return attributes, {name: str(int(on)) for name, on in entries.items()}


def session_options(runtime: Runtime) -> onnxruntime.SessionOptions:
    """ONNX Runtime's options for the threads and settings that the spec gives."""
    options = onnxruntime.SessionOptions()
    attributes, entries = settings_of(runtime)
    for name, value in attributes.items():
        kind = type(getattr(options, name))
        setattr(options, name, kind(value))
    for name, text in entries.items():
        options.add_session_config_entry(name, text)
    options.log_severity_level = 4
    return options


@lru_cache(1)
def _preload_libraries() -> None:
    """Make CUDA and cuDNN of installed packages known; it prints what it misses, we raise later."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        onnxruntime.preload_dlls()


def _not_loaded(model: Path, runtime: Runtime, error: Exception) -> StageError:
    said = str(error).split("\n")[0]
    said = said.rsplit("ProviderOptions&) ", 1)[-1][:300]
    if runtime.provider != "cpu" and isinstance(error, RuntimeError):
        return StageError(
            f"{runtime.name} cannot be used here: {said}", hint=LIBRARIES[runtime.provider]
        )
    if runtime.provider != "cpu" and ("fallback" in said.lower() or "EP" in said):
        hint = f"{LIBRARIES[runtime.provider]}; or allow some nodes there with max_fallback_nodes"
        return StageError(
            f"{model.name} would run on the CPU and not on {runtime.name}: {said}", hint=hint
        )
    if "external data" in said.lower() or "external initializer" in said.lower():
        return StageError(
            f"{model.name} lacks its external data: {said}",
            hint="keep the .data file beside the .onnx file",
        )
    return StageError(
        f"{model.name} cannot be loaded: {said}",
        hint="is it a valid ONNX file of an opset that this onnxruntime knows?",
    )


_DTYPES: Final = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bool": "bool",
} | {f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def ports_of(session: onnxruntime.InferenceSession) -> tuple[Port, ...]:
    """The model's inputs. Raises `StageError` for one that is not a tensor of numbers."""
    ports = []
    for node in session.get_inputs():
        inner = node.type.removeprefix("tensor(").removesuffix(")")
        if inner not in _DTYPES:
            raise StageError(
                f"input {node.name} is a {node.type}: only tensors of numbers are measured",
                hint="export the model without string, sequence or map inputs",
            )
        shape = tuple(axis if isinstance(axis, int) else (axis or None) for axis in node.shape)
        ports.append(Port(node.name, np.dtype(_DTYPES[inner]), shape))
    return tuple(ports)


@dataclass(frozen=True)
class Expected:
    """What a model answers to each feed: shape and dtype of each output, and the first in full."""

    outputs: tuple[OutputShapes, ...]
    first: tuple[Array, ...]


def expect(session: onnxruntime.InferenceSession, feeds: Sequence[Feed]) -> Expected:
    """Answer every feed once, unbound. Raises `StageError` for a refused feed, or NaN."""
    answers = [_answers(session, feed) for feed in feeds]
    _check_shapes_hold(session, answers[0], _answers(session, feeds[0]))
    shapes = tuple(tuple((one.shape, one.dtype) for one in answer) for answer in answers)
    return Expected(shapes, answers[0])


def _check_shapes_hold(
    session: onnxruntime.InferenceSession, once: Sequence[Array], again: Sequence[Array]
) -> None:
    """Raise `StageError` when one query has answers of different shapes, which cannot be bound."""
    for node, first, second in zip(session.get_outputs(), once, again, strict=True):
        if first.shape != second.shape:
            raise StageError(
                f"the shape of output {node.name} changes from run to run for one query: "
                f"{first.shape}, then {second.shape}",
                hint="it cannot be bound to memory beforehand: give the model's random nodes a "
                "seed, or measure it without the nodes that sample",
            )


def prepare(
    session: onnxruntime.InferenceSession,
    feeds: Sequence[Feed],
    runtime: Runtime,
    expected: Expected,
) -> Prepared:
    """Bind one query per feed, inputs and outputs preallocated on the device, and run the first.

    A CUDA graph has one set of addresses, so one feed, and must answer as without it. Raises
    `StageError` when a query fails or answers otherwise.
    """
    # Below the Python wrapper: 0.5 µs less a query, and no second try on the CPU.
    run: Run = session._sess.run_with_iobinding
    shapes = expected.outputs[:1] if runtime.cuda_graph else expected.outputs
    bound = [bind(session, *pair, runtime) for pair in zip(feeds, shapes, strict=False)]
    bindings = tuple(one.binding._iobinding for one in bound)
    attempt(run, bindings[0])
    if runtime.cuda_graph:
        for _ in range(3):  # captured by now, and replayed
            attempt(run, bindings[0])
        same_answers([room.numpy() for room in bound[0].outputs], expected.first)
    return Prepared(session, run, bindings, tuple(bound))


@dataclass(frozen=True)
class Bound:
    """One query whose inputs and outputs lie on the device."""

    binding: onnxruntime.IOBinding
    inputs: Mapping[str, onnxruntime.OrtValue]
    outputs: tuple[onnxruntime.OrtValue, ...]


def bind(
    session: onnxruntime.InferenceSession, feed: Feed, outputs: OutputShapes, runtime: Runtime
) -> Bound:
    """One query on the device: `feed` copied there, and room for outputs of these shapes."""
    binding, device = session.io_binding(), runtime.device_id
    inputs, rooms = {}, []
    for name, array in feed.items():
        inputs[name] = onnxruntime.OrtValue.ortvalue_from_numpy(array, runtime.device, device)
        binding.bind_ortvalue_input(name, inputs[name])
    for node, (shape, dtype) in zip(session.get_outputs(), outputs, strict=True):
        room = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            shape, dtype.type, runtime.device, device
        )
        binding.bind_ortvalue_output(node.name, room)
        rooms.append(room)
    return Bound(binding, inputs, tuple(rooms))


def same_answers(replayed: Sequence[Array], plain: Sequence[Array]) -> None:
    """Raise `StageError` when a CUDA graph answers otherwise than the model without it."""
    for one, other in zip(replayed, plain, strict=True):
        if one.dtype.kind not in "fc":
            same = bool(np.array_equal(one, other))
        else:
            scale = float(np.abs(other).max(initial=0.0))
            same = bool(np.allclose(one, other, rtol=1e-2, atol=1e-3 * scale))
        if not same:
            raise StageError(
                "the captured CUDA graph does not answer as the model does",
                hint="leave cuda_graph out: the model has control flow or changing shapes",
            )


def _answers(session: onnxruntime.InferenceSession, feed: Feed) -> tuple[Array, ...]:
    try:
        answers = session.run(None, dict(feed))
    except ORT_ERRORS as error:
        raise StageError(
            f"the model refuses its input: {' '.join(str(error).split())[:300]}",
            hint="set inputs: and dims: to shapes that the model accepts",
        ) from None
    for node, answer in zip(session.get_outputs(), answers, strict=True):
        if not isinstance(answer, np.ndarray):
            raise StageError(
                f"output {node.name} is not a tensor",
                hint="export without ZipMap: options={'zipmap': False}",
            )
        if answer.dtype.kind == "f" and np.isnan(answer).any():
            raise StageError(
                f"output {node.name} is NaN: its latency means nothing",
                hint="give real rows with dataset: or inputs:, or mend the model",
            )
    return tuple(answers)


def attempt(run: Run, binding: object) -> None:
    """One query; a failure of the device is a `StageError`, never a second try on the CPU."""
    try:
        run(binding, None)
    except ORT_ERRORS as error:
        raise failed_query(error) from None


class QueryFailed(StageError):
    """A query that failed while measuring; `seen` is the trace or the epoch up to then."""

    seen: object = None

    def in_scenario(self, id_: str, far: str) -> "QueryFailed":
        """The same, and how far the measurement had come."""
        return QueryFailed(f"{id_}: {self.message}, {far}", hint=self.hint)


def failed_query(error: Exception, seen: object = None) -> QueryFailed:
    """What a query that failed while measuring becomes."""
    failed = QueryFailed(
        f"a query failed while measuring: {str(error).split(chr(10))[0][:300]}",
        hint="nothing was retried on another provider; look at the device's memory and driver",
    )
    failed.seen = seen
    return failed
