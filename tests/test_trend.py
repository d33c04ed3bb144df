"""The weekly trend against SciPy and against planted drifts, and the gate on it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlgate.trend import Trend, judge, weekly_growth, words


def test_slope_and_interval_are_theil_sens() -> None:
    rng = np.random.default_rng(0)
    days = np.arange(20.0)
    ratios = np.exp(0.01 * days + rng.normal(0, 0.05, 20))
    found = weekly_growth(list(days), list(ratios), confidence=0.95)
    slope, _, low, high = stats.theilslopes(np.log(ratios), days, alpha=0.90)
    assert found.growth == pytest.approx(np.expm1(7 * slope))
    # SciPy rounds the ranks to the nearest; ours go outwards by at most one.
    assert found.low is not None
    assert found.low <= np.expm1(7 * low) + 1e-12
    assert found.high is not None
    assert found.high >= np.expm1(7 * high) - 1e-12
    assert found.low > np.expm1(7 * low) - 0.03


def test_growth_of_ten_percent_a_week_is_seen_through_an_outlier() -> None:
    days = [float(day) for day in range(0, 28, 2)]
    ratios = [1.1 ** (day / 7) for day in days]
    ratios[5] = 40.0
    found = weekly_growth(days, ratios)
    assert found.growth == pytest.approx(0.1, abs=0.005)
    assert found.low is not None
    assert found.low > 0.05
    assert (found.n, found.days) == (14, 26.0)


def test_no_drift_is_rarely_called_one() -> None:
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(1000):
        found = weekly_growth(list(range(12)), list(np.exp(rng.normal(0, 0.1, 12))), 0.95)
        alarms += found.low is not None and found.low > 0
    assert alarms / 1000 <= 0.06


def test_little_data_has_open_ends_and_what_has_no_logarithm_is_an_error() -> None:
    assert weekly_growth([0, 1], [1.0, 1.1]).low is None
    assert weekly_growth([1, 1], [1.0, 1.1]) == Trend(None, None, None, 2, 0.0)
    assert weekly_growth([1, 1.9], [1.0, 9.0]).growth is None
    assert weekly_growth([], []).growth is None
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="above 0"):
            weekly_growth([1, 2], [1.0, bad])
    with pytest.raises(ValueError, match="differ"):
        weekly_growth([1, 2], [1.0])


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(1e-300, 1e300)), min_size=1, max_size=30),
    st.sampled_from([0.8, 0.95, 0.999]),
)
def test_ends_enclose_the_growth_and_order_does_not_matter(
    points: list[tuple[float, float]], confidence: float
) -> None:
    def of(some: list[tuple[float, float]]) -> Trend:
        return weekly_growth([day for day, _ in some], [value for _, value in some], confidence)

    found = of(points)
    assert of(points[::-1]) == found
    if found.growth is not None:
        assert found.low is None or found.low <= found.growth
        assert found.high is None or found.growth <= found.high


def test_only_the_last_points_of_a_very_long_history_count() -> None:
    found = weekly_growth([float(d) for d in range(1000)], [1.0] * 500 + [2.0] * 500)
    assert found.n == 400
    assert found.growth == 0


@pytest.mark.parametrize(
    ("low", "high", "n", "days", "outcome"),
    [
        (-0.1, 0.1, 8, 1.0, "pass"),
        (0.11, 0.3, 8, 1.0, "fail"),
        (0.09, 0.11, 8, 1.0, "inconclusive"),
        (None, 0.05, 8, 1.0, "pass"),
        (0.05, None, 8, 1.0, "inconclusive"),
        (None, None, 8, 1.0, "inconclusive"),
        (-0.1, 0.1, 7, 30.0, "inconclusive"),
        (0.11, 0.3, 7, 30.0, "inconclusive"),
    ],
)
def test_the_whole_interval_is_held_against_the_limit_and_a_short_history_never_passes(
    low: float | None, high: float | None, n: int, days: float, outcome: str
) -> None:
    found = judge("m", {"a": "b"}, Trend(0.1, low, high, n, days), 0.1, "s: m")
    assert found.outcome == outcome
    assert (found.low, found.high, found.limit) == (low, high, "growth ≤ 10 % a week")
    assert ("are needed" in found.message) == (n < 8)


def test_a_growth_that_is_not_there_never_passes() -> None:
    found = judge("m", {}, Trend(None, None, None, 80, 0.9), 0.1, "s: m")
    assert (found.outcome, found.observed) == ("inconclusive", None)
    assert found.message == (
        "s: m has too short a history for a trend (80 runs over 21.6 hours): "
        "at least 8 runs over a day are needed"
    )


@pytest.mark.parametrize(
    ("n", "days", "says"),
    [
        (1, 0.0, "(1 run)"),
        (8, 0.0003, "(8 runs over less than a minute)"),
        (8, 0.0007, "(8 runs over 1.01 minutes)"),
        (8, 1 / 24, "(8 runs over 1 hour)"),
        (8, 27.5, "(8 runs over 27.5 days)"),
    ],
)
def test_a_span_is_told_in_a_unit_that_people_know(n: int, days: float, says: str) -> None:
    assert words(Trend(None, None, None, n, days)).endswith(says)
