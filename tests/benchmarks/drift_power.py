"""How often drift is called where there is some, and where there is none; peer: PSI as it is.

Normal data in ten equal bins, shifted to a given true PSI; counts are drawn as multinomials. Per
row: how often the limit is exceeded by the usual PSI (no correction, no interval), and the verdict
on the interval: fail (all of it above the limit), inconclusive, pass. `covers` is how often the
interval holds the truth.
"""

import argparse
import sys

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mlgate.statistics.distances import js, ks, psi

BINS = 10
CUTS = stats.norm.ppf(np.linspace(0, 1, BINS + 1)[1:-1])
Shares = NDArray[np.float64]


def shifted(shift: float) -> tuple[Shares, Shares, float]:
    p = np.full(BINS, 1 / BINS)
    q = np.diff([0, *stats.norm.cdf(CUTS - shift), 1])
    return p, q, float(np.sum((q - p) * np.log(q / p)))


def shift_for(target: float) -> float:
    low, high = 0.0, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if shifted(middle)[2] < target else (low, middle)
    return low if target else 0.0


def usual_psi(x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    p, q = np.maximum(x, 0.5) / x.sum(), np.maximum(y, 0.5) / y.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--limit", type=float, default=0.10)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 2000, 10_000, 100_000])
    parser.add_argument("--psi", type=float, nargs="+", default=[0, 0.05, 0.10, 0.15, 0.20])
    parser.add_argument("--seed", type=int, default=3)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    missed: list[str] = []
    print(f"{'n = m':>8s} {'true':>5s} {'usual>':>7s} {'fail':>6s} {'inconcl':>7s} {'pass':>6s} "
          f"{'covers':>6s} {'ks':>6s} {'js':>6s}")  # fmt: skip
    for n in given.rows:
        for target in given.psi:
            p, q, truth = shifted(shift_for(target))
            middle = (p + q) / 2
            true_js = float(np.sum(p * np.log(p / middle)) + np.sum(q * np.log(q / middle))) / 2
            true_ks = float(np.max(np.abs(np.cumsum(p - q))))
            usual = fail = ok = covers = in_ks = in_js = 0
            first, second = rng.multinomial(n, p, given.runs), rng.multinomial(n, q, given.runs)
            for a, b in zip(first, second, strict=True):
                usual += usual_psi(a, b) > given.limit
                at = psi(a, b).at(given.confidence)
                fail += at.low > given.limit
                ok += at.high <= given.limit
                covers += at.low <= truth <= at.high
                bracket = ks(a, b, [True] * BINS).at(given.confidence)
                in_ks += bracket.low <= true_ks <= bracket.high
                divergence = js(a, b).at(given.confidence)
                in_js += divergence.low <= true_js <= divergence.high
            rates = np.array([usual, fail, given.runs - fail - ok, ok, covers, in_ks, in_js])
            rates = rates / given.runs
            print(f"{n:8d} {target:5.2f} " + " ".join(f"{r:7.1%}" for r in rates))
            if n >= 10_000 and target <= given.limit / 2 and rates[1] > 0.001:
                missed.append(f"n={n} PSI {target}: flagged in {rates[1]:.2%}")
            if n >= 10_000 and target >= 1.5 * given.limit and rates[1] < 0.99:
                missed.append(f"n={n} PSI {target}: found in {rates[1]:.2%} only")
    print("goals: missed\n  " + "\n  ".join(missed) if missed else "goals: met")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
