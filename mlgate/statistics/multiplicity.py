"""Several questions to the same samples: errors shared among looks, p values adjusted.

Passing needs every gate to hold, an intersection-union test (Berger 1982): its error rate is that
of a single gate, without correction. Naming the classes that dropped is a multiple test, and that
is where Holm's correction applies.
"""

import math
from collections.abc import Iterable, Sequence


def spent(confidence: float, looks: int) -> float:
    """Confidence of each of `looks` looks that together err at most 1 − `confidence`.

    The error is shared out evenly (Bonferroni), so it holds whatever the looks have in common
    and whenever one stops.
    """
    return 1.0 - (1.0 - confidence) / looks


def look_sizes(first: int, factors: Sequence[float] = (1, 1.5, 2, 3, 4)) -> tuple[int, ...]:
    """Sample sizes at which a comparison is judged: 8 → 8, 12, 16, 24, 32."""
    return tuple(sorted({math.ceil(first * factor) for factor in factors}))


def holm(p_values: Iterable[float]) -> tuple[float, ...]:
    """Holm's step-down adjustment (Scandinavian Journal of Statistics 6, 1979), in given order."""
    values = list(p_values)
    adjusted = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return tuple(adjusted)
