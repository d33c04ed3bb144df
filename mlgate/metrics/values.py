"""Task metrics as plain functions of arrays: no models, no intervals, no names of stages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Classes = NDArray[np.int64]

IGNORED: Final = -100  # the label of a token that does not count, as PyTorch has it


def are_answers(output: Array) -> bool:
    """Whether an output [n] or [n, 1] holds class numbers, and not scores of classes."""
    return output.dtype.kind in "iu" and output.size == len(output)


def answers(scores: Array, threshold: float) -> Classes:
    """The class each row of `scores` [n], [n, 1] or [n, k] answers; ties go to the lower class."""
    if are_answers(scores):
        return scores.reshape(-1).astype(np.int64)
    flat = scores.reshape(len(scores), -1)
    if flat.shape[1] == 1:
        return np.asarray(flat[:, 0] >= threshold, dtype=np.int64)
    return np.asarray(flat.argmax(axis=1), dtype=np.int64)


def in_top(scores: Array, truth: Classes, k: int) -> Flags:
    """Whether the truth is among the k best scores [n, classes]; ties count against it."""
    own = np.take_along_axis(scores, truth[:, None], axis=1)
    return np.asarray((scores >= own).sum(axis=1) <= k)


def probabilities(scores: Array) -> Floats:
    """`scores` [n, k] as probabilities: kept when they are already, else their softmax."""
    values = scores.astype(np.float64)
    if values.min() >= 0 and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        return values
    values = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def perplexity(losses: Floats, tokens: Floats) -> float:
    """exp of the mean negative log-likelihood per token; the arguments are `token_losses`."""
    return float(np.exp(losses.sum() / tokens.sum())) if tokens.sum() else float("nan")


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


@dataclass(frozen=True)
class Matches:
    """Boxes held against the truth, image by image: what average precision needs of them.

    `boxes`: per image [m, 3] of class, score, hit (0 or 1); `objects` [images, classes].
    """

    boxes: tuple[Array, ...]
    objects: NDArray[np.int64]
    classes: tuple[int, ...]


def matched(boxes: Sequence[Array], truths: Sequence[Array], overlap: float = 0.5) -> Matches:
    """Each box with whether it hits: the best scores first, an object is hit once.

    `boxes`: per image [m, 6] of x1, y1, x2, y2, score, class; `truths`: per image [m, 5] without
    the score. A negative class is padding.
    """
    classes = tuple(sorted({int(c) for t in truths for c in t[:, 4] if c >= 0}))
    objects = np.array([[int((t[:, 4] == c).sum()) for c in classes] for t in truths])
    images = zip(boxes, truths, strict=True)
    return Matches(tuple(_hits(b, t, overlap) for b, t in images), objects, classes)


def mean_average_precision(matches: Matches, index: NDArray[np.intp]) -> float:
    """mAP over the images of `index`: all-point interpolated, the mean over classes (VOC 2010+).

    NaN when no image holds an object.
    """
    found = np.concatenate([np.empty((0, 3)), *(matches.boxes[i] for i in index)])
    found = found[np.argsort(-found[:, 1], kind="stable")]
    totals = matches.objects[index].sum(axis=0) if matches.classes else np.empty(0)
    precisions = [
        _average_precision(found[found[:, 0] == kind, 2], int(total))
        for kind, total in zip(matches.classes, totals, strict=True)
        if total
    ]
    return float(np.mean(precisions)) if precisions else float("nan")


def _average_precision(hits: Array, objects: int) -> float:
    if not len(hits):
        return 0.0
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], right / objects]))
    return float((steps * precision).sum())


def _hits(boxes: Array, truth: Array, overlap: float) -> Array:
    boxes = boxes[boxes[:, 5] >= 0]
    free = np.ones(len(truth), dtype=bool)
    hits = np.zeros((len(boxes), 3))
    for row, place in enumerate(np.argsort(-boxes[:, 4], kind="stable")):
        box = boxes[place]
        fits = free & (truth[:, 4] == box[5])
        shares = np.where(fits, _overlaps(box[:4], truth[:, :4]), 0.0)
        best = int(shares.argmax()) if len(shares) else 0
        hit = bool(len(shares)) and bool(shares[best] >= overlap)
        if hit:
            free[best] = False
        hits[row] = box[5], box[4], hit
    return hits


def _overlaps(box: Array, others: Array) -> Floats:
    """Intersection over union of one box with each of `others` [m, 4]."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    area = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - both
    return np.asarray(both / np.where(area > 0, area, 1), dtype=np.float64)
