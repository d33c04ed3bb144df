"""A robust slope over time with its interval; made of the standard library alone."""

import math
from collections.abc import Sequence
from statistics import NormalDist, median


def theil_sen(
    times: Sequence[float], values: Sequence[float], confidence: float
) -> tuple[float, float | None, float | None]:
    """(median of all pairwise slopes, low, high), with Sen's rank interval (JASA 63, 1968).

    `times` are ascending, and at least two differ. Each bound is one-sided at `confidence`; one
    that the points do not give is None. The interval supposes independent noise.
    """
    points = list(zip(times, values, strict=True))
    slopes = sorted(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for index, later in enumerate(points)
        for earlier in points[:index]
        if later[0] > earlier[0]
    )
    n = len(points)
    # Slopes between which Kendall's S is not surprising, from its normal approximation.
    reach = NormalDist().inv_cdf(confidence) * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    lower = math.floor((len(slopes) - reach) / 2) - 1
    upper = math.ceil((len(slopes) + reach) / 2)
    low = slopes[lower] if lower >= 0 else None
    high = slopes[upper] if upper < len(slopes) else None
    return median(slopes), low, high
