"""Metrics with what each row adds to their error: pure functions of arrays, no names of stages.

All rows [n] stand in one order. `is_class` and `said` tell which rows are of a class and which were
answered so. A metric that the rows say nothing about is NaN.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlgate.statistics.linear import Linear, average, mean, ratio

Array = NDArray[Any]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Classes = NDArray[np.int64]

_LEAST: Final = float(np.finfo(np.float64).eps)
_BINS: Final = 15


def share(right: Flags) -> Linear:
    """Share of rows that are so."""
    return mean(right.astype(np.float64))


def recall(is_class: Flags, said: Flags) -> Linear:
    """Share of a class's rows that were found."""
    return ratio((is_class & said).astype(np.float64), is_class.astype(np.float64))


def precision(is_class: Flags, said: Flags) -> Linear:
    """Share of the answers of a class that are right."""
    return ratio((is_class & said).astype(np.float64), said.astype(np.float64))


def f1(is_class: Flags, said: Flags) -> Linear:
    """Harmonic mean of precision and recall: 2·TP / (2·TP + FP + FN)."""
    hits = (is_class & said).astype(np.float64)
    return ratio(2 * hits, is_class.astype(np.float64) + said)


def balanced_accuracy(truth: Classes, answers: Classes) -> Linear:
    """Mean recall of the classes that occur."""
    return average([recall(truth == kind, answers == kind) for kind in np.unique(truth)])


def f1_macro(truth: Classes, answers: Classes) -> Linear:
    """Mean F1 of the classes that occur or are answered; no answer (−1) is no class."""
    kinds = np.union1d(truth, answers[answers >= 0])
    return average([f1(truth == kind, answers == kind) for kind in kinds])


def auroc(positive: Flags, scores: Floats) -> Linear:
    """Area under the ROC curve; ties count one half. The error is DeLong's (Biometrics 44, 1988)."""
    hits, misses = int(positive.sum()), int((~positive).sum())
    if not hits or not misses or not np.isfinite(scores).all():
        return _nothing(len(scores))
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    of_hits = np.bincount(place[positive], minlength=len(counts))
    of_misses = counts - of_hits
    # Of each distinct score: the share of the other side that is on its wrong side of it.
    beaten = (np.cumsum(of_misses) - of_misses / 2) / misses
    beating = 1 - (np.cumsum(of_hits) - of_hits / 2) / hits
    value = float(beaten @ of_hits) / hits
    influence = np.where(
        positive, (beaten[place] - value) / hits, (beating[place] - value) / misses
    )
    # As much is known as the rarer side has rows, and not less for being two sides.
    scale = math.sqrt(1 / min(hits, misses) / (1 / hits + 1 / misses))
    return Linear(value, influence, np.where(positive, scale / hits, scale / misses))


def average_precision(positive: Flags, scores: Floats) -> Linear:
    """Area under the precision–recall curve: Σ (Rₖ − Rₖ₋₁)·Pₖ over distinct scores."""
    hits = int(positive.sum())
    if not hits or not np.isfinite(scores).all():
        return _nothing(len(scores))
    _, place, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    found = np.bincount(place[positive], minlength=len(counts)).astype(np.float64)
    above = np.cumsum(found)
    answered = np.cumsum(counts)
    precisions = above / answered
    value = float(found @ precisions) / hits
    # One row more at a score changes the precision at it and at every lower score.
    raised = np.cumsum((found / answered)[::-1])[::-1]
    lowered = np.cumsum((found * above / answered**2)[::-1])[::-1]
    of_hits = (precisions - value + raised - lowered) / hits
    influence = np.where(positive, of_hits[place], -lowered[place] / hits)
    leverage = np.where(positive, 1 / hits, lowered[place] / hits)
    return Linear(value, influence, leverage)


def log_loss(probabilities: Floats, truth: Classes) -> Linear:
    """Mean of −ln of the probability [n, classes] that the truth was given."""
    own = probabilities[np.arange(len(truth)), truth]
    return mean(-np.log(np.clip(own, _LEAST, 1.0)))


