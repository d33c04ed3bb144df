"""How often does a gate accept a model that loses twice what is allowed? A simulation.

    python -m tests.benchmarks.quantize_statistics

Several independent candidates, each with the same true loss, are tried until one is accepted, as
a search does. `point` looks at the estimate, `bound` at the paired one-sided score bound, and
`search + confirm` is the stage's way: the candidate that is best on a quarter of the samples meets
the other three quarters, alone, by the stage's own schedule of looks and their levels. `rows` is
how many of those it met on average before the gate was decided.
"""

import argparse
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from mlgate.gate import Gate
from mlgate.stages.quantize.looks import Look, confirm_looks
from mlgate.statistics.paired import Pairs

CONFIDENCE = 0.95
CASES = ((2, 0.07), (2, 0.03), (1, 0.03), (1, 0.01), (0, 0.01), (0, 0.03))


@dataclass
class Rows:
    """As much of samples as a schedule of looks depends on."""

    count: int
    labels: None = None
    slices: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.count


def looks_of(count: int, limit: float) -> tuple[Look, ...]:
    """When the stage looks at `count` confirm rows under a gate on the accuracy's drop."""
    gate = Gate.model_validate({"metric": "accuracy", "compared_to": "source", "max_drop": limit})
    return confirm_looks((gate,), CONFIDENCE, cast(Any, Rows(count)))


def ends(lost: np.ndarray, won: np.ndarray, n: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """(least drop, largest drop) of each pair of counts, at a look that spends `share`."""
    level = 1 - (1 - CONFIDENCE) * share
    pairs = np.stack([lost.ravel(), won.ravel()], axis=1)
    unique, place = np.unique(pairs, axis=0, return_inverse=True)
    found = np.array([Pairs(float(a), float(b), n).interval(level)[1:] for a, b in unique])
    low, high = found[place.ravel()].T.reshape(2, *lost.shape)
    return -high, -low


def point(lost: np.ndarray, won: np.ndarray, n: int, limit: float) -> np.ndarray:
    """Which runs [runs, candidates] a gate on the estimate accepts."""
    found: np.ndarray = (lost - won) / n <= limit + 1e-12
    return found


def confirmed(
    rng: np.random.Generator, shares: list[float], runs: int, count: int, limit: float
) -> tuple[float, float]:
    """(how often one candidate is confirmed, the rows it met on average)."""
    open_ = np.ones(runs, bool)
    passed = np.zeros(runs, bool)
    met = np.zeros(runs)
    lost, won = np.zeros(runs, np.int64), np.zeros(runs, np.int64)
    before = 0
    for look in looks_of(count, limit):
        more = rng.multinomial(look.rows - before, shares, size=runs)
        lost, won, before = lost + more[:, 0], won + more[:, 1], look.rows
        least, largest = ends(lost, won, look.rows, look.share)
        met[open_] = look.rows
        passed |= open_ & (largest <= limit)
        open_ &= (largest > limit) & (least <= limit)
    return float(passed.mean()), float(met.mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--candidates", type=int, default=7)
    parser.add_argument("--limit", type=float, default=0.01, help="allowed loss")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print("| samples | true loss, points | discordant | point, one | point, best of all | ", end="")
    print("bound, one | bound, any | search + confirm | rows |\n|" + "---|" * 9)
    for n in (300, 1200, 4800):
        for loss, discordant in CASES:
            drop = loss * options.limit
            shares = [(discordant + drop) / 2, (discordant - drop) / 2, 1 - discordant]
            # Every candidate loses the same, so which one the search picks changes nothing.
            size = (options.runs, options.candidates)
            lost, won = rng.multinomial(n, shares, size=size).transpose(2, 0, 1)[:2]
            rates = []
            for found in (
                point(lost, won, n, options.limit),
                ends(lost, won, n, 1.0)[1] <= options.limit,
            ):
                rates += [found.mean(), found.any(axis=1).mean()]
            rest = n - n // 4
            rate, met = confirmed(rng, shares, options.runs, rest, options.limit)
            cells = " | ".join(f"{one:.3f}" for one in (*rates, rate))
            title = f"| {n:,} | {100 * drop:.0f} | {100 * discordant:.0f} % | "
            print(f"{title}{cells} | {met:,.0f} of {rest:,} |", flush=True)


if __name__ == "__main__":
    main()
