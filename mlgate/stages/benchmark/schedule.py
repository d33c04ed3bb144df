"""When queries arrive: Poisson as MLPerf LoadGen draws it, bursts, and a mix of input shapes.

A schedule is an array of whole nanoseconds after the start, ascending, the first of them 0. The
same seed gives the same schedule on every machine.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

_NANO: Final = 1_000_000_000


def uniforms(seed: int) -> Iterator[float]:
    """Doubles in [0, 1) as C++ draws them with `std::mt19937` (`std::generate_canonical`, 53 bits).

    Two 32-bit outputs make one double; the seed is cut to 32 bits, as the C++ constructor does.
    """
    generator = np.random.MT19937()
    # mt19937's own seeding; numpy's usual one hashes the seed first.
    generator._legacy_seeding(seed & 0xFFFFFFFF)
    while True:
        raw = generator.random_raw(2048)
        for low, high in zip(raw[0::2].tolist(), raw[1::2].tolist(), strict=True):
            u = (low + high * 4294967296.0) / 18446744073709551616.0
            yield min(u, math.nextafter(1.0, 0.0))


def poisson(qps: float, seconds: float, seed: int, at_least: int = 1) -> Integers:
    """Arrivals of LoadGen's Server scenario: exponential gaps, each cut to whole nanoseconds.

    Ends with the first arrival at or after `seconds`, which still counts, and has `at_least` so
    many (loadgen.cc, `GenerateQueries`). Raises `ValueError` for a rate or time not above 0.
    """
    if not (qps > 0 and seconds > 0):
        raise ValueError("a rate and a duration are above 0")
    arrivals: list[int] = []
    draw = uniforms(seed)
    now, end = 0, int(seconds * _NANO)
    while len(arrivals) < at_least or arrivals[-1] < end:
        arrivals.append(now)
        now += int(-math.log(1.0 - next(draw)) / qps * 1e9)
    return np.asarray(arrivals, dtype=np.int64)


def bursts(
    qps: float, seconds: float, seed: int, *, peak: float, duty: float, period_s: float
) -> Integers:
    """Arrivals of a two-state Markov-modulated Poisson process whose mean rate is `qps`.

    The busy state has `peak` times the rate of the calm one and lasts `duty * period_s` seconds
    on average; the calm state the rest of the period. Both times are exponential.
    """
    if not (qps > 0 and seconds > 0 and peak >= 1 and 0 < duty < 1 and period_s > 0):
        raise ValueError("rate, time and period are above 0, peak ≥ 1, duty within (0, 1)")
    calm_rate = qps / (duty * peak + 1.0 - duty)
    rates, stays = (calm_rate, calm_rate * peak), ((1.0 - duty) * period_s, duty * period_s)
    draw = uniforms(seed)
    state = int(next(draw) < duty)
    now, left, arrivals = 0.0, -math.log(1.0 - next(draw)) * stays[state], [0]
    while True:
        gap = -math.log(1.0 - next(draw)) / rates[state]
        if gap < left:
            now, left = now + gap, left - gap
            if now >= seconds:
                return np.asarray(arrivals, dtype=np.int64)
            arrivals.append(int(now * 1e9))
        else:
            # Memoryless: what is left of a gap is drawn anew in the new state.
            now, state = now + left, 1 - state
            left = -math.log(1.0 - next(draw)) * stays[state]
            if now >= seconds:
                return np.asarray(arrivals, dtype=np.int64)


def mix(shares: Sequence[float], n: int, seed: int) -> Integers:
    """Which of several kinds each of `n` queries is: independent draws with the given shares."""
    total = math.fsum(shares)
    if not shares or min(shares) < 0 or total <= 0:
        raise ValueError("shares are not negative, and one is above 0")
    edges = np.cumsum(np.asarray(shares, dtype=np.float64)) / total
    draw = uniforms(seed)
    drawn = np.fromiter((next(draw) for _ in range(n)), dtype=np.float64, count=n)
    return np.minimum(np.searchsorted(edges, drawn, side="right"), len(shares) - 1).astype(np.int64)
