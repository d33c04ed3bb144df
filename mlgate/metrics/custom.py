"""A user's own metric: a function in a Python file, or a program, over outputs and labels."""

import os
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlgate.errors import StageError
from mlgate.metrics.options import CommandMetric, PythonMetric
from mlgate.quantity import seconds

Array = NDArray[Any]
Floats = NDArray[np.float64]
Custom = Callable[[Mapping[str, Array], Array | None], Floats]


def load(name: str, metric: PythonMetric | CommandMetric, path: str, workdir: Path) -> Custom:
    """The metric as a function of (outputs, labels) → [n] or [1] numbers.

    The function raises `StageError` when the user's code raises, or gives NaN or another length.
    """
    if isinstance(metric, CommandMetric):
        return _checked(name, _command(name, metric, path, workdir))
    return _checked(name, _python(name, metric, path))


def _python(name: str, metric: PythonMetric, path: str) -> Callable[..., object]:
    module = ModuleType(f"mlgate_metric_{name}")
    module.__file__ = path
    try:
        source = Path(path).read_bytes()
        # Code that the spec names is meant to run, as a test's would.
        exec(compile(source, path, "exec"), module.__dict__)  # noqa: S102
    except OSError as error:
        raise StageError(f"metric {name}: {path} cannot be read: {error.strerror}") from None
    except Exception as error:  # noqa: BLE001 (a user's code raises anything)
        raise _failed(name, path, error) from None
    function = getattr(module, metric.function, None)
    if not callable(function):
        raise StageError(
            f"metric {name}: {path} has no function {metric.function}",
            hint=f"def {metric.function}(outputs, labels): ...",
        )

    def call(outputs: Mapping[str, Array], labels: Array | None) -> object:
        try:
            return function(dict(outputs), labels)
        except Exception as error:  # noqa: BLE001 (a user's code raises anything)
            raise _failed(name, path, error) from None

    return call


def _failed(name: str, path: str, error: Exception) -> StageError:
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.lineno:
        lines.append(error.lineno)
    where = f"{path}:{lines[-1]}" if lines else path
    said = str(error).splitlines()[0] if str(error) else ""
    return StageError(f"metric {name} raised {type(error).__name__} at {where}: {said[:200]}")


def _command(name: str, metric: CommandMetric, path: str, workdir: Path) -> Callable[..., object]:
    def call(outputs: Mapping[str, Array], labels: Array | None) -> object:
        file = workdir / f"metric-{name}.npz"
        arrays = dict(outputs) if labels is None else {**outputs, "labels": labels}
        _save_npz(file, arrays)
        try:
            done = subprocess.run(
                [path or metric.command[0], *metric.command[1:], os.fspath(file)],
                capture_output=True,
                text=True,
                timeout=seconds(metric.timeout),
                check=False,
            )
            if done.returncode:
                said = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1][:200]
                raise StageError(f"metric {name}: the command exited {done.returncode}: {said}")
            return _one_each(name, [float(word) for word in done.stdout.split()], outputs)
        except subprocess.TimeoutExpired:
            raise StageError(f"metric {name}: the command took over {metric.timeout}") from None
        except OSError as error:
            raise StageError(f"metric {name}: {metric.command[0]}: {error.strerror}") from None
        except ValueError as error:
            raise StageError(
                f"metric {name}: the command printed no number: {error}",
                hint="print one number per sample and line, and nothing else",
            ) from None
        finally:
            file.unlink(missing_ok=True)

    return call


def _one_each(name: str, values: list[float], outputs: Mapping[str, Array]) -> list[float]:
    """`values`, one per sample: for an interval a single number would need 1,000 more runs."""
    count = len(next(iter(outputs.values())))
    if len(values) != count:
        raise StageError(
            f"metric {name}: the command printed {len(values)} numbers for {count} samples",
            hint="print one number per sample and line, and nothing else",
        )
    return values


def _save_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    # Not np.savez: an output may be called `file` or `allow_pickle`.
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, np.asanyarray(value), allow_pickle=False)


def _checked(name: str, call: Callable[..., object]) -> Custom:
    def metric(outputs: Mapping[str, Array], labels: Array | None) -> Floats:
        count = len(next(iter(outputs.values())))
        try:
            values = np.asarray(call(outputs, labels), dtype=np.float64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise StageError(f"metric {name} returned no numbers: {error}") from None
        if len(values) not in (1, count):
            raise StageError(
                f"metric {name} returned {len(values)} numbers for {count} samples",
                hint="return one number per sample, or one number",
            )
        if not np.isfinite(values).all():
            raise StageError(f"metric {name} returned NaN or infinity")
        return values

    return metric
