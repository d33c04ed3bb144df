"""The metrics of each task as evidence rows: classes, numbers, rankings, embeddings, boxes, text."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from mlgate.errors import StageError
from mlgate.metrics import linear, values
from mlgate.metrics.classification import classification
from mlgate.metrics.custom import Custom
from mlgate.metrics.options import Task
from mlgate.metrics.scoring import (
    SHARE,
    Array,
    Floats,
    Index,
    Row,
    Scoring,
    Seen,
    both,
    paired,
    parts_of,
    resampled,
    share,
)
from mlgate.statistics.bootstrap import Statistic
from mlgate.statistics.linear import mean


def score(scoring: Scoring, seen: Seen) -> tuple[Row, ...]:
    """All rows, in a stable order. Raises `StageError` when outputs and labels do not fit."""
    rows = list(_TASKS[scoring.task](scoring, seen))
    for name, custom in scoring.custom:
        if scoring.wants(f"custom.{name}"):
            rows.extend(_custom(scoring, seen, f"custom.{name}", custom))
    return tuple(rows)


def _sides(scoring: Scoring, seen: Seen) -> tuple[Array | None, Array]:
    before = None if seen.source is None else seen.source[scoring.output]
    return before, seen.candidate[scoring.output]


def _regression(scoring: Scoring, seen: Seen) -> Iterator[Row]:
    if seen.labels is None:
        return
    before, after = _sides(scoring, seen)
    count = len(after)
    truth = seen.labels.astype(np.float64).reshape(count, -1)
    if after.reshape(count, -1).shape != truth.shape:
        raise StageError(
            f"the model gives {after.shape[1:]} numbers a row, labels {truth.shape[1:]}"
        )
    errors = after.astype(np.float64).reshape(count, -1) - truth
    earlier = None if before is None else before.astype(np.float64).reshape(count, -1) - truth
    for part in parts_of(seen):
        own, other = errors[part.where], None if earlier is None else earlier[part.where]
        for name, metric in (("mae", linear.mae), ("rmse", linear.rmse)):
            if scoring.wants(name):
                reference = None if other is None else metric(other)
                yield from both(
                    scoring, name, reference, metric(own), part.labelled(), part.clusters
                )
        if scoring.wants("r2"):
            true = truth[part.where]
            reference = None if other is None else linear.r2(other, true)
            yield from both(
                scoring, "r2", reference, linear.r2(own, true), part.labelled(), part.clusters
            )


def _ranking(scoring: Scoring, seen: Seen) -> Iterator[Row]:
    if seen.labels is None or seen.queries is None:
        raise StageError(
            "a ranking needs a label, how relevant a row is, and a query that it belongs to",
            hint="add label: and query:",
        )
    relevance = linear.per_query(seen.queries, seen.labels.astype(np.float64))
    for k in scoring.top_k or (10,):
        if scoring.wants("ndcg"):
            metric = partial(linear.ndcg, k=k)
            yield from _per_query(scoring, seen, "ndcg", metric, relevance, {"k": str(k)})
    if scoring.wants("mrr"):
        yield from _per_query(scoring, seen, "mrr", linear.reciprocal_rank, relevance, {})


def _per_query(
    scoring: Scoring,
    seen: Seen,
    name: str,
    metric: Callable[[Floats, Floats], float],
    relevance: list[Array],
    labels: dict[str, str],
) -> Iterator[Row]:
    """The mean over queries that have something relevant; a query is the unit."""
    assert seen.queries is not None
    found: list[Floats | None] = []
    for side in _sides(scoring, seen):
        if side is None:
            found.append(None)
            continue
        scores = linear.per_query(seen.queries, side.reshape(len(side), -1)[:, -1])
        pairs = zip(relevance, scores, strict=True)
        each = np.array([metric(true, own.astype(np.float64)) for true, own in pairs])
        found.append(each[~np.isnan(each)])
    before, after = found
    assert after is not None
    reference = None if before is None else mean(before)
    yield from both(scoring, name, reference, mean(after), labels, None, SHARE)


def _embedding(scoring: Scoring, seen: Seen) -> Iterator[Row]:
    before, after = _sides(scoring, seen)
    if before is None:
        raise StageError("embeddings are compared with a reference", hint="add baseline:")
    if scoring.wants("cosine"):
        near = values.cosines(before, after)
        for part in parts_of(seen):
            found = mean(near[part.where])
            yield from both(
                scoring, "cosine", None, found, part.labelled(), part.clusters, (-1.0, 1.0)
            )
    for k in scoring.top_k or (10,):
        if scoring.wants("recall_at_k") and len(before) > k:
            kept = values.shared(values.neighbours(before, k), values.neighbours(after, k))
            labels = {"k": str(k)}
            found = mean(kept)
            yield from both(scoring, "recall_at_k", None, found, labels, seen.clusters, SHARE)


def _detection(scoring: Scoring, seen: Seen) -> Iterator[Row]:
    if seen.labels is None:
        raise StageError("detection needs labels [boxes, 5]: x1, y1, x2, y2, class")
    before, after = _sides(scoring, seen)
    if after.ndim != 3 or after.shape[2] != 6 or seen.labels.ndim != 3:
        raise StageError(
            f"detection reads an output [N, boxes, 6] of x1, y1, x2, y2, score, class; "
            f"{scoring.output} is {list(after.shape)}",
            hint="add the post-processing to the model, or write a metric of your own",
        )
    truths = list(seen.labels)

    def precision(side: Array) -> Statistic:
        return partial(values.mean_average_precision, values.matched(list(side), truths))

    sides = (None if before is None else precision(before), precision(after))
    yield from resampled(scoring, "map", sides, len(after), {}, seen.clusters, SHARE)


def _text(scoring: Scoring, seen: Seen) -> Iterator[Row]:
    before, after = _sides(scoring, seen)
    said = _tokens(after)
    earlier = None if before is None else _tokens(before)
    if earlier is not None and scoring.wants("agreement"):
        same = (earlier == said).reshape(len(said), -1).all(axis=1)
        for part in parts_of(seen):
            own = same[part.where]
            yield share(scoring, "agreement", own, part.labelled(), part.clusters)
    if seen.labels is None:
        return
    tokens = seen.labels.astype(np.int64)
    if tokens.shape != said.shape:
        raise StageError(f"labels are {tokens.shape[1:]} tokens a row, outputs {said.shape[1:]}")
    right = _all_right(said, tokens)
    had = None if earlier is None else _all_right(earlier, tokens)
    for part in parts_of(seen):
        if scoring.wants("exact_match"):
            other = None if had is None else had[part.where]
            yield from paired(
                scoring, "exact_match", other, right[part.where], part.labelled(), part.clusters
            )
    if after.ndim == 3 and scoring.wants("perplexity"):
        sides = (
            None if before is None else _perplexity(before, tokens),
            _perplexity(after, tokens),
        )
        yield from resampled(scoring, "perplexity", sides, len(after), {}, seen.clusters)


def _tokens(side: Array) -> Array:
    return side if side.dtype.kind in "iu" else np.asarray(side.argmax(axis=-1))


def _all_right(said: Array, tokens: Array) -> Array:
    right = (said == tokens) | (tokens == values.IGNORED)
    return np.asarray(right.reshape(len(tokens), -1).all(axis=1))


def _perplexity(side: Array, tokens: Array) -> Statistic:
    losses, counted = values.token_losses(side, tokens)
    return lambda index: values.perplexity(losses[index], counted[index])


def _custom(scoring: Scoring, seen: Seen, name: str, custom: Custom) -> Iterator[Row]:
    count = len(seen)
    # The reference first: an error of the user's own code is then no candidate's.
    before = None if seen.source is None else custom(seen.source, seen.labels)
    after = custom(seen.candidate, seen.labels)
    if len(after) == count and (before is None or len(before) == count):
        yield from _each(scoring, seen, name, before, after)
        return
    whole = (
        None if seen.source is None else _whole(custom, seen.source, seen.labels),
        _whole(custom, seen.candidate, seen.labels),
    )
    yield from resampled(scoring, name, whole, count, {}, seen.clusters)


def _each(
    scoring: Scoring, seen: Seen, name: str, before: Floats | None, after: Floats
) -> Iterator[Row]:
    """One number per sample. Zeros and ones are a share, whatever the metric means by them."""
    sides = [after] if before is None else [before, after]
    yes_or_no = all(np.isin(side, (0.0, 1.0)).all() for side in sides)
    for part in parts_of(seen):
        own, other = after[part.where], None if before is None else before[part.where]
        marks, units = part.labelled(), part.clusters
        if yes_or_no:
            had = None if other is None else other == 1
            yield from paired(scoring, name, had, own == 1, marks, units)
        else:
            reference = None if other is None else mean(other)
            yield from both(scoring, name, reference, mean(own), marks, units)


def _whole(custom: Custom, outputs: Mapping[str, Array], labels: Array | None) -> Statistic:
    """A metric that is one number for many samples, as a function of their indices."""

    def statistic(index: Index) -> float:
        picked = {name: value[index] for name, value in outputs.items()}
        return float(custom(picked, None if labels is None else labels[index])[0])

    return statistic


_TASKS: dict[Task, Callable[[Scoring, Seen], Iterator[Row]]] = {
    "classification": classification,
    "regression": _regression,
    "ranking": _ranking,
    "embedding": _embedding,
    "detection": _detection,
    "text": _text,
}
