"""The statistics against SciPy, MLPerf LoadGen's published counts, and coverage by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlgate.statistics.binomial import binomial_cdf
from mlgate.statistics.bootstrap import tail_ratio_estimate
from mlgate.statistics.means import (
    batch_rates,
    mean_estimate,
    student_quantile,
    trimmed_estimate,
)
from mlgate.statistics.multiplicity import look_sizes
from mlgate.statistics.quantiles import percentile_estimate, percentile_of, queries_needed


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 50_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    st.floats(1e-4, 1 - 1e-4),
)
def test_binomial_cdf_is_scipys(pair: tuple[int, int], probability: float) -> None:
    trials, successes = pair
    expected = float(stats.binom.cdf(successes, trials, probability))
    assert binomial_cdf(successes, trials, probability) == pytest.approx(
        expected, rel=1e-8, abs=1e-12
    )


@settings(max_examples=150, deadline=None)
@given(st.floats(0.001, 0.9999), st.integers(1, 200))
def test_student_quantile_is_scipys(probability: float, degrees: int) -> None:
    expected = float(stats.t.ppf(probability, degrees))
    assert student_quantile(probability, degrees) == pytest.approx(expected, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize(
    ("percentile", "slower", "needed"),
    [
        *((0.99, 0, 459), (0.99, 1, 662), (0.99, 2, 838), (0.99, 5, 1307), (0.99, 10, 2010)),
        *((0.9, 0, 44), (0.9, 1, 64), (0.9, 2, 81), (0.9, 5, 127), (0.999, 0, 4603)),
    ],
)
def test_queries_needed_are_those_of_the_mlperf_rules(
    percentile: float, slower: int, needed: int
) -> None:
    assert queries_needed(percentile, 0.99, slower) == needed


def test_too_few_queries_leave_the_upper_end_open() -> None:
    few = percentile_estimate(np.arange(661), 0.99, (0.99,))
    enough = percentile_estimate(np.arange(662), 0.99, (0.99,))
    assert few.bounds[0][2] is None
    assert enough.bounds[0][2] == 661


def test_percentile_is_not_off_by_one() -> None:
    assert percentile_of(np.asarray([1, 2, 3]), 0.99) == 3
    assert percentile_of(np.arange(100), 0.5) == 50
    with pytest.raises(ValueError, match="no values"):
        percentile_of(np.asarray([], dtype=np.int64), 0.5)


@pytest.mark.parametrize("percentile", [0.5, 0.9, 0.99])
def test_percentile_bounds_cover_as_often_as_they_say(percentile: float) -> None:
    rng = np.random.default_rng(3)
    truth = -math.log1p(-percentile)
    missed = [0, 0]
    for _ in range(1000):
        sample = np.sort(rng.exponential(size=800))
        _, low, high = percentile_estimate(sample, percentile, (0.95,)).bounds[0]
        assert low is not None
        assert high is not None
        missed[0] += low > truth
        missed[1] += high < truth
    assert max(missed) < 75  # 50 expected; 75 is beyond four standard errors


def test_trimmed_estimate_is_yuens() -> None:
    values = [0.1, 0.2, 0.15, 0.3, -5.0, 0.22, 0.18, 9.0, 0.21, 0.17]
    found = trimmed_estimate(values, (0.99,))
    assert found.value == pytest.approx(float(stats.trim_mean(values, 0.2)))
    winsorised = np.asarray(stats.mstats.winsorize(np.asarray(values), (0.2, 0.2)))
    error = math.sqrt(winsorised.var(ddof=1) * 9 / (6 * 5))
    reach = float(stats.t.ppf(0.99, 5)) * error
    assert found.bounds[0][1:] == pytest.approx((found.value - reach, found.value + reach))


def test_looks_widen_the_interval_and_keep_the_error() -> None:
    one = trimmed_estimate([1.0, 1.1, 0.9, 1.05], (0.95,)).bounds[0]
    five = trimmed_estimate([1.0, 1.1, 0.9, 1.05], (0.95,), looks=5).bounds[0]
    assert one[1] is not None
    assert five[1] is not None
    assert five[1] < one[1]
    rng = np.random.default_rng(5)
    wrong, trials, plan = 0, 1500, look_sizes(8)
    for _ in range(trials):
        clusters = rng.standard_t(4, size=plan[-1])
        wrong += any(
            (trimmed_estimate(list(clusters[:n]), (0.95,), len(plan)).bounds[0][1] or -1) > 0
            for n in plan
        )
    assert wrong / trials < 0.05


def test_tail_ratio_finds_a_slower_tail_and_not_itself() -> None:
    rng = np.random.default_rng(7)
    base = [rng.gamma(50, 2.0, 200) for _ in range(12)]
    same = [rng.gamma(50, 2.0, 200) for _ in range(12)]
    slow = [np.where(rng.random(200) < 0.02, part * 3, part) for part in same]
    found = tail_ratio_estimate(slow, base, 0.99, (0.99,))
    calm = tail_ratio_estimate(same, base, 0.99, (0.99,))
    assert found.value > 1.5
    assert found.bounds[0][1] is not None
    assert found.bounds[0][1] > 1.05
    assert calm.bounds[0][1] is not None
    assert calm.bounds[0][1] < 1.0 < (calm.bounds[0][2] or 0)


def test_tail_ratio_redraw_of_equal_weights_is_the_plain_percentile() -> None:
    rng = np.random.default_rng(1)
    a = [rng.random(50) for _ in range(5)]
    b = [rng.random(40) for _ in range(5)]
    expected = percentile_of(np.sort(np.concatenate(a)), 0.9) / percentile_of(
        np.sort(np.concatenate(b)), 0.9
    )
    assert tail_ratio_estimate(a, b, 0.9, (0.9,)).value == pytest.approx(expected)


def test_too_little_is_an_error_not_a_number() -> None:
    with pytest.raises(ValueError, match="too few"):
        trimmed_estimate([1.0, 2.0], (0.95,))
    with pytest.raises(ValueError, match="too few"):
        tail_ratio_estimate([np.ones(3)] * 2, [np.ones(3)] * 2, 0.9, (0.95,))
    with pytest.raises(ValueError, match="without values"):
        tail_ratio_estimate([np.ones(0)] * 3, [np.ones(3)] * 3, 0.9, (0.95,))
    assert mean_estimate([4.0], (0.95,)).bounds == ((0.95, None, None),)


def test_batch_rates_of_a_steady_clock() -> None:
    times = np.arange(0, 1_000_000_001, 1_000_000, dtype=np.int64)
    assert batch_rates(times) == pytest.approx([1000.0] * 20)
    assert batch_rates(times[:1]) == []
