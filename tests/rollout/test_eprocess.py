"""The bets: fair under their hypothesis, whatever the margins are, and won where it is false."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.rollout.eprocess import (
    HARMLESS,
    DifferenceProcess,
    PairedProcess,
    RatioProcess,
    events_needed,
    log_mean,
)


@given(
    canary=st.integers(1, 12),
    stable=st.integers(1, 12),
    bad=st.integers(1, 6),
)
def test_with_the_observed_share_the_bet_is_fair_for_every_split(
    canary: int, stable: int, bad: int
) -> None:
    total = canary + stable
    bad = min(bad, total)
    expected = 0.0
    for x in range(max(0, bad - stable), min(bad, canary) + 1):
        chance = math.comb(canary, x) * math.comb(stable, bad - x) / math.comb(total, bad)
        process = RatioProcess(1.0, expected=5.0)
        process.update(x, bad, canary / total)
        expected += chance * math.exp(process.log_wealth)
    assert expected <= 1 + 1e-12


@given(
    share=st.floats(0.05, 0.95),
    stable=st.floats(0, 0.7),
    limit=st.floats(-0.2, 0.3),
    above=st.booleans(),
)
def test_a_bet_on_a_difference_is_fair_when_the_difference_is_at_its_limit(
    share: float, stable: int, limit: float, above: bool
) -> None:
    canary = min(1.0, max(0.0, stable + limit))
    if abs(canary - stable - limit) > 1e-9:
        return
    expected = 0.0
    for arm, bad in product((0, 1), (0, 1)):
        chance = share if arm else 1 - share
        rate = canary if arm else stable
        chance *= rate if bad else 1 - rate
        process = DifferenceProcess(limit, above=above)
        process.update((3, 10), (30, 90), share)
        before = process.log_wealth
        of_canary = (bad, 1) if arm else (0, 0)
        of_stable = (0, 0) if arm else (bad, 1)
        process.update(of_canary, of_stable, share)
        expected += chance * math.exp(process.log_wealth - before)
    assert expected <= 1 + 1e-9


def test_harm_is_found_and_safety_is_found() -> None:
    harm, safety = RatioProcess(1.0, expected=5.0), RatioProcess(3.0, [r / 3 for r in HARMLESS])
    for _ in range(100):
        harm.update(4, 10, 0.1)
        safety.update(1, 10, 0.1)
    assert harm.log_wealth > math.log(1 / 0.001)
    assert safety.log_wealth > math.log(1 / 0.001)


def test_an_incident_that_hits_both_arms_moves_nothing() -> None:
    process = RatioProcess(1.0)
    for _ in range(200):
        process.update(100, 1000, 0.1)
    assert process.log_wealth < 0


def test_a_batch_with_one_arm_alone_says_nothing() -> None:
    process, difference = RatioProcess(1.0), DifferenceProcess(0.02, above=True)
    process.update(7, 7, 1.0)
    difference.update((7, 7), (0, 0), 1.0)
    assert process.log_wealth == pytest.approx(0)
    assert difference.log_wealth == pytest.approx(0)


def test_a_difference_in_points_is_proven_both_ways() -> None:
    harm = DifferenceProcess(0.02, above=True)
    safety = DifferenceProcess(0.02, above=False)
    for _ in range(400):
        harm.update((15, 100), (8, 100), 0.5)
        safety.update((8, 100), (8, 100), 0.5)
    assert harm.log_wealth > math.log(100)
    assert safety.log_wealth > math.log(100)


def test_pairs_that_differ_are_evidence() -> None:
    worse, same = PairedProcess(), PairedProcess()
    for _ in range(20):
        worse.update(10, 4)
        same.update(5, 5)
    assert worse.log_wealth > math.log(50)
    assert same.log_wealth < 0


def test_a_mean_of_wealth_is_taken_in_logarithms() -> None:
    assert log_mean([0.0, math.log(3)]) == pytest.approx(math.log(2))
    assert log_mean([1000.0, 1000.0]) == pytest.approx(1000)
    assert log_mean([-math.inf]) == -math.inf


def test_a_forecast_is_infinite_where_nothing_differs() -> None:
    assert events_needed(0.1, 1.0, 1.0, 4.0) == math.inf
    assert 5 < events_needed(0.1, 5.0, 1.0, 4.0) < 50
