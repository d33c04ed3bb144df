"""What the report draws of answers: the confusion matrix, and ROC, PR and calibration curves."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from mlgate.evidence import rounded
from mlgate.metrics.classification import Side, names_of, side_of, truth_of
from mlgate.metrics.scoring import Scoring, Seen
from mlgate.metrics.values import Classes, probabilities

_POINTS: Final = 60
_MOST_CLASSES: Final = 12
_BINS: Final = 10
Floats = NDArray[np.float64]


def drawn(scoring: Scoring, seen: Seen) -> dict[str, JsonValue]:
    """Points of every curve, for `figures`; nothing where there are no classes or no labels."""
    if scoring.task != "classification" or seen.labels is None:
        return {}
    truth = truth_of(scoring, seen.labels, seen.candidate[scoring.output])
    names = names_of(scoring, seen, truth)
    if len(names) > _MOST_CLASSES:
        return {}
    sides = {"model": side_of(scoring, seen.candidate)}
    if seen.source is not None:
        sides[scoring.to] = side_of(scoring, seen.source)
    found: dict[str, JsonValue] = {}
    for whose, side in sides.items():
        found[whose] = _side(truth, names, side)
    return {"curves": found}


def _side(truth: Classes, names: tuple[str, ...], side: Side) -> JsonValue:
    confusion = np.zeros((len(names), len(names) + 1), dtype=np.int64)
    np.add.at(confusion, (truth, side.answers), 1)  # −1, no answer, is the last column
    rows: list[JsonValue] = [row.tolist() for row in confusion]
    entry: dict[str, JsonValue] = {"confusion": rows}
    if side.scores is None or not np.isfinite(side.scores).all():
        return entry
    # Of two classes the second says it all.
    kinds = [1] if len(names) == 2 else range(len(names))
    single = side.scores.shape[1] == 1
    curves: dict[str, JsonValue] = {}
    for kind in kinds:
        positive = truth == kind
        if positive.any() and not positive.all():
            curves[names[kind]] = _curves(positive, side.scores[:, 0 if single else kind])
    entry["of_class"] = curves
    if not single:
        shares = probabilities(side.scores)
        entry["calibration"] = _calibration(shares.max(axis=1), shares.argmax(axis=1) == truth)
    return entry


def _curves(positive: NDArray[np.bool_], scores: Floats) -> JsonValue:
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    true_rate = hits[ends] / hits[-1]
    false_rate = (ends + 1 - hits[ends]) / max(len(scores) - hits[-1], 1)
    precision = hits[ends] / (ends + 1)
    picked = np.unique(np.linspace(0, len(ends) - 1, _POINTS).round().astype(int))
    return {
        "fpr": _list(np.concatenate([[0.0], false_rate[picked]])),
        "tpr": _list(np.concatenate([[0.0], true_rate[picked]])),
        "precision": _list(precision[picked]),
        "recall": _list(true_rate[picked]),
    }


def _calibration(sure: Floats, right: NDArray[np.bool_]) -> JsonValue:
    place = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(place, minlength=_BINS)
    filled = counts > 0
    return {
        "said": _list(np.bincount(place, sure, _BINS)[filled] / counts[filled]),
        "right": _list(np.bincount(place, right, _BINS)[filled] / counts[filled]),
        "rows": counts[filled].tolist(),
    }


def _list(values: NDArray[Any]) -> JsonValue:
    return [rounded(float(value)) for value in values]
