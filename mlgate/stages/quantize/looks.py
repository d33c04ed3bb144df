"""When to look at the answers: after how many rows, and how much of its error each look spends.

Group-sequential testing with repeated confidence intervals (Jennison and Turnbull, "Interim
analyses: the repeated confidence interval approach", JRSS B 51, 1989): a gate with error α gets
α·share at each look, and the shares add up to one. By the union bound all intervals of all looks
hold together with probability 1 − α, so one may stop at any look, for any reason, and report its
interval. The schedule depends on gates and labels only, never on answers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mlgate.gate import Gate
from mlgate.quantity import Quantity
from mlgate.stages.quantize.samples import Samples

# Bounded by exact and score intervals; the tails of a bootstrap are too rough to look at early.
_PROPORTIONS: Final = ("accuracy", "agreement", "recall", "fpr", "exact_match")
# Exact, or measured apart from the rows.
_ROWLESS: Final = frozenset(
    {
        "size_bytes",
        "size_ratio",
        "latency_ms.p50",
        "speedup",
        "trials",
        "calibration_passes",
        "sample_inferences",
    }
)
_FIRST: Final = 0.2  # share of the error that the first look spends; the middle ones as much in all
_WORTH: Final = 1.5  # fewer rows than this times the first look are looked at once
_REJECT: Final = 32
_PROMISE: Final = 128


@dataclass(frozen=True)
class Look:
    """Rows seen so far, and the share of each gate's error that this look spends."""

    rows: int
    share: float = 1.0


def confirm_looks(
    gates: Sequence[Gate], confidence: float, rows: Samples, share: float = 1.0
) -> tuple[Look, ...]:
    """The first where the strictest gate could just be proved, then at most twice as many each.

    `share` of each gate's error is the first candidate's. One look at all rows where a gate cannot be looked at early, or little could be saved.
    """
    count = len(rows)
    least = [_least(gate, confidence, rows, share) for gate in gates if gate.metric not in _ROWLESS]
    first = max([_PROMISE, *least]) if least else math.inf
    if first * _WORTH > count:
        return (Look(count),)
    between = math.ceil(math.log2(count / first)) - 1
    ratio = (count / first) ** (1 / (between + 1))
    looks = [Look(round(first), _FIRST)]
    looks += [Look(round(first * ratio**i), _FIRST / between) for i in range(1, between + 1)]
    return (*looks, Look(count, 1 - sum(look.share for look in looks)))


def search_looks(gates: Sequence[Gate], rows: Samples) -> tuple[Look, ...]:
    """32 rows, which can only reject; 128; then twice as many each. Nothing is spent here."""
    count = len(rows)
    if any(not is_early(gate.metric) for gate in gates if gate.metric not in _ROWLESS):
        return (Look(count),)
    ends = [_REJECT, _PROMISE]
    if _smallest(gates, rows) < 1:
        ends = [_REJECT]  # a few rows of each class promise nothing
    while 2 * ends[-1] < count / _WORTH and len(ends) > 1:
        ends.append(2 * ends[-1])
    return (*(Look(end) for end in ends if end * _WORTH <= count), Look(count))


def may_promise(look: Look, last: Look, *, doubtful: bool) -> bool:
    """Whether a look at the search rows may call a candidate promising.

    A few rows without a loss say much of a candidate that is likely to be good, and little of a
    doubtful one.
    """
    return look == last or (look.rows >= _PROMISE and not doubtful)


def is_early(metric: str) -> bool:
    """Whether a gate on it may be looked at before all rows are in."""
    return metric in _PROPORTIONS or metric.startswith("accuracy.")


def _least(gate: Gate, confidence: float, rows: Samples, spent: float) -> float:
    """Rows that prove the gate at the first look when no answer speaks against it."""
    share = allowed(gate)
    if not is_early(gate.metric) or not 0 < share < 1:
        return math.inf
    alpha = 1 - (gate.confidence or confidence)
    none = math.log(alpha * _FIRST * spent) / math.log1p(-share)
    return math.ceil(math.ceil(none) / _smallest((gate,), rows))


def allowed(gate: Gate) -> float:
    """The share of rows that may speak against the gate; 0 where that is not known."""
    if gate.equals is not None or (gate.min is not None and gate.max is not None):
        return 0.0
    for limit in (gate.max_drop, gate.max_increase, gate.max):
        if limit is not None:
            return _number(limit)
    return 1 - _number(gate.min) if gate.min is not None else 0.0


def _number(limit: float | str) -> float:
    quantity = Quantity.parse(limit)
    return quantity.number / 100 if quantity.unit == "%" else quantity.number


def _smallest(gates: Sequence[Gate], rows: Samples) -> float:
    """The share of rows that the smallest class or slice has, where a gate looks at one."""
    share = 1.0
    labels = rows.labels
    if (
        labels is not None
        and labels.ndim == 1
        and any(g.metric in ("recall", "fpr") for g in gates)
    ):
        share *= _rarest(labels)
    # A gate that names no slice holds for each of them.
    for values in rows.slices.values():
        share = min(share, share * _rarest(values))
    return share


def _rarest(values: np.ndarray) -> float:
    _, counts = np.unique(values, return_counts=True)
    return float(counts.min() / counts.sum())
