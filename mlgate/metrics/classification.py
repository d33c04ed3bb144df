"""Classes: who is right, how sure, at which cost, for each class and slice."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from mlgate.errors import StageError
from mlgate.evidence import unmeasured
from mlgate.metrics import linear, values
from mlgate.metrics.scoring import (
    SHARE,
    Array,
    Flags,
    Floats,
    Part,
    Row,
    Scoring,
    Seen,
    both,
    paired,
    parts_of,
    share,
    uncompared,
)
from mlgate.metrics.values import Classes
from mlgate.statistics.linear import Linear, mean
from mlgate.statistics.paired import Pairs

_MOST_CLASSES: Final = 200
_OF_SCORES: Final = ("auroc", "pr_auc", "calibration_error", "log_loss", "brier")
_NO_SCORES: Final = "output {} holds answers, not scores: name the output that holds the scores"


@dataclass(frozen=True)
class Side:
    """One model's answers [n], −1 where it gives none, and its scores [n, k] where it has any."""

    answers: Classes
    scores: Floats | None

    def of(self, part: Part) -> "Side":
        return Side(
            self.answers[part.where], None if self.scores is None else self.scores[part.where]
        )


def classification(scoring: Scoring, seen: Seen) -> Iterator[Row]:
    """All rows of evidence. Raises `StageError` when outputs and labels do not fit."""
    after = side_of(scoring, seen.candidate)
    before = None if seen.source is None else side_of(scoring, seen.source)
    truth = None
    if seen.labels is not None:
        truth = truth_of(scoring, seen.labels, seen.candidate[scoring.output])
    names = names_of(scoring, seen, truth)
    for number, part in enumerate(parts_of(seen)):
        own = after.of(part)
        other = None if before is None else before.of(part)
        yield from _unlabelled(scoring, other, own, part)
        if truth is None:
            continue
        right = truth[part.where]
        yield from _whole(scoring, right, other, own, part)
        if number == 0 or scoring.by_class_and_slice:
            yield from _per_class(scoring, names, right, other, own, part)
        yield from _of_scores(scoring, names, right, other, own, part)


def side_of(scoring: Scoring, outputs: Mapping[str, Array]) -> Side:
    """What a model answers. A score that is no number is no answer, whatever argmax makes of it."""
    found = outputs[scoring.output]
    if found.ndim > 2 and np.prod(found.shape[2:]) > 1:
        raise StageError(
            f"classification reads one score per class, {scoring.output} is "
            f"{list(found.shape[1:])}",
            hint="name another output, or write a metric of your own",
        )
    said = values.answers(found, scoring.threshold)
    name = scores_output(scoring, outputs)
    scores = None
    if name is not None:
        scores = outputs[name].reshape(len(found), -1).astype(np.float64)
        broken = ~np.isfinite(scores).all(axis=1)
        said = np.where(broken, -1, said)
        if scoring.abstain_below is not None and scores.shape[1] > 1:
            sure = values.probabilities(scores).max(axis=1)
            said = np.where(sure < scoring.abstain_below, -1, said)
    return Side(said, scores)


def scores_output(scoring: Scoring, outputs: Mapping[str, Array]) -> str | None:
    """The output that holds scores: the one that is named, or the only wide one beside answers.

    A scikit-learn export answers `[N]` class numbers first and `[N, classes]` shares second.
    """
    if scoring.scores is not None:
        return scoring.scores
    if not values.are_answers(outputs[scoring.output]):
        return scoring.output
    wide = [
        name
        for name, value in outputs.items()
        if value.dtype.kind == "f" and value.ndim == 2 and value.shape[1] > 1
    ]
    return wide[0] if len(wide) == 1 else None


def truth_of(scoring: Scoring, labels: Array, scores: Array) -> Classes:
    """Labels as class numbers [n]. Raises `StageError` for labels that the scores do not have."""
    if labels.ndim != 1:
        raise StageError(f"a class label is one value a row, these have shape {labels.shape[1:]}")
    if labels.dtype.kind == "f" and np.all(labels == np.round(labels)):
        labels = labels.astype(np.int64)
    if labels.dtype.kind in "iub":
        truth = labels.astype(np.int64)
    else:
        truth = _numbered(scoring, labels.astype(str))
    width = 0 if values.are_answers(scores) else max(_width(scores), 2)
    if width and len(truth) and (truth.min() < 0 or truth.max() >= width):
        raise StageError(
            f"labels go from {truth.min()} to {truth.max()}, the model has {width} classes",
            hint="is label the right column, and output the right output?",
        )
    return truth


