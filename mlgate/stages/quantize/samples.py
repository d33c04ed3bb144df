"""Model inputs out of rows: which column fills which input, and which rows belong to which part.

Rows are told apart by a hash of what the model sees of them, so two parts are disjoint when no
image, and not only no row number, is in both.
"""

import fnmatch
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlgate.errors import StageError
from mlgate.stage import Columns, Dataset, Npz, Synthetic
from mlgate.stages.quantize.rows import Array, Rows, load_npz
from mlgate.stages.quantize.session import Feeds, Port

_READ_BYTES: Final = 4 * 2**20
KEPT_BYTES: Final = 256 * 2**20


@dataclass(frozen=True)
class Filling:
    """How one model input is filled: from columns of the rows, or from a ready array."""

    port: Port
    columns: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    ready: Array | None = None

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
                hint="check columns and shape under inputs",
            )
        return _cast(values, self.dtype, self.port).reshape(count, *self.shape)


@dataclass(frozen=True)
class Samples:
    """Chosen rows as the model sees them, in file order; read again when they are too many to keep.

    `labels` [n] or [n, …], `slices` [n] of text per column, `hashes` [n] of 32 hex digits.
    """

    rows: Rows
    fillings: tuple[Filling, ...]
    chosen: NDArray[np.intp]
    hashes: NDArray[np.bytes_]
    labels: Array | None = None
    slices: dict[str, Array] = field(default_factory=dict)
    kept: Feeds | None = None

    def __len__(self) -> int:
        return len(self.chosen)

    def batches(self, size: int) -> Iterator[Feeds]:
        """Feeds of `size` rows; the last may be shorter."""
        if self.kept is not None:
            for start in range(0, len(self), size):
                yield {name: value[start : start + size] for name, value in self.kept.items()}
            return
        waiting: list[Feeds] = []
        for feeds in _chosen(self.rows, self.fillings, self.chosen):
            waiting.append(feeds)
            joined = _joined(waiting)
            count = _length(joined)
            whole = count - count % size
            for start in range(0, whole, size):
                yield {name: value[start : start + size] for name, value in joined.items()}
            waiting = [{name: value[whole:] for name, value in joined.items()}]
        if waiting and _length(waiting[0]):
            yield waiting[0]

    def take(self, index: NDArray[np.intp]) -> "Samples":
        """Some of these samples, in ascending order of `index`."""
        index = np.sort(index)
        return Samples(
            self.rows,
            self.fillings,
            self.chosen[index],
            self.hashes[index],
            None if self.labels is None else self.labels[index],
            {name: values[index] for name, values in self.slices.items()},
            None if self.kept is None else {name: v[index] for name, v in self.kept.items()},
        )

    def without(self, others: "Samples") -> "Samples":
        """These samples except those that `others` has too."""
        return self.take(np.flatnonzero(~np.isin(self.hashes, others.hashes)))

    def digest(self) -> str:
        """SHA-256 of the set of samples, as `sha256:<hex>`; their order does not matter."""
        return f"sha256:{hashlib.sha256(b''.join(sorted(_bytes(self.hashes)))).hexdigest()}"


def read_samples(
    rows: Rows,
    dataset: Dataset,
    ports: Sequence[Port],
    located: Mapping[str, str],
    *,
    role: str,
    slices: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
    keep: int = KEPT_BYTES,
) -> Samples:
    """The samples of one role (calibration, search, evaluation).

    `located` maps an input's name to the path of its `.npz`. At most `limit` rows are chosen, by
    a seeded draw of row numbers. Samples of more than `keep` bytes are read anew when used. Raises `StageError` for names, shapes and types that do not fit.
    """
    if rows.count == 0:
        raise StageError(f"{role} has no rows", hint="an empty dataset proves nothing")
    fillings = tuple(_fillings(rows, dataset, ports, located, role))
    chosen = np.arange(rows.count)
    if limit is not None and limit < rows.count:
        chosen = np.sort(np.random.default_rng(seed).choice(rows.count, limit, replace=False))
    extra = [name for name in (dataset.label, *slices) if name is not None]
    for name in extra:
        _known(name, rows, role)
    labels, marks, hashes, kept = _read(rows, fillings, chosen, dataset.label, slices, keep)
    if labels is not None and labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise StageError(
            f"label {dataset.label} of {role} has rows without a number",
            hint="leave out rows without a label, with filter",
        )
    return Samples(rows, fillings, chosen, hashes, labels, marks, kept)


def split(samples: Samples, share: float, seed: int) -> tuple[Samples, Samples]:
    """(the rest, `share` of the samples), by the order of seeded row hashes within each label.

    The rule looks at a row's content, so it does not depend on the order of rows, and equal rows
    land in the same part.
    """
    keys = [hashlib.sha256(b"%d:" % seed + h).digest() for h in _bytes(samples.hashes)]
    strata: dict[str, list[int]] = {}
    discrete = samples.labels is not None and samples.labels.ndim == 1 and _few(samples.labels)
    for index in range(len(samples)):
        stratum = str(samples.labels[index]) if discrete and samples.labels is not None else ""
        strata.setdefault(stratum, []).append(index)
    taken: set[bytes] = set()
    for members in strata.values():
        unique = sorted({keys[index] for index in members} - taken)
        taken.update(unique[: round(share * len(unique))])
    inside = np.array([key in taken for key in keys])
    return samples.take(np.flatnonzero(~inside)), samples.take(np.flatnonzero(inside))


def overlap(a: Samples, b: Samples) -> int:
    """How many samples of `a` are in `b` too."""
    return int(np.isin(a.hashes, b.hashes).sum())


