"""Quantization ranges out of histograms: extrema, percentiles, least error, least divergence.

Each method reads the same calibration pass, so another method costs no inference.
"""

import hashlib
import struct
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlgate.stages.quantize.calibrate import BINS, Activation

Ranges = Mapping[str, tuple[float, float]]
Floats = NDArray[np.float64]
Method = Callable[[Activation], tuple[float, float]]

_LEVELS: Final = 255
_FRACTIONS: Final = np.geomspace(0.02, 1.0, 40)


def minmax(seen: Activation) -> tuple[float, float]:
    """What was seen, from lowest to highest."""
    return seen.low, seen.high


def percentile(share: float) -> Method:
    """The range that holds `share` percent, the rest cut evenly from both ends.

    A tensor without negative values keeps its minimum, and all is cut from above.
    """

    def of(seen: Activation) -> tuple[float, float]:
        total = int(seen.histogram.sum())
        if not total:
            return seen.low, seen.high
        edges = _edges(seen)
        below = np.cumsum(seen.histogram) / total
        cut = 1 - share / 100
        low_cut, high_cut = (cut / 2, cut / 2) if seen.low < 0 else (0.0, cut)
        low = edges[np.searchsorted(below, low_cut, side="right")] if low_cut else seen.low
        high = edges[min(int(np.searchsorted(below, 1 - high_cut)) + 1, BINS)]
        return max(float(low), seen.low), min(float(high), seen.high)

    return of


def least_error(seen: Activation) -> tuple[float, float]:
    """The clipped range with the least mean squared error of 8 bits (rounding plus clipping)."""

    def cost(low: float, high: float, centers: Floats, weights: Floats) -> float:
        step = max(high - low, 1e-30) / _LEVELS
        inside = np.clip(centers, low, high)
        return float((weights * (centers - inside) ** 2).sum() + weights.sum() * step**2 / 12)

    return _best(seen, cost)


def least_divergence(seen: Activation) -> tuple[float, float]:
    """The clipped range whose 8-bit histogram diverges least from the original (entropy).

    Kullback–Leibler divergence after Migacz, "8-bit Inference with TensorRT" (GTC 2017).
    """

    def cost(low: float, high: float, centers: Floats, weights: Floats) -> float:
        inside = (centers >= low) & (centers <= high)
        if not inside.any():
            return np.inf
        kept = weights[inside]
        level = np.round((centers[inside] - low) / (max(high - low, 1e-30) / _LEVELS)).astype(int)
        mass, bins = np.bincount(level, kept), np.bincount(level)
        # What a level stands for is spread evenly over the bins that were merged into it. What is
        # cut off counts at the ends of the original alone: that is the price of cutting.
        model = (mass / np.maximum(bins, 1))[level] / kept.sum()
        share = kept.copy()
        share[0] += weights[centers < low].sum()
        share[-1] += weights[centers > high].sum()
        share /= weights.sum()
        return float((share * np.log(share / model)).sum())

    return _best(seen, cost)


METHODS: Final[Mapping[str, Method]] = {
    "minmax": minmax,
    "percentile-99.99": percentile(99.99),
    "percentile-99.9": percentile(99.9),
    "mse": least_error,
    "entropy": least_divergence,
}


def ranges(activations: Mapping[str, Activation], method: str) -> dict[str, tuple[float, float]]:
    """(low, high) of every tensor by `method`; always holds 0, as zero must be exact."""
    of = METHODS[method]
    found = {}
    for name, seen in activations.items():
        low, high = of(seen)
        found[name] = (min(low, 0.0), max(high, 0.0))
    return found


def digest(found: Ranges) -> str:
    """SHA-256 over names and ranges, as `sha256:<hex>`."""
    whole = hashlib.sha256()
    for name, (low, high) in sorted(found.items()):
        whole.update(name.encode() + b"\0" + struct.pack("<ff", low, high))
    return f"sha256:{whole.hexdigest()}"


def _best(
    seen: Activation, cost: Callable[[float, float, Floats, Floats], float]
) -> tuple[float, float]:
    kept = np.flatnonzero(seen.histogram)
    if not len(kept):
        return seen.low, seen.high
    edges = _edges(seen)
    centers = (edges[kept] + edges[kept + 1]) / 2
    weights = seen.histogram[kept].astype(np.float64)
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    # Both ends are cut at the same distance from zero: an outlier on one side costs the other
    # nothing. Of equal costs the widest: min() keeps the first.
    cuts = [max(-low, high) * fraction for fraction in _FRACTIONS[::-1].tolist()]
    ranges_ = [(max(low, -cut), min(high, cut)) for cut in cuts]
    return min(ranges_, key=lambda ends: cost(ends[0], ends[1], centers, weights))


def _edges(seen: Activation) -> Floats:
    return np.linspace(-seen.span, seen.span, BINS + 1)