def _numbered(scoring: Scoring, text: Array) -> Classes:
    names = {name: index for index, name in enumerate(scoring.classes)}
    kinds, codes = np.unique(text, return_inverse=True)
    missing = sorted(set(kinds.tolist()) - set(names))
    if missing:
        raise StageError(
            f"the label {missing[0]!r} is not a known class",
            hint="list the classes in the order of the model's scores: classes: [...]",
        )
    return np.array([names[kind] for kind in kinds.tolist()], dtype=np.int64)[codes]


def class_names(scoring: Scoring, count: int) -> tuple[str, ...]:
    """Names of `count` classes. Raises `StageError` when another number is listed."""
    if scoring.classes and len(scoring.classes) != count:
        raise StageError(f"classes lists {len(scoring.classes)} names, the model has {count}")
    return scoring.classes or tuple(str(index) for index in range(count))


def names_of(scoring: Scoring, seen: Seen, truth: Classes | None) -> tuple[str, ...]:
    """Names of the classes that the scores have, or else that are answered or true."""
    name = scores_output(scoring, seen.candidate)
    if name is not None:
        return class_names(scoring, max(_width(seen.candidate[name]), 2))
    highest = -1 if truth is None else int(truth.max(initial=-1))
    for outputs in (seen.candidate, seen.source or {}):
        if scoring.output in outputs:
            highest = max(highest, int(outputs[scoring.output].max(initial=-1)))
    if scoring.classes and highest < len(scoring.classes):
        return scoring.classes
    return class_names(scoring, highest + 1)


def paired_answers(scoring: Scoring, seen: Seen) -> Pairs | None:
    """Counts of right answers lost and won; None where answers are not right or wrong."""
    if scoring.task != "classification" or seen.labels is None or seen.source is None:
        return None
    truth = truth_of(scoring, seen.labels, seen.candidate[scoring.output])
    before, after = (side_of(scoring, side) for side in (seen.source, seen.candidate))
    return Pairs.of(before.answers == truth, after.answers == truth)


def _width(scores: Array) -> int:
    return scores.reshape(len(scores), -1).shape[1] if scores.ndim > 1 else 1


def _unlabelled(scoring: Scoring, before: Side | None, after: Side, part: Part) -> Iterator[Row]:
    marks = part.labelled()
    if before is not None and scoring.wants("agreement"):
        same = (before.answers == after.answers) & (after.answers >= 0)
        yield share(scoring, "agreement", same, marks, part.clusters)
    if scoring.asks("abstain_rate"):
        silent = None if before is None else before.answers < 0
        yield from paired(scoring, "abstain_rate", silent, after.answers < 0, marks, part.clusters)


def _whole(
    scoring: Scoring, truth: Classes, before: Side | None, after: Side, part: Part
) -> Iterator[Row]:
    marks, units = part.labelled(), part.clusters
    if scoring.wants("accuracy"):
        had = None if before is None else before.answers == truth
        yield from paired(scoring, "accuracy", had, after.answers == truth, marks, units)
    yield from _top(scoring, truth, before, after, part)
    averages = (("balanced_accuracy", linear.balanced_accuracy), ("f1_macro", linear.f1_macro))
    for name, metric in averages:
        if scoring.asks(name):
            reference = None if before is None else metric(truth, before.answers)
            found = metric(truth, after.answers)
            yield from both(scoring, name, reference, found, marks, units, SHARE)
    if scoring.costs and scoring.wants("cost"):
        prices = np.asarray(scoring.costs)
        reference = None if before is None else _cost(prices, truth, before.answers)
        within = (float(prices.min()), float(prices.max()))
        found = _cost(prices, truth, after.answers)
        yield from both(scoring, "cost", reference, found, marks, units, within)


def _cost(prices: Floats, truth: Classes, answers: Classes) -> Linear:
    """Mean cost; no answer costs as much as the dearest wrong one."""
    paid = np.where(answers >= 0, prices[truth, answers], prices.max(axis=1)[truth])
    return mean(paid)


def _top(
    scoring: Scoring, truth: Classes, before: Side | None, after: Side, part: Part
) -> Iterator[Row]:
    for k in scoring.top_k:
        if after.scores is None or after.scores.shape[1] <= k:
            raise StageError(f"accuracy.top{k} needs more than {k} scores a row")
        if not scoring.wants(f"accuracy.top{k}"):
            continue
        had = None
        if before is not None and before.scores is not None:
            had = values.in_top(before.scores, truth, k)
        found = values.in_top(after.scores, truth, k)
        yield from paired(scoring, f"accuracy.top{k}", had, found, part.labelled(), part.clusters)


