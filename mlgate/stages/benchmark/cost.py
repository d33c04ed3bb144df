"""What an answer costs: price over rate, with the rate's interval carried along."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlgate.stages.benchmark.statistics import Estimate


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


@dataclass(frozen=True)
class Configuration:
    """One way to serve a model, by the figures in which it may beat another (None: not known)."""

    name: str
    p99_ms: float | None = None
    usd_per_million: float | None = None
    memory_bytes: float | None = None
    joules: float | None = None
    accuracy: float | None = None


def pareto(configurations: Sequence[Configuration]) -> list[str]:
    """Names of the configurations that no other beats: nowhere worse and somewhere better.

    Less is better but for accuracy. Figures that either side lacks are not compared.
    """
    return [
        one.name
        for one in configurations
        if not any(_beats(other, one) for other in configurations if other is not one)
    ]


def _beats(a: Configuration, b: Configuration) -> bool:
    pairs = [
        (a.p99_ms, b.p99_ms),
        (a.usd_per_million, b.usd_per_million),
        (a.memory_bytes, b.memory_bytes),
        (a.joules, b.joules),
        (_negated(a.accuracy), _negated(b.accuracy)),
    ]
    known = [(x, y) for x, y in pairs if x is not None and y is not None]
    return all(x <= y for x, y in known) and any(x < y for x, y in known)


def _negated(x: float | None) -> float | None:
    return None if x is None else -x