def brier(probabilities: Floats, truth: Classes) -> Linear:
    """Mean squared distance of the probabilities [n, classes] from the truth; half of it for two."""
    own = probabilities[np.arange(len(truth)), truth]
    squares = np.einsum("ij,ij->i", probabilities, probabilities) - 2 * own + 1
    return mean(squares / 2 if probabilities.shape[1] == 2 else squares)


def calibration_error(confidence: Floats, right: Flags) -> Linear:
    """Expected calibration error over 15 equal-width bins (Guo et al., ICML 2017, eq. 3).

    Noise alone makes it positive: `excess` is what noise adds to a model that is calibrated.
    """
    n = len(right)
    if not n or not np.isfinite(confidence).all():
        return _nothing(n)
    place = np.minimum((confidence * _BINS).astype(np.intp), _BINS - 1)
    gaps = confidence - right
    sums = np.bincount(place, gaps, _BINS)
    squares = np.bincount(place, gaps**2, _BINS)
    counts = np.bincount(place, minlength=_BINS)
    value = float(np.abs(sums).sum() / n)
    spread = np.sqrt(np.maximum(squares - sums**2 / np.maximum(counts, 1), 0.0)) / n
    influence = (np.sign(sums)[place] * gaps - value) / n
    excess = min(value, float(spread.sum()) * math.sqrt(2 / math.pi))
    return Linear(value, influence, np.full(n, 1 / n), excess)


def rmse(errors: Floats) -> Linear:
    """Root of the mean of squared `errors` [n] or [n, numbers]."""
    squares = mean(_per_row(errors**2))
    value = math.sqrt(squares.value)
    scale = 1 / (2 * value) if value > 0 else 0.0
    return Linear(value, squares.influence * scale, squares.leverage)


def mae(errors: Floats) -> Linear:
    """Mean of absolute `errors` [n] or [n, numbers]."""
    return mean(_per_row(np.abs(errors)))


def r2(errors: Floats, truth: Floats) -> Linear:
    """1 − SSE/SST over all numbers [n, numbers]; NaN when the truth does not vary."""
    missed = _per_row(errors**2)
    spread = _per_row((truth - truth.mean(axis=0)) ** 2)
    total = float(spread.sum())
    if total <= 0:
        return _nothing(len(missed))
    left = ratio(missed, spread)
    return Linear(1 - left.value, -left.influence, np.full(len(missed), 1 / len(missed)))


def per_query(queries: NDArray[np.intp], values: Array) -> list[Array]:
    """`values` [n] of each query, in order of the queries' numbers; `queries` [n] counts from 0."""
    order = np.argsort(queries, kind="stable")
    ends = np.cumsum(np.bincount(queries))[:-1]
    return list(np.split(values[order], ends))


def ndcg(relevance: Floats, scores: Floats, k: int | None) -> float:
    """Normalised discounted cumulative gain of one query's items, the first k of them.

    Items of equal score share their places' discounts (McSherry and Najork, ECIR 2008). NaN
    where nothing is relevant: no order is better than another.
    """
    depth = len(scores) if k is None else min(k, len(scores))
    discount = np.zeros(len(scores))
    discount[:depth] = 1 / np.log2(np.arange(2, depth + 2))
    best = float(np.sort(relevance)[::-1] @ discount)
    if best <= 0:
        return math.nan
    _, place, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    gains = np.bincount(place, relevance) / counts
    ends = np.cumsum(counts)
    sums = np.diff(np.concatenate([[0.0], np.cumsum(discount)[ends - 1]]))
    return float(gains @ sums) / best


def reciprocal_rank(relevance: Floats, scores: Floats) -> float:
    """1 / rank of the best relevant item of one query; of equal scores it is the last."""
    relevant = relevance > 0
    if not relevant.any():
        return math.nan
    return 1 / float((scores >= scores[relevant].max()).sum())


def _per_row(values: Floats) -> Floats:
    return values if values.ndim == 1 else np.asarray(values.reshape(len(values), -1).mean(axis=1))


def _nothing(n: int) -> Linear:
    return Linear(math.nan, np.zeros(n), np.zeros(n))
