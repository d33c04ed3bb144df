"""Task metrics as plain functions of arrays: no models, no intervals, no names of stages."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Classes = NDArray[np.int64]

IGNORED: Final = -100  # the label of a token that does not count, as PyTorch has it


def answers(scores: Array, threshold: float) -> Classes:
    """The class each row of `scores` [n], [n, 1] or [n, k] answers; ties go to the lower class."""
    if scores.dtype.kind in "iu" and scores.ndim == 1:
        return scores.astype(np.int64)
    flat = scores.reshape(len(scores), -1)
    if flat.shape[1] == 1:
        return np.asarray(flat[:, 0] >= threshold, dtype=np.int64)
    return np.asarray(flat.argmax(axis=1), dtype=np.int64)


def in_top(scores: Array, truth: Classes, k: int) -> Flags:
    """Whether the truth is among the k best scores [n, classes]; ties count against it."""
    own = np.take_along_axis(scores, truth[:, None], axis=1)
    return np.asarray((scores >= own).sum(axis=1) <= k)


def auroc(positive: Flags, scores: Floats) -> float:
    """Area under the ROC curve; ties count one half (Mann–Whitney). NaN when a side is empty or a score is."""
    hits, misses = int(positive.sum()), int((~positive).sum())
    if not hits or not misses or not np.isfinite(scores).all():
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def probabilities(scores: Array) -> Floats:
    """`scores` [n, k] as probabilities: kept when they are already, else their softmax."""
    values = scores.astype(np.float64)
    if values.min() >= 0 and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        return values
    values = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def calibration_error(confidence: Floats, right: Flags, bins: int = 15) -> float:
    """Expected calibration error over equal-width bins (Guo et al., ICML 2017, eq. 3)."""
    if not np.isfinite(confidence).all():
        return float("nan")
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(place, confidence - right, bins)
    return float(np.abs(gap).sum() / len(right))


def precision(said: Flags, is_class: Flags) -> float:
    """Share of what was `said` to be the class that `is_class`; NaN when nothing was."""
    return float((said & is_class).sum() / said.sum()) if said.any() else float("nan")


def mae(errors: Floats) -> float:
    """Mean of absolute `errors`."""
    return float(np.abs(errors).mean())


def perplexity(losses: Floats, tokens: Floats) -> float:
    """exp of the mean negative log-likelihood per token; the arguments are `token_losses`."""
    return float(np.exp(losses.sum() / tokens.sum())) if tokens.sum() else float("nan")


def rmse(errors: Floats) -> float:
    """Root of the mean of squared `errors`."""
    return float(np.sqrt(np.mean(errors**2)))


def r2(errors: Floats, truth: Floats) -> float:
    """1 − SSE/SST; NaN when the truth does not vary."""
    spread = float(((truth - truth.mean(axis=0)) ** 2).sum())
    return 1 - float((errors**2).sum()) / spread if spread > 0 else float("nan")


def cosines(a: Array, b: Array) -> Floats:
    """Cosine similarity of each row of `a` with the same row of `b`; 0 for a zero vector."""
    x, y = a.reshape(len(a), -1).astype(np.float64), b.reshape(len(b), -1).astype(np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return np.asarray((x * y).sum(axis=1) / np.where(lengths > 0, lengths, np.inf))


def neighbours(vectors: Array, k: int) -> NDArray[np.intp]:
    """The k nearest other rows of each row by cosine [n, k]; equal ones in order of index."""
    x = vectors.reshape(len(vectors), -1).astype(np.float64)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    x = x / np.where(lengths > 0, lengths, 1)
    found = []
    for start in range(0, len(x), 1024):
        near = x[start : start + 1024] @ x.T
        near[np.arange(len(near)), np.arange(start, start + len(near))] = -np.inf
        found.append(np.argsort(-near, axis=1, kind="stable")[:, :k])
    return np.concatenate(found)


def shared(a: NDArray[np.intp], b: NDArray[np.intp]) -> Floats:
    """Per row, the share of the indices in `a` [n, k] that are in `b` [n, k] too."""
    pairs = zip(a.tolist(), b.tolist(), strict=True)
    return np.array([len(set(x) & set(y)) / len(x) for x, y in pairs])


def token_losses(logits: Array, tokens: Classes) -> tuple[Floats, Floats]:
    """(summed negative log-likelihood [n], counted tokens [n]) of `logits` [n, t, words]."""
    values = logits.astype(np.float64)
    values = values - values.max(axis=2, keepdims=True)
    norm = np.log(np.exp(values).sum(axis=2))
    counted = tokens != IGNORED
    own = np.take_along_axis(values, np.where(counted, tokens, 0)[:, :, None], axis=2)[:, :, 0]
    return np.where(counted, norm - own, 0.0).sum(axis=1), counted.sum(axis=1).astype(np.float64)


def mean_average_precision(boxes: list[Array], truths: list[Array], overlap: float = 0.5) -> float:
    """mAP at one overlap: all-point interpolated, the mean over classes that occur (VOC 2010+).

    `boxes`: per image [m, 6] of x1, y1, x2, y2, score, class; `truths`: per image [m, 5] without
    the score. A negative class is padding. NaN when no image holds an object.
    """
    classes = sorted({int(c) for t in truths for c in t[:, 4] if c >= 0})
    return (
        float(np.mean([_average_precision(boxes, truths, c, overlap) for c in classes]))
        if classes
        else float("nan")
    )


def _average_precision(
    boxes: list[Array], truths: list[Array], wanted: int, overlap: float
) -> float:
    hits: list[tuple[float, bool]] = []
    objects = 0
    for found, truth in zip(boxes, truths, strict=True):
        own = truth[truth[:, 4] == wanted][:, :4]
        objects += len(own)
        free = np.ones(len(own), dtype=bool)
        mine = found[found[:, 5] == wanted]
        for box in mine[np.argsort(-mine[:, 4], kind="stable")]:
            shares = np.where(free, _overlaps(box[:4], own), 0.0)
            best = int(shares.argmax()) if len(own) else 0
            hit = bool(len(own)) and bool(shares[best] >= overlap)
            if hit:
                free[best] = False
            hits.append((-float(box[4]), hit))
    hits.sort(key=lambda pair: pair[0])
    right = np.cumsum([hit for _, hit in hits], dtype=float)
    if not len(right):
        return 0.0
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], right / objects]))
    return float((steps * precision).sum())


def _overlaps(box: Array, others: Array) -> Floats:
    """Intersection over union of one box with each of `others` [m, 4]."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    area = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - both
    return np.asarray(both / np.where(area > 0, area, 1), dtype=np.float64)
