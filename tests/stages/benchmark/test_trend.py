"""The weekly trend against SciPy and against planted drifts."""

import numpy as np
import pytest
from scipy import stats

from mlgate.stages.benchmark.trend import weekly_growth


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


def test_no_drift_is_rarely_called_one() -> None:
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(1000):
        found = weekly_growth(list(range(12)), list(np.exp(rng.normal(0, 0.1, 12))), 0.95)
        alarms += found.low is not None and found.low > 0
    assert alarms / 1000 <= 0.06


def test_little_data_has_open_ends_and_none_is_an_error() -> None:
    assert weekly_growth([0, 1], [1.0, 1.1]).low is None
    with pytest.raises(ValueError, match="two distinct days"):
        weekly_growth([1, 1], [1.0, 1.1])
    with pytest.raises(ValueError, match="above 0"):
        weekly_growth([1, 2], [1.0, 0.0])
    with pytest.raises(ValueError, match="differ"):
        weekly_growth([1, 2], [1.0])
