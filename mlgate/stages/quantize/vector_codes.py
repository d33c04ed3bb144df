"""Vectors as few bits: product quantization, and bits spent on the dimensions that carry most.

Both first rotate the vectors onto the eigenvectors of their covariance. Product quantization
(Jégou et al., PAMI 33, 2011) then codes groups of dimensions of equal variance by 256 centroids
each (the eigenvalue allocation of Ge et al., "Optimized Product Quantization", CVPR 2013).
Dimension-aware codes give each dimension 0 to 8 bits, greedily where the error is largest
(reverse water-filling; Gersho and Gray 1992, section 8.3): weak dimensions are dropped, others
keep a sign-like single bit, strong ones a fine scale.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mlgate.data.session import first_line
from mlgate.errors import StageError

Floats = NDArray[np.float32]
Kind = Literal["pq", "aware"]

_CENTROIDS: Final = 256
_MOST_BITS: Final = 8
_TRAINED_ON: Final = 20_000
_ROUNDS: Final = 8


@dataclass(frozen=True)
class Rotation:
    """Centre and eigenvectors of the covariance [d, d], strongest first, with their variances."""

    center: Floats
    axes: Floats
    variances: NDArray[np.float64]

    @classmethod
    def of(cls, vectors: Floats) -> "Rotation":
        center = vectors.mean(axis=0, dtype=np.float64)
        spread = np.cov(vectors.astype(np.float64), rowvar=False).reshape(len(center), -1)
        variances, axes = np.linalg.eigh(spread)
        order = np.argsort(-variances, kind="stable")
        axes = axes[:, order]
        # An eigenvector's sign is arbitrary: make its largest entry positive.
        signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        return cls(
            center.astype(np.float32),
            (axes * signs).astype(np.float32),
            np.maximum(variances[order], 0.0),
        )

    def into(self, vectors: Floats) -> Floats:
        return np.asarray((vectors - self.center) @ self.axes, dtype=np.float32)


@dataclass(frozen=True)
class Codes:
    """Coded vectors: everything that is needed to decode them, by array name."""

    kind: Kind
    arrays: Mapping[str, NDArray[Any]]

    def file(self) -> bytes:
        """An `.npz` file; equal codes have equal bytes."""
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as archive:
            for name, array in sorted({**self.arrays, "kind": np.array(self.kind)}.items()):
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue())
        return whole.getvalue()

    def decode(self) -> Floats:
        """The vectors [n, d] as far as the codes remember them."""
        rotated = _decode_pq(self.arrays) if self.kind == "pq" else _decode_aware(self.arrays)
        axes = self.arrays["axes"].astype(np.float32)
        return np.asarray(rotated @ axes.T + self.arrays["center"], dtype=np.float32)


def read_codes(file: Path | str | bytes) -> Codes:
    """Codes as `Codes.file` wrote them, from a file or its bytes; never unpickles.

    `read_codes("index.npz").decode()` is the matrix. Raises `StageError` for another file.
    """
    name = "the index" if isinstance(file, bytes) else Path(file).name
    try:
        with np.load(io.BytesIO(file) if isinstance(file, bytes) else file) as archive:
            arrays = {name: archive[name] for name in archive.files}
        kind = str(arrays.pop("kind"))
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise StageError(f"{name} holds no codes: {first_line(error)}") from None
    if kind not in ("pq", "aware"):
        raise StageError(f"{kind!r} is not a kind of codes")
    return Codes("pq" if kind == "pq" else "aware", arrays)


def product_codes(vectors: Floats, rotation: Rotation, size: int, seed: int) -> Codes:
    """Product quantization into `size` bytes a vector."""
    rotated = rotation.into(vectors)
    groups = _even_groups(rotation.variances, size)
    wide = max(len(group) for group in groups)
    books = np.zeros((size, _CENTROIDS, wide), np.float16)
    codes = np.zeros((len(vectors), size), np.uint8)
    rng = np.random.default_rng(seed)
    for number, group in enumerate(groups):
        part = np.ascontiguousarray(rotated[:, group])
        book = _centroids(part, rng).astype(np.float16)
        codes[:, number] = _nearest(part, book.astype(np.float32))
        books[number, : len(book), : len(group)] = book
    members = np.full((size, wide), -1, np.int16)
    for number, group in enumerate(groups):
        members[number, : len(group)] = group
    return Codes("pq", {**_shared(rotation), "codes": codes, "books": books, "members": members})


def aware_codes(vectors: Floats, rotation: Rotation, size: int) -> Codes:
    """0 to 8 bits per dimension, `size` bytes a vector in all."""
    bits = allocation(rotation.variances, 8 * size)
    rotated = rotation.into(vectors)
    levels = np.zeros((len(bits), 2**_MOST_BITS), np.float16)
    flags = []
    for dimension, count in enumerate(bits.tolist()):
        if not count:
            continue
        values = rotated[:, dimension]
        scale = _levels(values, count).astype(np.float16)
        levels[dimension, : len(scale)] = scale
        edges = (scale[1:].astype(np.float32) + scale[:-1].astype(np.float32)) / 2
        code = np.searchsorted(edges, values).astype(np.uint8)
        flags.append(np.unpackbits(code[:, None], axis=1)[:, 8 - count :])
    codes = np.packbits(np.concatenate(flags, axis=1), axis=1)
    used = np.flatnonzero(bits)
    kept: dict[str, NDArray[Any]] = {"levels": levels[used], "bits": bits.astype(np.uint8)}
    return Codes("aware", {**_shared(rotation, int(used.max()) + 1), "codes": codes, **kept})


def allocation(variances: NDArray[np.float64], bits: int) -> NDArray[np.int64]:
    """How many bits each dimension gets out of `bits`: one more halves its error's root."""
    given = np.zeros(len(variances), np.int64)
    left = variances.astype(np.float64).copy()
    for _ in range(min(bits, _MOST_BITS * len(variances))):
        best = int(left.argmax())
        given[best] += 1
        left[best] = left[best] / 4 if given[best] < _MOST_BITS else -1.0
    return given


