"""How each model input is filled: from columns of the rows, from an array, or with made-up numbers."""

import fnmatch
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np

from mlgate.data.rows import Array, Rows, load_npz
from mlgate.data.session import Port
from mlgate.errors import StageError
from mlgate.stage import Columns, Dataset, Npz, Synthetic


@dataclass(frozen=True)
class InputBinding:
    """How one model input is filled: from columns of the rows, or from a ready array."""

    port: Port
    columns: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    ready: Array | None = None
    doubts: Mapping[str, str | None] = field(default_factory=dict)

    def feed(self, batch: Mapping[str, Array], rows: slice) -> Array:
        """The input's array [rows, *shape]. Raises `StageError` for values that do not fit."""
        if self.ready is not None:
            return self.ready[rows]
        parts = [batch[name] for name in self.columns]
        count = len(parts[0])
        flat = [part.reshape(count, -1) for part in parts]
        values = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)
        if values.shape[1] != math.prod(self.shape):
            raise StageError(
                f"input {self.port.name} wants {list(self.shape)} = {math.prod(self.shape)} "
                f"numbers a row, the columns give {values.shape[1]}",
                hint=_where_the_batch_is(self.port) or "check columns and shape under inputs",
            )
        doubt = next(filter(None, map(self.doubts.get, self.columns)), None)
        return _cast(values, self.dtype, self.port, doubt).reshape(count, *self.shape)


def input_bindings(
    rows: Rows, dataset: Dataset, ports: Sequence[Port], located: Mapping[str, str], role: str
) -> Iterator[InputBinding]:
    """One binding per model input. Raises `StageError` for names and shapes that do not fit."""
    names = [port.name for port in ports]
    for name in dataset.inputs:
        if name not in names:
            raise StageError(
                f"{role} fills {name!r}, which the model does not have",
                hint=_nearest(name, names, "the model's inputs"),
            )
    for port in ports:
        way = dataset.inputs.get(port.name)
        if isinstance(way, Npz):
            yield InputBinding(port, ready=_from_npz(way, port, located[port.name], rows.count))
        elif isinstance(way, Synthetic):
            yield InputBinding(port, ready=_synthetic(way, port, rows.count))
        else:
            yield _from_columns(way, port, rows, dataset.label, role)


def _from_columns(
    way: Columns | None, port: Port, rows: Rows, label: str | None, role: str
) -> InputBinding:
    if way is None:
        if port.name not in rows.names:
            raise StageError(
                f"{role} has no column named as the model's input {port.name!r}",
                hint=f"say how it is filled: inputs: {{{port.name}: {{columns: …}}}} "
                f"(columns: {', '.join(rows.names[:8])}{' …' if len(rows.names) > 8 else ''})",
            )
        columns: tuple[str, ...] = (port.name,)
    elif isinstance(way.columns, str):
        pattern = way.columns
        columns = tuple(n for n in rows.names if n != label and fnmatch.fnmatchcase(n, pattern))
        if not columns:
            raise StageError(
                f"no column of {role} matches {pattern!r} for input {port.name}",
                hint=_nearest(pattern, [n for n in rows.names if n != label], "the columns"),
            )
    else:
        columns = tuple(_listed(way.columns, rows, label, role))
    if port.dtype == "object" and way is not None and way.dtype not in (None, "object", "str"):
        raise StageError(f"input {port.name} takes text, dtype says {way.dtype}")
    dtype = _dtype(way.dtype) if way is not None and way.dtype else port.dtype
    if np.dtype(dtype) != np.dtype(port.dtype):
        raise StageError(
            f"input {port.name} takes {port.dtype}, dtype says {dtype}",
            hint="leave dtype out: the model's own is used",
        )
    given = way.shape if way is not None else None
    shape = given if given is not None else _own_shape(port, rows, columns)
    _fits(shape, port)
    doubts = {name: rows.doubt(name) for name in columns}
    return InputBinding(port, columns, shape, port.dtype, doubts=doubts)


def _listed(wanted: Sequence[str], rows: Rows, label: str | None, role: str) -> Iterator[str]:
    """The columns of a list of names and patterns."""
    for name in wanted:
        matches = [n for n in rows.names if n != label and fnmatch.fnmatchcase(n, name)]
        if name in rows.names or not matches:
            known(name, rows, role)
            yield name
        else:
            yield from matches


def _where_the_batch_is(port: Port) -> str | None:
    if not port.axis:
        return None
    row = ", ".join("?" if size is None else str(size) for size in (1, *port.shape[1:]))
    return (
        f"its batch is axis {port.axis}, and a row is all the rest; a state that starts at zero: "
        f"inputs: {{{port.name}: {{synthetic: zeros, shape: [{row}]}}}}"
    )


