"""Samples out of rows: what a model sees of them, and which of them belong to which part.

Rows are told apart by a hash of what the model sees of them, so two parts are disjoint when no
image, and not only no row number, is in both.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlgate.data.feeds import InputBinding, input_bindings, known
from mlgate.data.rows import Array, Rows
from mlgate.data.session import Feeds, Port
from mlgate.errors import StageError
from mlgate.stage import Dataset

_READ_BYTES: Final = 2**20
KEPT_BYTES: Final = 256 * 2**20


@dataclass(frozen=True)
class Samples:
    """Chosen rows as the model sees them, in file order; read again when they are too many to keep.

    `labels` [n] or [n, …], `slices` [n] of text per column, `hashes` [n] of 32 hex digits.
    """

    rows: Rows
    bindings: tuple[InputBinding, ...]
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
        for feeds in _chosen(self.rows, self.bindings, self.chosen):
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
            self.bindings,
            self.chosen[index],
            self.hashes[index],
            None if self.labels is None else self.labels[index],
            {name: values[index] for name, values in self.slices.items()},
            None if self.kept is None else {name: v[index] for name, v in self.kept.items()},
        )

    def without(self, others: "Samples") -> "Samples":
        """These samples except those that `others` has too."""
        return self.take(np.flatnonzero(~np.isin(self.hashes, others.hashes)))

    def drawn(self, seed: int) -> NDArray[np.intp]:
        """Indices of all samples in an order that looks random and goes by content [n]."""
        keys = [hashlib.sha256(b"order %d:" % seed + h).digest() for h in _bytes(self.hashes)]
        return np.array(sorted(range(len(self)), key=keys.__getitem__), dtype=np.intp)

    def in_memory(self) -> "Samples":
        """These samples, read once and kept where they are few."""
        few = len(self) * _width(self.bindings) <= KEPT_BYTES
        if self.kept is not None or not len(self) or not few:
            return self
        return replace(self, kept=_joined(list(self.batches(len(self)))))

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
    bindings = tuple(input_bindings(rows, dataset, ports, located, role))
    chosen = np.arange(rows.count)
    if limit is not None and limit < rows.count:
        chosen = np.sort(np.random.default_rng(seed).choice(rows.count, limit, replace=False))
    extra = [name for name in (dataset.label, *slices) if name is not None]
    for name in extra:
        known(name, rows, role)
    labels, marks, hashes, kept = _read(rows, bindings, chosen, dataset.label, slices, keep)
    if labels is not None and labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise StageError(
            f"label {dataset.label} of {role} has rows without a number",
            hint="leave out rows without a label, with filter",
        )
    return Samples(rows, bindings, chosen, hashes, labels, marks, kept)


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
    bindings: Sequence[InputBinding],
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
    for feeds, others in _read_chosen(rows, bindings, chosen, extra):
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


def _chosen(
    rows: Rows, bindings: Sequence[InputBinding], chosen: NDArray[np.intp]
) -> Iterator[Feeds]:
    for feeds, _ in _read_chosen(rows, bindings, chosen, ()):
        yield feeds


def _read_chosen(
    rows: Rows, bindings: Sequence[InputBinding], chosen: NDArray[np.intp], extra: Sequence[str]
) -> Iterator[tuple[Feeds, dict[str, Array]]]:
    columns = list(dict.fromkeys([*(c for f in bindings for c in f.columns), *extra]))
    start = 0
    size = max(1, min(1024, _READ_BYTES // max(_width(bindings), 1)))
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
                for f in bindings
            }
            yield feeds, {name: picked[name] for name in extra}
        start += count


def _width(bindings: Sequence[InputBinding]) -> int:
    """Bytes of one row, at most."""
    return sum(8 * math.prod(f.shape) for f in bindings)


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
