"""How much one feature alone says of the label: a score near 1 is a label under another name."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlgate.data.table import Table, quoted, reading
from mlgate.errors import StageError
from mlgate.stages.validate.drift.profile import Categorical, Ordered, Profile, Withheld
from mlgate.stages.validate.drift.profiling import number
from mlgate.statistics.distances import Statistic, normal

_CLASSES: Final = 50
_GROUPS: Final = 10
_COLUMNS_PER_SCAN: Final = 64
_UNLISTED: Final = 0.9

Counts = NDArray[np.float64]
_Feature = Ordered | Categorical


@dataclass(frozen=True)
class Leak:
    """What one feature says of the label: 0 nothing, 1 all. `score` is None for a `reason`."""

    column: str
    score: Statistic | None
    method: Literal["auc", "mutual information"] | None
    reason: str | None = None


@dataclass(frozen=True)
class Leakage:
    """Every feature, in the table's order; and the columns that are none, with why."""

    label: str
    classes: int
    n: int
    """Rows that have a label."""
    columns: tuple[Leak, ...]
    left_out: tuple[tuple[str, str], ...]


def leakage(
    table: Table,
    profile: Profile,
    label: str,
    *,
    ignore: Collection[str] = (),
    bins: int = 64,
) -> Leakage:
    """Score each feature against the label, from class-conditional counts made in one scan.

    `profile` is the table's own: it gives the bins, pooled to `bins`, and the categories; nulls
    are one bin more. For two classes and a feature that has an order, the score is |2·AUC − 1|, with
    nulls at that end where they tell more, or the other score where it is higher, since AUC is
    blind to what does not rise or fall. Otherwise it is the mutual information, less its
    Miller–Madow bias, over the entropy of the label. A numeric label of more than 50 values is cut
    in ten groups of equal mass.

    Raises `StageError` when there is no such label, or it has fewer than two values.
    """
    _check_label(table, label)
    features, refused, left_out = _features(profile, label, ignore)
    scored: dict[str, Leak] = {leak.column: leak for leak in refused}
    by_class = _label_sql(table, profile, label)
    classes = n = 0
    for start in range(0, max(len(features), 1), _COLUMNS_PER_SCAN):
        part = features[start : start + _COLUMNS_PER_SCAN]
        counts, totals = _scan(table, part, by_class, label, bins)
        classes, n = len(totals), int(totals.sum())
        for feature, conditional in zip(part, counts, strict=True):
            scored[feature.name] = _score(feature, conditional)
    if classes < 2:
        raise StageError(
            f"leakage: the label {label!r} has {'one value' if classes else 'no value'}",
            hint="nothing can be learned, or leak, from such data: check the column and the filter",
        )
    order = [name for name in table.schema.names if name in scored]
    return Leakage(label, classes, n, tuple(scored[name] for name in order), tuple(left_out))


def _check_label(table: Table, label: str) -> None:
    if label in table.schema.names:
        return
    near = get_close_matches(label, table.schema.names, n=1)
    raise StageError(
        f"leakage: there is no column {label!r}",
        hint=f"did you mean {near[0]!r}?" if near else None,
    )


def _features(
    profile: Profile, label: str, ignore: Collection[str]
) -> tuple[list[_Feature], list[Leak], list[tuple[str, str]]]:
    features: list[_Feature] = []
    refused: list[Leak] = []
    left_out = [(s.name, s.reason) for s in profile.skipped if s.name != label]
    for column in profile.columns:
        if column.name == label:
            continue
        if column.name in ignore:
            left_out.append((column.name, "ignored"))
            continue
        match column:
            case Withheld():
                left_out.append((column.name, "personal data"))
            case Categorical() if column.other > _UNLISTED * column.count:
                why = "identifiers or free text used as a feature: too many values to score"
                refused.append(Leak(column.name, None, None, why))
            case Ordered() | Categorical():
                features.append(column)
    return features, refused, left_out


def _label_sql(table: Table, profile: Profile, label: str) -> str:
    """SQL that gives a row's class; null for rows without label."""
    type_ = table.schema.field(label).type
    name = quoted(label)
    t = pa.types
    if t.is_boolean(type_) or t.is_string(type_):
        return f"{name}::varchar"
    if not (t.is_integer(type_) or t.is_floating(type_) or t.is_decimal(type_)):
        raise StageError(
            f"leakage: the label {label!r} is of type {type_}", hint="use text or a number"
        )
    with reading(table.location):
        row = table.connection.execute(
            f"select count(*) from (select distinct {name} from {table.view} "
            f"where {name} is not null limit {_CLASSES + 1})"
        ).fetchone()
    if row is not None and row[0] <= _CLASSES:
        return f"{name}::varchar"
    column = profile.column(label)
    if not isinstance(column, Ordered):
        raise StageError(
            f"leakage: the label {label!r} is not in the profile as a number",
            hint="do not ignore the label, nor mark it as personal data",
        )
    cuts = _pooled(column, _GROUPS)
    x = number(label, type_)
    terms = [f"({x} > {cut!r}::double)::integer" for cut in cuts]
    return f"case when {name} is not null then {' + '.join(terms) or '0'} end"


