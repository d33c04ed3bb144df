"""What an answer costs: price over rate, with the rate's interval carried along."""

from mlgate.statistics.intervals import Estimate


def usd_per_million(
    price_per_hour: float,
    rate: Estimate,
    utilisation: float,
    joules: float | None = None,
    usd_per_kwh: float = 0.0,
) -> Estimate:
    """Price of a million answers, in USD.

    `rate` is answers per second at full use, `utilisation` the share of it that is used;
    `joules` is the energy of one answer. A rate that may be 0 leaves the upper end open.
    Raises `ValueError` for a rate or utilisation that is not above 0.
    """
    if not (rate.value > 0 and utilisation > 0):
        raise ValueError("a cost needs a rate and a utilisation above 0")
    energy = (joules or 0.0) / 3.6e6 * usd_per_kwh * 1e6

    def cost(qps: float | None) -> float | None:
        if qps is None or qps <= 0:
            return None
        return price_per_hour / 3600.0 / (qps * utilisation) * 1e6 + energy

    value = cost(rate.value)
    assert value is not None
    bounds = tuple((c, cost(high), cost(low)) for c, low, high in rate.bounds)
    return Estimate(value, bounds, rate.n)
