"""Resampling, for what has no formula: rows drawn again, or whole epochs."""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlgate.statistics.intervals import Estimate, Interval
from mlgate.statistics.means import student_quantile
from mlgate.statistics.multiplicity import spent
from mlgate.statistics.quantiles import percentile_index

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Statistic = Callable[[NDArray[np.intp]], float]

RESAMPLES: Final = 1000
FEWEST: Final = 30
_DRAWS: Final = 400


def resample(
    statistics: Sequence[Statistic],
    n: int,
    *,
    seed: int = 0,
    units: NDArray[np.intp] | None = None,
) -> Floats:
    """Each statistic, a function of sample indices, on the same bootstrap draws [draws, statistics].

    `units` [n] numbers the unit of each sample, from 0; whole units are drawn. Empty below 30
    units: a resampled handful says nothing about its own spread.
    """
    count = n if units is None else int(units.max(initial=-1)) + 1
    if count < FEWEST:
        return np.empty((0, len(statistics)))
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, count, count) for _ in range(RESAMPLES))
    if units is not None:
        order = np.argsort(units, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(units, minlength=count))[:-1])
        draws = (np.concatenate([members[unit] for unit in draw]) for draw in draws)
    return np.array([[statistic(draw) for statistic in statistics] for draw in draws])


def percentiles(
    draws: Floats, center: float, n: int, confidences: Sequence[float], projected: float = 1.0
) -> tuple[Interval, ...]:
    """One-sided percentile bounds out of bootstrap `draws` of a value that is `center` on all.

    The ends are moved out by √(n / (n − 1)) · t/z, as far as a mean's bootstrap is too narrow.
    `projected` is the number of times as many samples to foresee the interval for. Empty when
    most draws have no finite value.
    """
    draws = draws[np.isfinite(draws)]
    if len(draws) < RESAMPLES // 2 or not math.isfinite(center):
        return ()
    found = []
    for confidence in confidences:
        z = NormalDist().inv_cdf(confidence)
        # Cornish–Fisher expansion of Student's t in powers of 1/(n − 1).
        wider = (1 + (z * z + 1) / (4 * (n - 1))) * math.sqrt(n / (n - 1)) / math.sqrt(projected)
        low, high = np.quantile(draws, (1 - confidence, confidence))
        below = min(float(low) - center, 0.0) * wider
        above = max(float(high) - center, 0.0) * wider
        found.append((confidence, center + below, center + above))
    return tuple(found)


def tail_ratio_estimate(
    candidate: Sequence[Floats],
    reference: Sequence[Floats],
    percentile: float,
    confidences: Sequence[float],
    looks: int = 1,
    seed: int = 0,
) -> Estimate:
    """Ratio of a pooled percentile, candidate / reference, with bounds from whole epochs redrawn.

    Both sides hold one array per epoch and are redrawn with the same epochs, for an epoch's
    conditions are shared. The logarithm's bootstrap error meets a Student quantile, which goes
    on where counting a few hundred redraws ends. Raises `ValueError` for fewer than three epochs
    or a side without values.
    """
    epochs = len(reference)
    if epochs < 3 or len(candidate) != epochs:
        raise ValueError(f"{epochs} epochs are too few to compare")
    draws = np.random.default_rng(seed).integers(0, epochs, (_DRAWS, epochs))
    weights = np.stack([(draws == epoch).sum(axis=1) for epoch in range(epochs)], axis=1)
    whole = np.ones((1, epochs), dtype=np.int64)
    sides = []
    for side in (candidate, reference):
        redrawn = _redrawn_percentiles(side, percentile, np.vstack([whole, weights]))
        sides.append(np.log(redrawn))
    log_ratios = sides[0] - sides[1]
    log_ratios = log_ratios[np.isfinite(log_ratios)]
    error = float(log_ratios[1:].std(ddof=1))
    centre = float(log_ratios[0])
    bounds = []
    for confidence in confidences:
        reach = student_quantile(spent(confidence, looks), epochs - 1) * error
        bounds.append((confidence, math.exp(centre - reach), math.exp(centre + reach)))
    return Estimate(math.exp(centre), tuple(bounds), sum(len(part) for part in candidate))


def _redrawn_percentiles(side: Sequence[Floats], percentile: float, weights: Integers) -> Floats:
    """The pooled percentile for each row of `weights`: how often each epoch was drawn."""
    pooled = np.concatenate([np.asarray(part, dtype=np.float64) for part in side])
    if not len(pooled):
        raise ValueError("a side without values has no percentile")
    lengths = np.asarray([len(part) for part in side], dtype=np.int64)
    order = np.argsort(-pooled, kind="stable")
    pooled, owner = pooled[order], np.repeat(np.arange(len(side)), lengths)[order]
    found = np.full(len(weights), np.nan)
    # The percentile counted from the top: for a high one the slowest few queries hold it.
    most = min(len(pooled), int(4 * (1 - percentile) * len(pooled)) + 64)
    for row, weight in enumerate(weights):
        total = int(weight @ lengths)
        if total:
            above = total - percentile_index(total, percentile)
            counted = np.cumsum(weight[owner[:most]])
            if counted[-1] < above:
                counted = np.cumsum(weight[owner])
            found[row] = pooled[int(np.searchsorted(counted, above, side="left"))]
    return found
