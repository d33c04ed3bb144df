"""Answers that cannot belong to the labels: said once, with the likely cause, before any gate.

A model that is worse than always answering the commonest class has nothing to lose, so every gate
on a drop would hold.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from mlgate.errors import StageError
from mlgate.metrics.values import Classes
from mlgate.statistics.binomial import clopper_pearson

_SURE = 0.999
_MOST_NAMES = 8


def refuse_misfit(whose: str, truth: Classes, answers: Classes, names: Sequence[str]) -> None:
    """Raise `StageError` for answers [n] that cannot be of these labels [n].

    `whose` is the model's role, for the message: `source`, `baseline`, `model`.
    """
    answered = answers >= 0
    if not answered.any() or len(np.unique(truth)) < 2:
        return
    _refuse_strangers(whose, truth, answers[answered], names)
    count = max(len(names), int(truth.max()) + 1, int(answers.max()) + 1)
    table = np.zeros((count, count), dtype=np.int64)
    np.add.at(table, (truth[answered], answers[answered]), 1)
    n, right = len(truth), int(np.trace(table))
    commonest = int(np.bincount(truth).argmax())
    usual = float(np.mean(truth == commonest))
    if clopper_pearson(right, n, _SURE)[2] >= usual or _better_than_chance(table, truth):
        return
    raise StageError(
        f"the {whose} is right in {right / n:.1%} of {n:,} rows; always answering "
        f"{_name(names, commonest)} is right in {usual:.1%}",
        hint=_cause(table, names, n),
    )


def _refuse_strangers(whose: str, truth: Classes, answers: Classes, names: Sequence[str]) -> None:
    """Answers that no label has, beside labels that no answer has: another numbering."""
    said, true = set(np.unique(answers).tolist()), set(np.unique(truth).tolist())
    if not said - true or not true - said or len(said) > _MOST_NAMES or len(true) > _MOST_NAMES:
        return
    # A rare class may be missing on either side: what is common must fit.
    strange = np.isin(answers, sorted(said - true)).mean()
    if strange < 0.1:
        return
    raise StageError(
        f"the {whose} answers {_listed(names, said)}; the labels are {_listed(names, true)}",
        hint="are label and output right, and do both number the classes alike? classes: [...]",
    )


def _better_than_chance(table: Classes, truth: Classes) -> bool:
    """Whether rare classes are found at all: a model tuned for them is right less often."""
    counts = table.sum(axis=1)
    missing = np.bincount(truth, minlength=len(table)) - counts
    own = np.diag(table) / np.maximum(counts + missing, 1)
    occurring = (counts + missing) > 0
    return float(own[occurring].mean()) > 1 / int(np.count_nonzero(occurring))


def _cause(table: Classes, names: Sequence[str], n: int) -> str:
    plain = "are classes, inputs, output and label in the right order?"
    if len(table) > 200:
        return plain
    rows, columns = linear_sum_assignment(-table)
    moved = int(table[rows, columns].sum())
    if moved <= np.trace(table) or moved / n < 1.5 / len(table):
        return plain
    order = np.empty(len(table), dtype=np.int64)
    order[columns] = rows
    if len(table) <= _MOST_NAMES:
        told = ", ".join(_name(names, int(kind)) for kind in order)
        return f"with the classes in the order [{told}] it would be right in {moved / n:.1%}"
    return f"with its classes in another order it would be right in {moved / n:.1%}"


def _listed(names: Sequence[str], kinds: set[int]) -> str:
    return ", ".join(_name(names, kind) for kind in sorted(kinds))


def _name(names: Sequence[str], kind: int) -> str:
    return repr(names[kind]) if kind < len(names) and names[kind] != str(kind) else str(kind)