def _per_class(
    scoring: Scoring,
    names: tuple[str, ...],
    truth: Classes,
    before: Side | None,
    after: Side,
    part: Part,
) -> Iterator[Row]:
    gated = scoring.wanted & {"recall", "fpr", "precision", "f1"}
    if len(names) > _MOST_CLASSES and not gated:
        return
    for number, name in enumerate(names):
        labels = part.labelled(**{"class": name})
        is_class, said = truth == number, after.answers == number
        had = None if before is None else before.answers == number
        for metric, where in (("recall", is_class), ("fpr", ~is_class)):
            if scoring.wants(metric):
                units = None if part.clusters is None else part.clusters[where]
                earlier = None if had is None else had[where]
                yield from paired(scoring, metric, earlier, said[where], labels, units)
        if scoring.wants("precision"):
            yield from _precision(scoring, is_class, had, said, labels, part)
        if scoring.asks("f1"):
            reference = None if had is None else linear.f1(is_class, had)
            found = linear.f1(is_class, said)
            yield from both(scoring, "f1", reference, found, labels, part.clusters, SHARE)


def _precision(
    scoring: Scoring,
    is_class: Flags,
    before: Flags | None,
    after: Flags,
    labels: Mapping[str, str],
    part: Part,
) -> Iterator[Row]:
    if after.any():
        units = None if part.clusters is None else part.clusters[after]
        yield share(scoring, "precision", is_class[after], labels, units)
    else:
        reason = f"the model never answers class {labels['class']}"
        yield unmeasured("precision", reason, labels=labels)
    if before is not None and scoring.asks("precision"):
        sides = (linear.precision(is_class, before), linear.precision(is_class, after))
        rows = list(both(scoring, "precision", *sides, labels, part.clusters, SHARE))
        yield rows[1]


def _of_scores(
    scoring: Scoring,
    names: tuple[str, ...],
    truth: Classes,
    before: Side | None,
    after: Side,
    part: Part,
) -> Iterator[Row]:
    asked = [name for name in _OF_SCORES if scoring.asks(name)]
    if not asked:
        return
    if after.scores is None or (before is not None and before.scores is None):
        why = _NO_SCORES.format(scoring.output)
        for name in asked:
            if name in scoring.wanted:
                yield unmeasured(name, why, labels=part.labelled())
                if before is not None:
                    yield uncompared(scoring, name, why, 0, part.labelled())
        return
    reference = None if before is None else before.scores
    yield from _curves(scoring, names, truth, reference, after.scores, part)
    yield from _sureness(scoring, truth, reference, after.scores, part)


def _curves(
    scoring: Scoring,
    names: tuple[str, ...],
    truth: Classes,
    before: Floats | None,
    after: Floats,
    part: Part,
) -> Iterator[Row]:
    single = after.shape[1] == 1
    for metric, area in (("auroc", linear.auroc), ("pr_auc", linear.average_precision)):
        if not scoring.asks(metric):
            continue
        for number, name in enumerate(names):
            column = 0 if single else number
            if single and number != 1:
                continue  # one score says how much a row is of class 1
            positive = truth == number
            reference = None if before is None else area(positive, before[:, column])
            found = area(positive, after[:, column])
            labels = part.labelled(**{"class": name})
            yield from both(scoring, metric, reference, found, labels, part.clusters, SHARE)


def _sureness(
    scoring: Scoring, truth: Classes, before: Floats | None, after: Floats, part: Part
) -> Iterator[Row]:
    marks, units = part.labelled(), part.clusters
    shares = _probabilities(after)
    earlier = None if before is None else _probabilities(before)
    metrics = (
        ("calibration_error", _calibration, SHARE),
        ("log_loss", linear.log_loss, None),
        ("brier", linear.brier, SHARE if shares is None or shares.shape[1] == 2 else (0.0, 2.0)),
    )
    for name, metric, within in metrics:
        if not scoring.asks(name):
            continue
        if shares is None or (before is not None and earlier is None):
            why = f"one score a row, {scoring.output}, is no probability: it leaves 0 to 1"
            yield unmeasured(name, why, labels=marks)
            continue
        reference = None if earlier is None else metric(earlier, truth)
        yield from both(scoring, name, reference, metric(shares, truth), marks, units, within)


def _probabilities(scores: Floats) -> Floats | None:
    """Shares [n, classes]; None where a single score is not one."""
    if scores.shape[1] > 1:
        return values.probabilities(scores) if len(scores) else scores
    if len(scores) and (np.nanmin(scores) < 0 or np.nanmax(scores) > 1):
        return None
    return np.concatenate([1 - scores, scores], axis=1)


def _calibration(shares: Floats, truth: Classes) -> Linear:
    right = shares.argmax(axis=1) == truth
    return linear.calibration_error(shares.max(axis=1, initial=0.0), right)