def _own_shape(port: Port, rows: Rows, columns: Sequence[str]) -> tuple[int, ...]:
    if port.once and len(port.shape) < 2:
        return ()
    free = port.shape[1:]
    if all(size is not None for size in free):
        return tuple(size for size in free if size is not None)
    first = next(rows.batches(list(columns), 1))
    if len(columns) == 1:
        shape = first[columns[0]].shape[1:]
    else:
        shape = (sum(math.prod(value.shape[1:]) for value in first.values()),)
    if len(shape) != len(free):
        raise StageError(
            f"the shape of input {port.name} is not known: the model says {_written(port.shape)}, "
            f"a row holds {_written(shape)}",
            hint=f"add shape: to inputs: {{{port.name}: …}}; where the batch is another axis than "
            f"the first, say batch_axis: {{{port.name}: 1}}",
        )
    return tuple(shape)


def _fits(shape: tuple[int, ...], port: Port) -> None:
    if port.once and len(port.shape) < 2:
        return
    wanted = port.shape[1:]
    if len(shape) != len(wanted) or any(
        want is not None and want != have for want, have in zip(wanted, shape, strict=True)
    ):
        raise StageError(
            f"input {port.name} wants {_written(port.shape)}, shape gives "
            f"{_written((None, *shape))}",
            hint="shape is that of one row, without the batch dimension; where the batch is not the "
            f"first axis of the model's input, say batch_axis: {{{port.name}: 1}}",
        )


def _from_npz(way: Npz, port: Port, path: str, count: int) -> Array:
    arrays, name = load_npz(path), way.array or port.name
    if name not in arrays:
        raise StageError(f"{path} has no array {name!r} (it has: {', '.join(arrays)})")
    return _ready(arrays[name], port, count)


def _synthetic(way: Synthetic, port: Port, count: int) -> Array:
    rng = np.random.default_rng(way.seed)
    if port.once or (way.shape[:1] == (1,) and count != 1):
        # One for all rows: a state that is zero at the start.
        way = way.model_copy(update={"shape": (count, *way.shape[1:])})
    values: Array = np.zeros(way.shape)
    if way.synthetic != "zeros":
        draw = rng.standard_normal if way.synthetic == "normal" else rng.random
        values = draw(way.shape)
    return _ready(values.astype(port.dtype), port, count)


def _ready(values: Array, port: Port, count: int) -> Array:
    _fits(values.shape[1:], port)
    if len(values) != count:
        raise StageError(
            f"input {port.name} has {len(values)} rows, the dataset {count}",
            hint="an array holds one entry per row, the batch dimension first",
        )
    return _cast(values, port.dtype, port)


def _cast(values: Array, dtype: str, port: Port, doubt: str | None = None) -> Array:
    if dtype == "object":
        return values.astype(object)
    if values.dtype.kind not in "biuf":
        held = "text" if values.dtype.kind in "OUS" else str(values.dtype)
        why = f"; {doubt}" if doubt else ""
        raise StageError(
            f"input {port.name} takes {dtype}, the column holds {held}{why}",
            hint=doubt
            and "write missing cells as empty ones, and leave their rows out with filter",
        )
    target = np.dtype(dtype)
    if target.kind in "iu" and values.dtype.kind == "f" and np.any(values != np.round(values)):
        raise StageError(
            f"input {port.name} takes {dtype}, the column holds fractions",
            hint="is it the right column?",
        )
    if target.kind == "f" and values.dtype.kind == "f" and np.isnan(values).any():
        raise StageError(
            f"input {port.name} would get NaN", hint="fill or filter missing values first"
        )
    return np.ascontiguousarray(values.astype(target))


def _dtype(name: str) -> str:
    try:
        return str(np.dtype(name))
    except TypeError:
        raise StageError(f"dtype {name!r} is not known", hint="for example float32") from None


def known(name: str, rows: Rows, role: str) -> None:
    """Raises `StageError` when `name` is no column of `role`."""
    if name not in rows.names:
        hint = _nearest(name, list(rows.names), "the columns")
        raise StageError(f"{role} has no column {name!r}", hint=hint)


def _nearest(name: str, known: list[str], what: str) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{what}: {', '.join(known[:12])}"


def _written(shape: Sequence[int | None]) -> str:
    return "[" + ", ".join("N" if size is None else str(size) for size in shape) + "]"
