"""The metrics of each task as evidence rows: classes, numbers, embeddings, boxes, text."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import numpy as np

from mlgate.errors import StageError
from mlgate.evidence import unmeasured
from mlgate.metrics import values as metrics
from mlgate.metrics.custom import Custom
from mlgate.metrics.options import Task
from mlgate.metrics.scoring import (
    Array,
    Flags,
    Index,
    Row,
    Scoring,
    Seen,
    both,
    groups,
    mean,
    paired,
    share,
)
from mlgate.statistics.bootstrap import Statistic
from mlgate.statistics.paired import Pairs

_MOST_CLASSES: Final = 200


def score(scoring: Scoring, seen: Seen) -> tuple[Row, ...]:
    """All rows, in a stable order. Raises `StageError` when outputs and labels do not fit."""
    rows = list(_TASKS[scoring.task](scoring, seen))
    for name, custom in scoring.custom:
        if scoring.wants(f"custom.{name}"):
            rows.extend(_custom(scoring, seen, f"custom.{name}", custom))
    return tuple(rows)


def truth_of(scoring: Scoring, labels: Array, scores: Array) -> metrics.Classes:
    """Labels as class numbers [n]. Raises `StageError` for labels that the scores do not have."""
    count = scores.reshape(len(scores), -1).shape[1] if scores.ndim > 1 else 0
    known = max(count, 2) if count else None
    if labels.ndim != 1:
        raise StageError(f"a class label is one value a row, these have shape {labels.shape[1:]}")
    if labels.dtype.kind not in "iub":
        names = {name: index for index, name in enumerate(scoring.classes)}
        text = labels.astype(str)
        if labels.dtype.kind == "f" and np.all(labels == np.round(labels)):
            return truth_of(scoring, labels.astype(np.int64), scores)
        missing = sorted(set(text.tolist()) - set(names))
        if missing:
            raise StageError(
                f"the label {missing[0]!r} is not a known class",
                hint="list the classes in the order of the model's scores: classes: [...]",
            )
        truth = np.array([names[value] for value in text.tolist()], dtype=np.int64)
    else:
        truth = labels.astype(np.int64)
    if known is not None and len(truth) and (truth.min() < 0 or truth.max() >= known):
        raise StageError(
            f"labels go from {truth.min()} to {truth.max()}, the model has {known} classes",
            hint="is label the right column, and output the right output?",
        )
    return truth


def class_names(scoring: Scoring, count: int) -> tuple[str, ...]:
    """Names of `count` classes. Raises `StageError` when another number is listed."""
    if scoring.classes and len(scoring.classes) != count:
        raise StageError(f"classes lists {len(scoring.classes)} names, the model has {count}")
    return scoring.classes or tuple(str(index) for index in range(count))


def _classification(scoring: Scoring, seen: Seen) -> Iterator[Row]:
    before, after = seen.source[scoring.output], seen.candidate[scoring.output]
    if before.ndim > 2 and np.prod(before.shape[2:]) > 1:
        raise StageError(
            f"classification reads one score per class, {scoring.output} is {list(before.shape[1:])}",
            hint="name another output, or write a metric of your own",
        )
    answer_before = metrics.answers(before, scoring.threshold)
    answer_after = metrics.answers(after, scoring.threshold)
    # Not a number is not an answer: it is wrong, whatever argmax makes of it.
    broken = ~np.isfinite(after.reshape(len(after), -1).astype(np.float64)).all(axis=1)
    answer_after = np.where(broken, -1, answer_after)
    for marks, where in groups(seen, len(before)):
        if scoring.wants("agreement"):
            yield share(scoring, "agreement", (answer_before == answer_after)[where], marks)
    if seen.labels is None:
        return
    truth = truth_of(scoring, seen.labels, before)
    right_before, right_after = answer_before == truth, answer_after == truth
    for marks, where in groups(seen, len(before)):
        if scoring.wants("accuracy"):
            yield from paired(scoring, "accuracy", right_before[where], right_after[where], marks)
        for k in scoring.top_k:
            if before.ndim != 2 or before.shape[1] <= k:
                raise StageError(f"accuracy.top{k} needs more than {k} scores a row")
            if scoring.wants(f"accuracy.top{k}"):
                a, b = (
                    metrics.in_top(scores[where], truth[where], k) for scores in (before, after)
                )
                yield from paired(scoring, f"accuracy.top{k}", a, b, marks)
    yield from _per_class(scoring, seen, truth, answer_before, answer_after)
    yield from _of_scores(scoring, before, after, truth)


def paired_answers(scoring: Scoring, seen: Seen) -> Pairs | None:
    """Counts of right answers lost and won; None where answers are not right or wrong."""
    if scoring.task != "classification" or seen.labels is None:
        return None
    before, after = seen.source[scoring.output], seen.candidate[scoring.output]
    truth = truth_of(scoring, seen.labels, before)
    sides = [metrics.answers(scores, scoring.threshold) == truth for scores in (before, after)]
    return Pairs.of(sides[0], sides[1])


def _per_class(
    scoring: Scoring, seen: Seen, truth: metrics.Classes, before: Array, after: Array
) -> Iterator[Row]:
    scores = seen.source[scoring.output]
    width = scores.reshape(len(scores), -1).shape[1] if scores.ndim > 1 else 0
    count = max(width, 2) if width else int(max(truth.max(), before.max(), after.max())) + 1
    names = class_names(scoring, count)
    if count > _MOST_CLASSES and not scoring.wanted & {"recall", "fpr", "precision"}:
        return
    parts = list(groups(seen, len(truth)))
    for number, name in enumerate(names):
        for marks, where in parts if scoring.by_class_and_slice else parts[:1]:
            labels = {"class": name, **marks}
            is_class, said_before, said_after = (
                truth[where] == number,
                before[where] == number,
                after[where] == number,
            )
            if scoring.wants("recall"):
                yield from paired(
                    scoring, "recall", said_before[is_class], said_after[is_class], labels
                )
            if scoring.wants("fpr"):
                yield from paired(
                    scoring, "fpr", said_before[~is_class], said_after[~is_class], labels
                )
            if scoring.wants("precision"):
                yield from _precision(scoring, is_class, said_before, said_after, labels)


def _precision(
    scoring: Scoring, is_class: Flags, before: Flags, after: Flags, labels: Mapping[str, str]
) -> Iterator[Row]:
    if "precision" in scoring.wanted:
        pair = _over(metrics.precision, before, is_class), _over(metrics.precision, after, is_class)
        _, change = both(scoring, "precision", *pair, len(is_class), labels)
        yield change
    if after.any():
        yield share(scoring, "precision", is_class[after], labels)
    else:
        reason = f"the model never answers class {labels['class']}"
        yield unmeasured("precision", reason, labels=labels)


def _of_scores(
    scoring: Scoring, before: Array, after: Array, truth: metrics.Classes
) -> Iterator[Row]:
    wide = before.ndim == 2 and before.shape[1] > 1
    if "auroc" in scoring.wanted:
        sides = [("1", before.reshape(-1), after.reshape(-1), truth == 1)]
        if wide:
            names = class_names(scoring, before.shape[1])
            sides = [(n, before[:, c], after[:, c], truth == c) for c, n in enumerate(names)]
        for name, a, b, positive in sides:
            pair = _over(metrics.auroc, positive, a), _over(metrics.auroc, positive, b)
            yield from both(scoring, "auroc", *pair, len(truth), {"class": name})
    if "calibration_error" in scoring.wanted and wide:
        pair = _calibration(before, truth), _calibration(after, truth)
        yield from both(scoring, "calibration_error", *pair, len(truth), {})


def _calibration(scores: Array, truth: metrics.Classes) -> Statistic:
    shares = metrics.probabilities(scores)
    right = shares.argmax(axis=1) == truth
    return _over(metrics.calibration_error, shares.max(axis=1), right)


def _over(metric: Callable[..., float], *arrays: Array) -> Statistic:
    """`metric` of some rows of `arrays`, as a function of their indices."""
    return lambda index: metric(*(array[index] for array in arrays))


def _regression(scoring: Scoring, seen: Seen) -> Iterator[Row]:
    if seen.labels is None:
        return
    before, after = seen.source[scoring.output], seen.candidate[scoring.output]
    count = len(before)
    truth = seen.labels.astype(np.float64).reshape(count, -1)
    if before.reshape(count, -1).shape != truth.shape:
        raise StageError(
            f"the model gives {before.shape[1:]} numbers a row, labels {truth.shape[1:]}"
        )
    errors = [side.astype(np.float64).reshape(count, -1) - truth for side in (before, after)]
    for marks, where in groups(seen, count):
        a, b, t = errors[0][where], errors[1][where], truth[where]
        for name, metric in (("mae", metrics.mae), ("rmse", metrics.rmse)):
            if scoring.wants(name):
                yield from both(scoring, name, _over(metric, a), _over(metric, b), len(a), marks)
        if scoring.wants("r2"):
            pair = _over(metrics.r2, a, t), _over(metrics.r2, b, t)
            yield from both(scoring, "r2", *pair, len(a), marks)


def _embedding(scoring: Scoring, seen: Seen) -> Iterator[Row]:
    before, after = seen.source[scoring.output], seen.candidate[scoring.output]
    if scoring.wants("cosine"):
        near = metrics.cosines(before, after)
        for marks, where in groups(seen, len(before)):
            yield mean(scoring, "cosine", near[where], marks)
    for k in scoring.top_k or (10,):
        if scoring.wants("recall_at_k") and len(before) > k:
            found = metrics.shared(metrics.neighbours(before, k), metrics.neighbours(after, k))
            yield mean(scoring, "recall_at_k", found, {"k": str(k)})


def _detection(scoring: Scoring, seen: Seen) -> Iterator[Row]:
    if seen.labels is None:
        raise StageError("detection needs labels [boxes, 5]: x1, y1, x2, y2, class")
    before, after = seen.source[scoring.output], seen.candidate[scoring.output]
    if before.ndim != 3 or before.shape[2] != 6 or seen.labels.ndim != 3:
        raise StageError(
            f"detection reads an output [N, boxes, 6] of x1, y1, x2, y2, score, class; "
            f"{scoring.output} is {list(before.shape)}",
            hint="add the post-processing to the model, or write a metric of your own",
        )
    truths = list(seen.labels)
    pair = [
        partial(metrics.mean_average_precision, metrics.matched(list(side), truths))
        for side in (before, after)
    ]
    yield from both(scoring, "map", pair[0], pair[1], len(before), {})


def _text(scoring: Scoring, seen: Seen) -> Iterator[Row]:
    before, after = seen.source[scoring.output], seen.candidate[scoring.output]
    sides = [v if v.dtype.kind in "iu" else v.argmax(axis=-1) for v in (before, after)]
    if scoring.wants("agreement"):
        same = (sides[0] == sides[1]).reshape(len(before), -1).all(axis=1)
        for marks, where in groups(seen, len(before)):
            yield share(scoring, "agreement", same[where], marks)
    if seen.labels is None:
        return
    tokens = seen.labels.astype(np.int64)
    if tokens.shape != sides[0].shape:
        raise StageError(
            f"labels are {tokens.shape[1:]} tokens a row, outputs {sides[0].shape[1:]}"
        )
    ignored = tokens == metrics.IGNORED
    right = [((s == tokens) | ignored).reshape(len(tokens), -1).all(axis=1) for s in sides]
    for marks, where in groups(seen, len(before)):
        if scoring.wants("exact_match"):
            yield from paired(scoring, "exact_match", right[0][where], right[1][where], marks)
    if before.ndim == 3 and scoring.wants("perplexity"):
        pair = (
            _over(metrics.perplexity, *metrics.token_losses(before, tokens)),
            _over(metrics.perplexity, *metrics.token_losses(after, tokens)),
        )
        yield from both(scoring, "perplexity", *pair, len(before), {})


def _custom(scoring: Scoring, seen: Seen, name: str, custom: Custom) -> Iterator[Row]:
    count = len(next(iter(seen.source.values())))
    before, after = custom(seen.source, seen.labels), custom(seen.candidate, seen.labels)
    if len(before) == len(after) == count:
        pair = _over(_average, before), _over(_average, after)
    else:
        pair = _whole(custom, seen.source, seen.labels), _whole(custom, seen.candidate, seen.labels)
    yield from both(scoring, name, *pair, count, {})


def _average(values: Array) -> float:
    return float(values.mean())


def _whole(custom: Custom, outputs: Mapping[str, Array], labels: Array | None) -> Statistic:
    """A metric that is one number for many samples, as a function of their indices."""

    def statistic(index: Index) -> float:
        picked = {name: value[index] for name, value in outputs.items()}
        return float(custom(picked, None if labels is None else labels[index])[0])

    return statistic


_TASKS: dict[Task, Callable[[Scoring, Seen], Iterator[Row]]] = {
    "classification": _classification,
    "regression": _regression,
    "embedding": _embedding,
    "detection": _detection,
    "text": _text,
}
