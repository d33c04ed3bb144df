"""One pass over the calibration samples: histogram, extrema and channel means of every activation.

onnxruntime's own calibraters keep every activation of every batch, drop data when told not to,
and read the data anew for every method. Here memory does not depend on the number of samples,
and every method's ranges are read off the same histograms.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from mlgate.data.session import Array, Feeds, Session
from mlgate.errors import StageError
from mlgate.stages.quantize.graph import QUANTIZABLE, Graph

Floats = NDArray[np.float64]

BINS: Final = 8192
_RUN_BYTES: Final = 2**28  # of activations that the runs under way may put out
_LEAST_SPAN: Final = 2.0**-60  # below, 1/span is no float32


@dataclass
class Activation:
    """What was seen of one tensor. The histogram spans [−span, span]; span is a power of two."""

    low: float = np.inf
    high: float = -np.inf
    span: float = 0.0
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    channel_sum: Floats | None = None
    channel_squares: Floats | None = None
    count: int = 0

    def add(self, values: Array, channel_axis: int | None) -> None:
        """Take one batch of finite values in."""
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._widen(max(abs(low), abs(high)))
        if self.span:
            # Scaled before shifted: large values must not overflow.
            scaled = values.ravel() * values.dtype.type(BINS / (2 * self.span)) + BINS // 2
            place = np.minimum(scaled.astype(np.int32), BINS - 1)
            self.histogram += np.bincount(place, minlength=BINS)
        if channel_axis is not None:
            others = tuple(i for i in range(values.ndim) if i != channel_axis % values.ndim)
            sums = values.sum(axis=others, dtype=np.float64)
            squares = np.square(values, dtype=np.float64).sum(axis=others)
            if self.channel_sum is None or self.channel_squares is None:
                self.channel_sum, self.channel_squares = sums, squares
            else:
                self.channel_sum, self.channel_squares = (
                    self.channel_sum + sums,
                    self.channel_squares + squares,
                )
            self.count += values.size // len(sums)

    def _widen(self, largest: float) -> None:
        if largest <= self.span:
            return
        wanted = max(float(2.0 ** np.ceil(np.log2(largest))), _LEAST_SPAN)
        if self.span == 0:
            self.span = wanted
            return
        while self.span < wanted:
            # Twice the span: two old bins are one new bin, in the middle half.
            merged = self.histogram.reshape(-1, 2).sum(axis=1)
            self.histogram = np.zeros(BINS, np.int64)
            self.histogram[BINS // 4 : 3 * BINS // 4] = merged
            self.span *= 2

    @property
    def means(self) -> Floats | None:
        """Mean per channel, where channels were told apart."""
        return None if self.channel_sum is None else self.channel_sum / self.count

    @property
    def energies(self) -> Floats | None:
        """Mean square per channel, where channels were told apart."""
        return None if self.channel_squares is None else self.channel_squares / self.count


@dataclass(frozen=True)
class Calibration:
    """The result of one pass: activations by tensor name, and how many samples were seen.

    `rangeless` are tensors without a range, and why: a mask of −inf, a list that is always empty.
    """

    activations: dict[str, Activation]
    samples: int
    rangeless: dict[str, str] = field(default_factory=dict)


def calibrate(
    model: onnx.ModelProto,
    batches: Iterable[Feeds],
    *,
    threads: int = 1,
    folder: Path | None = None,
    batch_axis: Mapping[str, int] | None = None,
) -> Calibration:
    """Run every batch once, in order, and keep sums only. `folder`: where a large model's weights are.

    Activations of a whole batch may be thousands of times the model: where they are, the batch is
    met in pieces, and the activations in groups, each in a run of its own.
    """
    graph = Graph(model)
    wanted = _activations_of(graph)
    whole = _session(graph, wanted, folder, batch_axis)
    floats = {port.name for port in whole.outputs if port.dtype == "float32"}
    floats |= {port.name for port in whole.inputs if port.dtype == "float32"}
    pass_ = _Pass(_channel_axes(graph), floats)
    sessions: list[Session] = []
    pieces = 0
    for feeds in batches:
        if not sessions:
            rows, groups = _plan(whole, wanted, feeds, threads)
            one_run = len(groups) == 1
            sessions = (
                [whole] if one_run else [_session(graph, g, folder, batch_axis) for g in groups]
            )
            pieces = rows
        pass_.samples += len(next(iter(feeds.values())))
        parts = list(_pieces(feeds, pieces))
        for part in parts:
            pass_.take(part)
        for session in sessions:
            for outputs in session.stream(parts, threads=threads):
                pass_.take(outputs)
    return pass_.result()


@dataclass
class _Pass:
    """What has been seen so far of the tensors that are `floats`."""

    axes: dict[str, int]
    floats: set[str]
    activations: dict[str, Activation] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    samples: int = 0

    def take(self, values: Mapping[str, Array]) -> None:
        for name, value in values.items():
            if name not in self.floats or name in self.broken or not value.size:
                continue
            if not np.isfinite(value).all():
                self.broken.add(name)
                self.activations.pop(name, None)
                continue
            axis = self.axes.get(name)
            fits = axis is not None and value.ndim > 1
            self.activations.setdefault(name, Activation()).add(value, axis if fits else None)

    def result(self) -> Calibration:
        rangeless = {}
        for name in sorted(self.floats - set(self.activations)):
            rangeless[name] = "NaN or infinite" if name in self.broken else "always empty"
        return Calibration(dict(sorted(self.activations.items())), self.samples, rangeless)


def _plan(
    whole: Session, wanted: Sequence[str], feeds: Feeds, threads: int
) -> tuple[int, list[list[str]]]:
    """(rows a run, groups of activations a run) so that a run's outputs take little memory."""
    size = len(next(iter(feeds.values())))
    rows = whole.fixed_batch or 1
    try:
        sizes = _sizes(whole, feeds, rows)
    except StageError:  # a batch of one may be squeezed away
        rows = min(size, 2)
        sizes = _sizes(whole, feeds, rows)
    few = next(_pieces(feeds, rows))
    limit = _RUN_BYTES // threads
    per_row = sum(sizes.values()) / rows
    if whole.fixed_batch is None:
        rows = max(min(size, int(limit // max(per_row, 1))), min(rows, size))
    groups: list[list[str]] = [[]]
    held = 0.0
    for name in wanted:
        bytes_ = sizes.get(name, 0) / min(rows, len(next(iter(few.values())))) * rows
        if held + bytes_ > limit and groups[-1]:
            groups.append([])
            held = 0.0
        groups[-1].append(name)
        held += bytes_
    return rows, groups


def _sizes(whole: Session, feeds: Feeds, rows: int) -> dict[str, int]:
    """Bytes of each activation of the first `rows`."""
    found = next(whole.stream([next(_pieces(feeds, rows))]))
    return {name: value.nbytes for name, value in found.items()}


def _pieces(feeds: Feeds, rows: int) -> Iterator[Feeds]:
    count = len(next(iter(feeds.values())))
    for start in range(0, count, rows):
        yield {name: value[start : start + rows] for name, value in feeds.items()}


def _activations_of(graph: Graph) -> list[str]:
    """Every tensor that a quantizable node touches and that is neither given nor constant."""
    given = {value.name for value in graph.model.graph.input} | set(graph.weights)
    wanted: dict[str, None] = {}
    for node in graph.model.graph.node:
        if node.op_type in QUANTIZABLE:
            wanted.update(dict.fromkeys(name for name in (*node.input, *node.output) if name))
    return [name for name in wanted if name not in given]


def _session(
    graph: Graph,
    wanted: Sequence[str],
    folder: Path | None,
    batch_axis: Mapping[str, int] | None,
) -> Session:
    """The model with the `wanted` tensors as its outputs, and no others."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    own = {value.name: value for value in graph.model.graph.output}
    del model.graph.output[:]
    for name in wanted or list(own)[:1]:
        # Without a type where it is none of its own: onnxruntime knows it, shape inference may not.
        model.graph.output.append(own.get(name) or onnx.ValueInfoProto(name=name))
    data = bytes(model.SerializeToString(deterministic=True))
    own_axes = {value.name for value in graph.model.graph.input}
    axes = {name: axis for name, axis in (batch_axis or {}).items() if name in own_axes}
    said = "the model with its activations as outputs"
    return Session(data, name=said, folder=folder, batch_axis=axes)


def _channel_axes(graph: Graph) -> dict[str, int]:
    """The channel axis of tensors that enter a weighted node as its data."""
    axes: dict[str, int] = {}
    for node in graph.model.graph.node:
        if node.op_type == "Conv":
            axes[node.input[0]] = 1
        elif node.op_type in ("Gemm", "MatMul") and node.input[1] in graph.weights:
            axes.setdefault(node.input[0], -1)
    return axes