def _shared(rotation: Rotation, dimensions: int | None = None) -> dict[str, NDArray[Any]]:
    axes = rotation.axes[:, :dimensions].astype(np.float16)
    return {"axes": axes, "center": rotation.center}


def _decode_pq(arrays: Mapping[str, NDArray[Any]]) -> Floats:
    codes, books, members = arrays["codes"], arrays["books"], arrays["members"]
    rotated = np.zeros((len(codes), arrays["axes"].shape[1]), np.float32)
    for number in range(codes.shape[1]):
        own = members[number][members[number] >= 0]
        rotated[:, own] = books[number][codes[:, number]][:, : len(own)]
    return rotated


def _decode_aware(arrays: Mapping[str, NDArray[Any]]) -> Floats:
    bits, levels = arrays["bits"], arrays["levels"]
    flags = np.unpackbits(arrays["codes"], axis=1)
    rotated = np.zeros((len(flags), arrays["axes"].shape[1]), np.float32)
    start = 0
    for row, dimension in enumerate(np.flatnonzero(bits).tolist()):
        count = int(bits[dimension])
        weights = 1 << np.arange(count - 1, -1, -1)
        code = flags[:, start : start + count] @ weights
        rotated[:, dimension] = levels[row][code]
        start += count
    return rotated


def _even_groups(variances: NDArray[np.float64], count: int) -> list[list[int]]:
    """Dimensions in `count` groups whose products of variances are as even as greed makes them."""
    groups: list[list[int]] = [[] for _ in range(count)]
    weights = [0.0] * count
    most = -(-len(variances) // count)
    logs = np.log(np.maximum(variances, variances.max(initial=0.0) * 1e-9 + 1e-30))
    for dimension, weight in enumerate((logs - logs.min()).tolist()):
        free = [i for i in range(count) if len(groups[i]) < most]
        chosen = min(free, key=lambda i: (weights[i], len(groups[i]), i))
        groups[chosen].append(dimension)
        weights[chosen] += weight
    return [group for group in groups if group] or groups


def _centroids(points: Floats, rng: np.random.Generator) -> Floats:
    """k-means (Lloyd), begun at random points; an empty centroid moves to a random point."""
    if len(points) > _TRAINED_ON:
        points = points[np.sort(rng.choice(len(points), _TRAINED_ON, replace=False))]
    count = min(_CENTROIDS, len(points))
    book = points[np.sort(rng.choice(len(points), count, replace=False))].copy()
    for _ in range(_ROUNDS):
        near = _nearest(points, book)
        counts = np.bincount(near, minlength=count)
        for column in range(points.shape[1]):
            sums = np.bincount(near, points[:, column].astype(np.float64), count)
            book[:, column] = np.where(counts > 0, sums / np.maximum(counts, 1), book[:, column])
        empty = np.flatnonzero(counts == 0)
        book[empty] = points[rng.integers(0, len(points), len(empty))]
    return book


def _nearest(points: Floats, book: Floats) -> NDArray[np.uint8]:
    lengths = (book**2).sum(axis=1)
    found = [
        (lengths - 2 * points[start : start + 4096] @ book.T).argmin(axis=1)
        for start in range(0, len(points), 4096)
    ]
    return np.concatenate(found).astype(np.uint8)


def _levels(values: Floats, bits: int) -> Floats:
    """2**bits levels with the least squared error: Lloyd–Max, begun at quantiles."""
    ordered = np.sort(values.astype(np.float64))
    count = 2**bits
    levels = np.quantile(ordered, (np.arange(count) + 0.5) / count)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    for _ in range(_ROUNDS):
        edges = np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2)
        edges = np.concatenate([[0], edges, [len(ordered)]])
        counts = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(counts, 1)
        levels = np.sort(np.where(counts > 0, means, levels))
    return np.asarray(levels, dtype=np.float32)


def sizes(dimensions: int) -> Sequence[int]:
    """Bytes a vector to try, smallest first, for float32 vectors of `dimensions`."""
    whole = 4 * dimensions
    shares = (32, 24, 16, 12, 10, 8, 7, 6, 5, 4)
    return sorted({max(1, whole // share) for share in shares if whole // share <= dimensions})