def _few(labels: Array) -> bool:
    return labels.dtype.kind != "f" and len(np.unique(labels)) <= max(2, len(labels) // 4)


def _bytes(hashes: NDArray[np.bytes_]) -> list[bytes]:
    return [bytes(value) for value in hashes]


def _read(
    rows: Rows,
    fillings: Sequence[Filling],
    chosen: NDArray[np.intp],
    label: str | None,
    slices: Sequence[str],
    keep: int,
) -> tuple[Array | None, dict[str, Array], NDArray[np.bytes_], Feeds | None]:
    extra = [*([label] if label else []), *slices]
    labels: list[Array] = []
    marks: dict[str, list[Array]] = {name: [] for name in slices}
    hashes: list[bytes] = []
    kept: list[Feeds] | None = []
    held = 0
    for feeds, others in _read_chosen(rows, fillings, chosen, extra):
        for index in range(_length(feeds)):
            hashes.append(_hash(feeds, index))
        if label:
            labels.append(others[label])
        for name in slices:
            marks[name].append(others[name].astype(str))
        held += sum(value.nbytes for value in feeds.values())
        if kept is not None:
            kept.append(feeds)
            kept = kept if held <= keep else None
    return (
        np.concatenate(labels) if label else None,
        {name: np.concatenate(parts) for name, parts in marks.items()},
        np.array(hashes, dtype="S32"),
        _joined(kept) if kept is not None else None,
    )


def _chosen(rows: Rows, fillings: Sequence[Filling], chosen: NDArray[np.intp]) -> Iterator[Feeds]:
    for feeds, _ in _read_chosen(rows, fillings, chosen, ()):
        yield feeds


def _read_chosen(
    rows: Rows, fillings: Sequence[Filling], chosen: NDArray[np.intp], extra: Sequence[str]
) -> Iterator[tuple[Feeds, dict[str, Array]]]:
    columns = list(dict.fromkeys([*(c for f in fillings for c in f.columns), *extra]))
    start = 0
    width = sum(8 * math.prod(f.shape) for f in fillings)
    size = max(1, min(1024, _READ_BYTES // max(width, 1)))
    for batch in rows.batches(columns or list(rows.names[:1]), size):
        count = len(next(iter(batch.values())))
        inside = chosen[(chosen >= start) & (chosen < start + count)] - start
        if len(inside):
            picked = {name: values[inside] for name, values in batch.items()}
            window = slice(start, start + count)
            feeds = {
                f.port.name: f.feed(picked, window)[inside]
                if f.ready is not None
                else f.feed(picked, window)
                for f in fillings
            }
            yield feeds, {name: picked[name] for name in extra}
        start += count


def _fillings(
    rows: Rows, dataset: Dataset, ports: Sequence[Port], located: Mapping[str, str], role: str
) -> Iterator[Filling]:
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
            yield Filling(port, ready=_from_npz(way, port, located[port.name], rows.count))
        elif isinstance(way, Synthetic):
            yield Filling(port, ready=_synthetic(way, port, rows.count))
        else:
            yield _from_columns(way, port, rows, dataset.label, role)


def _from_columns(
    way: Columns | None, port: Port, rows: Rows, label: str | None, role: str
) -> Filling:
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
            raise StageError(f"no column of {role} matches {pattern!r} for input {port.name}")
    else:
        columns = way.columns
        for name in columns:
            _known(name, rows, role)
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
    return Filling(port, columns, shape, port.dtype)


def _own_shape(port: Port, rows: Rows, columns: Sequence[str]) -> tuple[int, ...]:
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
            f"the shape of input {port.name} is not known: the model says {_written(port.shape)}",
            hint=f"add shape: to inputs: {{{port.name}: …}}",
        )
    return tuple(shape)


def _fits(shape: tuple[int, ...], port: Port) -> None:
    wanted = port.shape[1:]
    if len(shape) != len(wanted) or any(
        want is not None and want != have for want, have in zip(wanted, shape, strict=True)
    ):
        raise StageError(
            f"input {port.name} wants {_written(port.shape)}, shape gives "
            f"{_written((None, *shape))}",
            hint="shape is that of one row, without the batch dimension",
        )


def _from_npz(way: Npz, port: Port, path: str, count: int) -> Array:
    arrays, name = load_npz(path), way.array or port.name
    if name not in arrays:
        raise StageError(f"{path} has no array {name!r} (it has: {', '.join(arrays)})")
    return _ready(arrays[name], port, count)


def _synthetic(way: Synthetic, port: Port, count: int) -> Array:
    rng = np.random.default_rng(way.seed)
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


def _cast(values: Array, dtype: str, port: Port) -> Array:
    if dtype == "object":
        return values.astype(object)
    if values.dtype.kind not in "biuf":
        raise StageError(f"input {port.name} takes {dtype}, the column holds {values.dtype}")
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


def _known(name: str, rows: Rows, role: str) -> None:
    if name not in rows.names:
        hint = _nearest(name, list(rows.names), "the columns")
        raise StageError(f"{role} has no column {name!r}", hint=hint)


def _nearest(name: str, known: list[str], what: str) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{what}: {', '.join(known[:12])}"


def _written(shape: Sequence[int | None]) -> str:
    return "[" + ", ".join("N" if size is None else str(size) for size in shape) + "]"


def _hash(feeds: Feeds, index: int) -> bytes:
    row = hashlib.blake2b(digest_size=16)
    for name in sorted(feeds):
        value: Any = feeds[name][index]
        row.update(name.encode() + b"\0")
        row.update(repr(value.tolist()).encode() if value.dtype == object else value.tobytes())
    return row.hexdigest().encode()


def _joined(parts: Sequence[Feeds]) -> Feeds:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _length(feeds: Feeds) -> int:
    return len(next(iter(feeds.values())))
