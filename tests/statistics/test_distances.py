"""Statistics over counts against SciPy and the raw samples, and their intervals by simulation."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from mlgate.statistics.binomial import wilson
from mlgate.statistics.distances import (
    Statistic,
    js,
    ks,
    needed,
    psi,
    rise,
    share,
    wasserstein,
)

BINS = 10
COUNTS = st.integers(2, 12).flatmap(
    lambda k: st.tuples(*[st.lists(st.integers(0, 5000), min_size=k, max_size=k)] * 2)
).filter(lambda pair: all(sum(side) for side in pair))  # fmt: skip
CONFIDENCES = st.floats(0.5, 0.999)


def exact_ks(a: Sequence[float], b: Sequence[float]) -> float:
    at = sorted({*a, *b})
    f, g = (np.searchsorted(np.sort(s), at, side="right") / len(s) for s in (a, b))
    return float(np.max(np.abs(f - g)))


def width(statistic: Statistic) -> float:
    at = statistic.at(0.95)
    return at.high - at.low


@given(COUNTS)
def test_psi_and_js_are_symmetric(pair: tuple[list[int], list[int]]) -> None:
    x, y = pair
    for distance in (psi, js):
        there, back = distance(x, y).at(0.9), distance(y, x).at(0.9)
        assert there.value == pytest.approx(back.value, abs=1e-12)
        assert there.high == pytest.approx(back.high, abs=1e-12)


@given(COUNTS)
def test_equal_counts_are_no_distance(pair: tuple[list[int], list[int]]) -> None:
    x, _ = pair
    for distance in (psi, js):
        at = distance(x, x).at(0.95)
        assert at.value == at.low == 0
        assert {type(end) for end in (at.value, at.low, at.high)} == {float}
    assert ks(x, x, [True] * len(x)).value == 0
    assert ks(x, [7 * c for c in x], [True] * len(x)).value == pytest.approx(0, abs=1e-12)


@given(COUNTS, CONFIDENCES, CONFIDENCES)
def test_more_confidence_is_a_wider_interval(
    pair: tuple[list[int], list[int]], one: float, other: float
) -> None:
    x, y = pair
    less, more = sorted((one, other))
    single = [False] * len(x)
    found = [psi(x, y), js(x, y), ks(x, y, single), rise(x[0], sum(x), y[0], sum(y))]
    for statistic in found:
        a, b = statistic.at(less), statistic.at(more)
        assert b.low <= a.low <= a.high <= b.high
        assert a.low <= a.value <= a.high or math.isclose(a.low, a.value, abs_tol=1e-12)


@given(COUNTS, st.integers(2, 50))
def test_more_data_never_widens(pair: tuple[list[int], list[int]], times: int) -> None:
    x, y = pair
    assume(all(x) and all(y))  # an empty bin's PSI grows with n: its logarithm does
    more = [c * times for c in x], [c * times for c in y]
    single = [False] * len(x)
    for one, many in (
        (psi(x, y), psi(*more)),
        (js(x, y), js(*more)),
        (ks(x, y, single), ks(*more, single)),
        (
            rise(x[0], sum(x), y[0], sum(y)),
            rise(more[0][0], sum(more[0]), more[1][0], sum(more[1])),
        ),
    ):
        # Cut at 0, an interval may be narrower than it is: compare its upper part there.
        if one.at(0.95).low > 0:
            assert width(many) <= width(one) * (1 + 1e-9)
        assert many.at(0.95).high <= one.at(0.95).high + 0.05


@given(COUNTS)
def test_a_bin_that_is_empty_on_both_sides_does_not_count(
    pair: tuple[list[int], list[int]],
) -> None:
    x, y = pair
    for distance in (psi, js):
        assert distance([*x, 0], [*y, 0]).at(0.9) == distance(x, y).at(0.9)


@given(COUNTS)
def test_js_without_its_correction_is_scipys(pair: tuple[list[int], list[int]]) -> None:
    x, y = pair
    many = 1e15  # then no bias is left
    found = js(x, y, n=many, m=many).value
    expected = jensenshannon(np.array(x) / sum(x), np.array(y) / sum(y)) ** 2
    assert found == pytest.approx(float(np.nan_to_num(expected)), abs=1e-9)


@given(*[st.lists(st.integers(0, 30), min_size=1, max_size=50)] * 2)
def test_over_single_values_ks_and_wasserstein_are_exact(a: list[int], b: list[int]) -> None:
    x, y = (np.bincount(side, minlength=31) for side in (a, b))
    single = [True] * 31
    assert ks(x, y, single).value == pytest.approx(exact_ks(a, b), abs=1e-12)
    distance = wasserstein(x, y, list(range(-1, 31)), single)
    if np.std(a) == 0:
        assert distance is None
    else:
        expected = stats.wasserstein_distance(a, b) / np.std(a)
        assert distance is not None
        assert distance.value == pytest.approx(expected, abs=1e-9)


@settings(max_examples=40)
@given(*[st.lists(st.floats(-5, 5), min_size=10, max_size=60)] * 2)
def test_the_bracket_of_ks_holds_the_exact_one(a: list[float], b: list[float]) -> None:
    edges = np.unique(np.quantile(a, np.linspace(0, 1, 9)[1:-1]))
    x, y = (np.bincount(np.searchsorted(edges, s), minlength=len(edges) + 1) for s in (a, b))
    at = ks(x, y, [False] * len(x), n=1e15, m=1e15).at(0.9)  # so large: no sampling error
    assert at.low - 1e-6 <= exact_ks(a, b) <= at.high + 1e-6


def test_the_bracket_of_wasserstein_holds_the_exact_one() -> None:
    rng = np.random.default_rng(2)
    for shift in (0.0, 0.1, 1.0):
        a, b = rng.normal(size=20_000), rng.normal(shift, 1.2, size=20_000)
        edges = [a.min() - 1e-9, *np.quantile(a, np.linspace(0, 1, 257)[1:-1]), a.max()]
        grid = [min(edges[0], b.min()), *edges, max(edges[-1], b.max())]
        x, y = (np.bincount(np.searchsorted(edges, s), minlength=258) for s in (a, b))
        distance = wasserstein(x, y, grid, [False] * 258, n=1e15, m=1e15)
        assert distance is not None
        at = distance.at(0.9)
        exact = stats.wasserstein_distance(a, b) / a.std()
        assert at.low <= exact <= at.high
        assert at.value == pytest.approx(exact, abs=0.02)


def shifted(shift: float) -> tuple[np.ndarray, np.ndarray]:
    cuts = stats.norm.ppf(np.linspace(0, 1, BINS + 1)[1:-1])
    p = np.full(BINS, 1 / BINS)
    return p, np.diff([0, *stats.norm.cdf(cuts - shift), 1])


@pytest.mark.parametrize("shift", [0.0, 0.229, 0.397])
def test_the_intervals_cover_the_truth(shift: float) -> None:
    rng = np.random.default_rng(7)
    p, q = shifted(shift)
    true_psi = float(np.sum((q - p) * np.log(q / p)))
    true_js = float(jensenshannon(p, q) ** 2)
    true_ks = float(np.max(np.abs(np.cumsum(p - q))))
    hits = {"psi": 0, "js": 0, "ks": 0}
    runs = 400
    for a, b in zip(rng.multinomial(2000, p, runs), rng.multinomial(2000, q, runs), strict=True):
        for name, found, truth in (
            ("psi", psi(a, b), true_psi),
            ("js", js(a, b), true_js),
            ("ks", ks(a, b, [True] * BINS), true_ks),
        ):
            at = found.at(0.95)
            hits[name] += at.low <= truth <= at.high
    assert all(n >= 0.925 * runs for n in hits.values()), hits


def test_what_is_left_without_drift_is_no_bias() -> None:
    rng = np.random.default_rng(8)
    p = np.full(BINS, 1 / BINS)
    pairs = zip(rng.multinomial(500, p, 500), rng.multinomial(500, p, 500), strict=True)
    highs = [psi(a, b).at(0.95) for a, b in pairs]
    assert np.mean([at.value for at in highs]) < 0.01  # uncorrected: 0.036
    assert np.mean([at.low > 0 for at in highs]) < 0.06


def test_ks_has_the_band_of_dvoretzky_kiefer_and_wolfowitz() -> None:
    at = ks([500, 500], [450, 550], [True, True]).at(0.95)
    half = 2 * math.sqrt(math.log(4 / 0.05) / 2000)
    assert at.value == pytest.approx(0.05)
    assert at.low == 0
    assert at.high == pytest.approx(0.05 + half)


def test_units_widen_what_rows_narrow() -> None:
    x, y = [500, 300, 200], [400, 350, 250]
    assert width(psi(x, y, n=50, m=50)) > 2 * width(psi(x, y))
    assert psi(x, y, n=50, m=50).n == 50


@given(st.integers(1, 10_000), st.floats(0, 1), CONFIDENCES)
def test_wilson_is_scipys(n: int, p: float, confidence: float) -> None:
    part = round(p * n)
    expected = stats.binomtest(part, n).proportion_ci(confidence, method="wilson")
    assert wilson(part, n, confidence) == pytest.approx(
        (min(expected.low, part / n), max(expected.high, part / n)), abs=1e-9
    )


def test_a_rise_has_a_sign() -> None:
    assert rise(1, 100, 11, 100).at(0.95).low > 0
    assert rise(11, 100, 1, 100).at(0.95).high < 0
    assert share(0, 100).at(0.95).low == 0


def test_how_much_data_would_decide() -> None:
    rng = np.random.default_rng(9)
    p, q = shifted(0.397)  # PSI 0.15 against a limit of 0.10
    small = psi(rng.multinomial(1000, p), rng.multinomial(1000, q)).at(0.95)
    assert small.low < 0.10 < small.high
    n = needed(small, 0.10)
    assert n is not None
    assert n > 1000
    assert needed(small, small.value) is None


@pytest.mark.parametrize(("x", "y"), [([0, 0], [1, 1]), ([1, 1], [0, 0]), ([1], [1, 2])])
def test_no_observations_are_an_error(x: list[int], y: list[int]) -> None:
    for distance in (psi, js):
        with pytest.raises(ValueError, match=r"observations|bins"):
            distance(x, y)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_is_between_0_and_1(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        psi([1, 2], [2, 1]).at(confidence)
