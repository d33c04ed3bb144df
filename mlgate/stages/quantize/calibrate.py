"""One pass over the calibration samples: histogram, extrema and channel means of every activation.

onnxruntime's own calibraters keep every activation of every batch, drop data when told not to,
and read the data anew for every method. Here memory does not depend on the number of samples,
and every method's ranges are read off the same histograms.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from mlgate.errors import StageError
from mlgate.stages.quantize.graph import QUANTIZABLE, Graph
from mlgate.stages.quantize.session import Array, Feeds, Session

Floats = NDArray[np.float64]

BINS: Final = 8192
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
        """Take one batch in. Raises `ValueError` when it holds NaN or infinity."""
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
    """The result of one pass: activations by tensor name, and how many samples were seen."""

    activations: dict[str, Activation]
    samples: int


def calibrate(
    model: onnx.ModelProto,
    batches: Iterable[Feeds],
    *,
    threads: int = 1,
    folder: Path | None = None,
) -> Calibration:
    """Run every batch once, in order, and keep sums only. `folder`: where a large model's weights are."""
    graph = Graph(model)
    axes = _channel_axes(graph)
    name = "the model with its activations as outputs"
    session = Session(_with_activations(graph), name=name, folder=folder)
    floats = {port.name for port in session.outputs if port.dtype == "float32"}
    inputs = {port.name for port in session.inputs if port.dtype == "float32"}
    activations: dict[str, Activation] = {}
    samples = 0
    held: list[Feeds] = []

    def remembered() -> Iterable[Feeds]:
        for feeds in batches:
            held.append(feeds)
            yield feeds

    for outputs in session.stream(remembered(), threads=threads):
        feeds = held.pop(0)
        samples += len(next(iter(feeds.values())))
        seen = {name: value for name, value in feeds.items() if name in inputs}
        seen.update((name, value) for name, value in outputs.items() if name in floats)
        for name, value in seen.items():
            if not value.size:
                continue
            axis = axes.get(name)
            try:
                fits = axis is not None and value.ndim > 1
                activations.setdefault(name, Activation()).add(value, axis if fits else None)
            except ValueError:
                raise StageError(
                    f"activation {name} is NaN or infinite on the calibration samples",
                    hint="the source model itself overflows: are the inputs scaled as in training?",
                ) from None
    return Calibration(dict(sorted(activations.items())), samples)


def _with_activations(graph: Graph) -> bytes:
    """The model with every tensor that a quantizable node touches as an output."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    given = {value.name for value in model.graph.input} | set(graph.weights) | graph.outputs
    wanted: dict[str, None] = {}
    for node in model.graph.node:
        if node.op_type in QUANTIZABLE:
            wanted.update(dict.fromkeys(name for name in (*node.input, *node.output) if name))
    for name in wanted:
        if name not in given:
            # Without a type: onnxruntime knows it, and shape inference may not.
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    return bytes(model.SerializeToString(deterministic=True))


def _channel_axes(graph: Graph) -> dict[str, int]:
    """The channel axis of tensors that enter a weighted node as its data."""
    axes: dict[str, int] = {}
    for node in graph.model.graph.node:
        if node.op_type == "Conv":
            axes[node.input[0]] = 1
        elif node.op_type in ("Gemm", "MatMul") and node.input[1] in graph.weights:
            axes.setdefault(node.input[0], -1)
    return axes