def _pooled(column: Ordered, bins: int) -> list[float]:
    """At most bins − 1 of the column's edges, that cut its values in parts of about equal mass."""
    total, below, cuts = column.count, 0, []
    for edge, count in zip(column.edges, column.counts, strict=False):
        if total and (below + count) * bins // total > below * bins // total:
            cuts.append(edge)
        below += count
    return cuts


def _scan(
    table: Table, features: Sequence[_Feature], by_class: str, label: str, bins: int
) -> tuple[list[Counts], Counts]:
    """For each feature its counts (classes × bins, nulls last), and the rows of each class."""
    expressions: list[str] = []
    parameters: list[object] = []
    sizes: list[int] = []
    for feature in features:
        name = quoted(feature.name)
        expressions.append(f"count({name})")
        if isinstance(feature, Ordered):
            x = number(feature.name, table.schema.field(feature.name).type)
            edges = _pooled(feature, bins) or [0.0]
            expressions.append(f"map_values(histogram({x}, ?::double[]))")
            parameters.append(edges)
            sizes.append(len(edges) + 1)
        else:
            # What is listed as '' and what is not listed share a bin: the engine names both ''.
            values = [value for value, _ in feature.top if value] or ["-"]
            expressions.append(f"map_values(histogram_exact({name}::varchar, ?))")
            parameters.append(values)
            sizes.append(len(values) + 1)
    query = (
        f"select {', '.join([f'{by_class} as mlgate_class', 'count(*)', *expressions])} "
        f"from {table.view} where {quoted(label)} is not null "
        f"group by mlgate_class order by mlgate_class"
    )
    with reading(table.location):
        found = table.connection.execute(query, parameters).fetchall()
    totals = np.array([row[1] for row in found], dtype=np.float64)
    counts = []
    for i, size in enumerate(sizes):
        matrix = np.zeros((len(found), size + 1))
        for k, row in enumerate(found):
            listed = row[3 + 2 * i] or []
            matrix[k, : len(listed)] = listed
            matrix[k, size] = row[1] - row[2 + 2 * i]
        counts.append(matrix)
    return counts, totals


def _score(feature: _Feature, counts: Counts) -> Leak:
    if len(counts) < 2:
        return Leak(feature.name, None, None, "the label has one value")
    information = _mutual_information(counts)
    if len(counts) == 2 and isinstance(feature, Ordered):
        area = _auc(counts)
        if area.value >= information.value:
            return Leak(feature.name, area, "auc")
    return Leak(feature.name, information, "mutual information")


def _auc(counts: Counts) -> Statistic:
    """|2·AUC − 1| with Hanley and McNeil's variance (1982); nulls go to the end that tells more."""
    best, sign = 0.0, 1.0
    for ordered in (counts, np.roll(counts, 1, axis=1)):
        zero, one = ordered / ordered.sum(axis=1, keepdims=True)
        area = float(np.sum(one * (np.cumsum(zero) - zero / 2)))
        if abs(2 * area - 1) >= abs(best):
            best, sign = 2 * area - 1, math.copysign(1, 2 * area - 1)
    n, m = (float(side.sum()) for side in counts)
    a = (1 + sign * best) / 2
    q, r = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + (m - 1) * (q - a * a) + (n - 1) * (r - a * a)) / (n * m)
    return normal(abs(best), 2 * math.sqrt(max(variance, 0.0)), 1.0, int(n + m))


def _mutual_information(counts: Counts) -> Statistic:
    """Mutual information over the label's entropy, both in nats, less (K−1)(C−1)/2n of the former."""
    filled = counts[:, counts.sum(axis=0) > 0]
    n = float(filled.sum())
    joint = filled / n
    label, feature = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    ratio = np.where(joint > 0, joint / (label * feature), 1.0)
    log = np.log(ratio)
    raw = float(np.sum(joint * log))
    freedom = (joint.shape[0] - 1) * (joint.shape[1] - 1)
    entropy = float(-np.sum(label * np.log(label)))
    variance = max(float(np.sum(joint * log**2)) - raw**2, 0.0) / n + freedom / (2 * n * n)
    corrected = raw - freedom / (2 * n)
    return normal(corrected / entropy, math.sqrt(variance) / entropy, 1.0, int(n))
