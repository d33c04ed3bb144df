"""A share of independent samples: exact bounds, score intervals, and tails of the distribution."""

import math
from functools import lru_cache

from scipy import special

from mlgate.statistics.intervals import Interval


def clopper_pearson(part: float, n: float, confidence: float) -> Interval:
    """One-sided Clopper–Pearson bounds of a share (Biometrika 26, 1934), each exact.

    Counts may be fractions when they are projected to another number of samples.
    """
    return confidence, 1 - exact_upper(n - part, n, confidence), exact_upper(part, n, confidence)


@lru_cache(maxsize=4096)
def exact_upper(part: float, n: float, confidence: float) -> float:
    """The share at which `part` or fewer of `n` has probability 1 − confidence."""
    if part >= n:
        return 1.0
    # P(X ≤ k) for X ~ B(n, p) is the regularised incomplete beta I(1−p; n−k, k+1).
    return float(special.betaincinv(part + 1, n - part, confidence))


def binomial_cdf(successes: int, trials: int, probability: float) -> float:
    """P(Binomial(trials, probability) ≤ successes)."""
    if successes < 0 or successes >= trials:
        return 0.0 if successes < 0 else 1.0
    return float(special.betainc(trials - successes, successes + 1, 1.0 - probability))


def largest_unlikely(trials: int, probability: float, confidence: float) -> int | None:
    """Largest t with P(Binomial(trials, probability) ≤ t) ≤ 1 − confidence; None if there is none."""
    # 1e-15: 1 - 0.99 is a little less than 0.01, and LoadGen's own sum is not rounded so.
    allowed = 1.0 - confidence + 1e-15
    low, high = -1, trials
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_cdf(middle, trials, probability) <= allowed:
            low = middle
        else:
            high = middle
    return None if low < 0 else low


def unanimous(share: float, confidence: float) -> int:
    """Fewest samples, none of them against it, that prove a share to be below `share`.

    0.01 at 95 %: 299, for 0.99²⁹⁹ is the first power below 0.05.
    """
    return math.ceil(math.log(1 - confidence) / math.log1p(-share))


def wilson(part: float, n: float, confidence: float) -> tuple[float, float]:
    """Wilson's two-sided score interval of a share (JASA 22, 1927)."""
    z, p = two_sided(confidence), part / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))


def newcombe(
    part: float, n: float, later_part: float, m: float, confidence: float
) -> tuple[float, float]:
    """Two-sided interval of the rise from one share to another of other samples.

    Newcombe's method 10 (Statistics in Medicine 17, 1998), out of two Wilson intervals.
    """
    p, q = part / n, later_part / m
    low, high = wilson(part, n, confidence)
    later_low, later_high = wilson(later_part, m, confidence)
    return (
        q - p - math.hypot(q - later_low, high - p),
        q - p + math.hypot(later_high - q, p - low),
    )


def two_sided(confidence: float) -> float:
    """The normal quantile of a two-sided interval."""
    return float(special.ndtri((1 + confidence) / 2))


def normal_quantile(probability: float) -> float:
    """Quantile of the normal distribution."""
    return float(special.ndtri(probability))
