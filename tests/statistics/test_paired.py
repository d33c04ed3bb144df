"""Intervals keep their error rates, and agree with exact and published values."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from mlgate.statistics.binomial import clopper_pearson
from mlgate.statistics.bootstrap import percentiles, resample
from mlgate.statistics.multiplicity import holm
from mlgate.statistics.paired import Pairs

counts = st.integers(0, 400).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.integers(0, n)).map(
        lambda pair: (min(pair), max(pair) - min(pair), n)
    )
)


@given(n=st.integers(1, 3000), share=st.floats(0, 1), c=st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=150, deadline=None)
def test_a_share_has_exact_bounds(n: int, share: float, c: float) -> None:
    k = round(share * n)
    _, low, high = clopper_pearson(k, n, c)
    assert low == pytest.approx(beta.ppf(1 - c, k, n - k + 1) if k else 0, abs=1e-8)
    assert high == pytest.approx(beta.ppf(c, k + 1, n - k) if k < n else 1, abs=1e-8)


@given(counts, st.sampled_from([0.9, 0.95, 0.99]))
@settings(max_examples=200, deadline=None)
def test_bounds_enclose_the_difference_and_mirror(
    found: tuple[int, int, int], confidence: float
) -> None:
    lost, won, n = found[0], found[1], found[2] + 1
    pairs = Pairs(lost, won, n)
    _, low, high = pairs.interval(confidence)
    assert -1 <= low <= pairs.difference + 1e-9
    assert pairs.difference - 1e-9 <= high <= 1
    _, mirrored_low, mirrored_high = Pairs(won, lost, n).interval(confidence)
    assert (mirrored_low, mirrored_high) == pytest.approx((-high, -low), abs=1e-9)


def test_tangos_own_example() -> None:
    # Tango 1998, table I: 14 discordant of 44, difference 1/44; 95 % two-sided (-0.096, 0.136)…
    # computed independently from the score equation by bisection on its definition.
    pairs = Pairs(lost=3, won=1, n=44)
    _, low, high = pairs.interval(0.975)
    for bound in (low, high):
        drop = -bound
        grid = np.linspace(1e-9, 1 - abs(drop) - 1e-9, 200_001)
        q, p = grid, grid + drop
        ok = (p > 0) & (p + q < 1)
        likelihood = 3 * np.log(p[ok]) + np.log(q[ok]) + 40 * np.log(1 - p[ok] - q[ok])
        share = q[ok][likelihood.argmax()]
        z = (3 - 1 - 44 * drop) / math.sqrt(44 * (2 * share + drop * (1 - drop)))
        assert abs(z) == pytest.approx(1.959964, abs=2e-3)


@pytest.mark.parametrize("confidence", [0.95, 0.97, 0.99])
@pytest.mark.parametrize("n", [150, 300, 459, 600])
def test_a_drop_at_the_limit_is_accepted_no_more_often_than_stated(
    n: int, confidence: float
) -> None:
    limit = 0.01
    passes = np.array(
        [
            [-Pairs(lost, won, n).interval(confidence)[1] <= limit for won in range(40)]
            for lost in range(40)
        ]
    )
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    lost, won = np.meshgrid(np.arange(40), np.arange(40), indexing="ij")
    for discordant in (0.0, 0.002, 0.01, 0.03):
        p, q = limit + discordant, max(discordant, 1e-12)
        chance = np.exp(
            log_factorial[n]
            - log_factorial[lost]
            - log_factorial[won]
            - log_factorial[n - lost - won]
            + lost * np.log(p)
            + won * np.log(q)
            + (n - lost - won) * np.log(1 - p - q)
        )
        assert (chance * passes).sum() <= 1.12 * (1 - confidence)


@given(counts, st.sampled_from([0.9, 0.95, 0.99]))
@settings(max_examples=100, deadline=None)
def test_an_answer_won_never_speaks_against_a_candidate(
    found: tuple[int, int, int], confidence: float
) -> None:
    lost, won, n = found[0], found[1], found[2] + 2
    _, low, high = Pairs(lost, won, n).interval(confidence)
    _, more_low, more_high = Pairs(lost, won + 1, n).interval(confidence)
    assert more_low >= low - 1e-9
    assert more_high >= high - 1e-9


def test_without_a_discordant_pair_the_bound_is_exact_and_shrinks_with_n() -> None:
    # Below 299 samples no one-point gate can pass at 95 %.
    assert Pairs(0, 0, 298).interval(0.95)[1] < -0.01
    assert Pairs(0, 0, 299).interval(0.95)[1] >= -0.01


def test_mcnemar_is_the_exact_binomial_test() -> None:
    assert Pairs(9, 2, 300).mcnemar() == pytest.approx(binomtest(2, 11).pvalue)
    assert Pairs(0, 0, 300).mcnemar() == 1


def test_samples_needed_as_published() -> None:
    # (1.645 + 0.842)² · 1 % / (1 point)²
    assert Pairs(3, 3, 600).needed(0.01, 0.95) == pytest.approx(619, abs=2)


def test_projecting_scales_shares() -> None:
    assert Pairs(2, 1, 100).scaled(3) == Pairs(6, 3, 300)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx((0.04, 0.09, 0.09, 0.5))
    assert holm([]) == ()


def test_a_bootstrap_of_few_samples_says_nothing() -> None:
    draws = resample([lambda index: float(index.mean())], 29)
    assert percentiles(draws[:, 0], 14.0, 29, (0.95,)) == ()


def mean_of(values: np.ndarray, index: np.ndarray) -> float:
    return float(values[index].mean())


def test_a_bootstrap_covers_a_mean() -> None:
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(60):
        values = rng.normal(0, 1, 80)
        draws = resample([partial(mean_of, values)], 80)
        ((_, low, _),) = percentiles(draws[:, 0], float(values.mean()), 80, (0.9,))
        missed += low > 0
    assert missed <= 14  # 6 expected; 14 or more happen once in a thousand


def test_resamples_without_a_value_give_no_interval() -> None:
    draws = np.full(1000, np.nan)
    assert percentiles(draws, 0.0, 100, (0.95,)) == ()
