"""Cost per million answers, and its interval."""

import pytest

from mlgate.stages.benchmark.cost import usd_per_million
from mlgate.statistics.intervals import Estimate


def test_cost_of_a_known_machine() -> None:
    found = usd_per_million(3.5, Estimate(2000.0, ((0.95, 1000.0, 4000.0),), 5), 1.0)
    assert found.value == pytest.approx(0.486, abs=0.001)
    assert found.bounds[0] == pytest.approx((0.95, 0.243, 0.972), abs=1e-3)


def test_energy_is_added() -> None:
    rate = Estimate(1000.0, (), 1)
    without = usd_per_million(1.0, rate, 0.5)
    with_energy = usd_per_million(1.0, rate, 0.5, joules=3.6, usd_per_kwh=0.2)
    assert with_energy.value - without.value == pytest.approx(0.2)


def test_a_rate_that_may_be_zero_has_no_upper_cost() -> None:
    found = usd_per_million(1.0, Estimate(10.0, ((0.95, -1.0, 20.0), (0.9, None, None)), 2), 1.0)
    assert found.bounds[0][2] is None
    assert found.bounds[1] == (0.9, None, None)
    with pytest.raises(ValueError, match="above 0"):
        usd_per_million(1.0, Estimate(0.0, (), 0), 1.0)
