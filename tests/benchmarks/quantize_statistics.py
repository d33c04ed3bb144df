"""How often does a gate accept a model that loses twice what is allowed? A simulation.

Several independent candidates, each with the same true loss, are tried until one is accepted, as
a search does. `point` looks at the estimate, `bound` at the paired one-sided score bound, and
`search + confirm` is the stage's way: the candidate that is best on a quarter of the samples meets
the bound on the other three quarters, alone.
"""

import argparse

import numpy as np

from mlgate.stages.quantize.comparison import Pairs


def accepted(lost: np.ndarray, won: np.ndarray, n: int, limit: float, how: str) -> np.ndarray:
    """Which runs [runs, candidates] a gate accepts."""
    if how == "point":
        found: np.ndarray = (lost - won) / n <= limit + 1e-12
        return found
    pairs = np.stack([lost.ravel(), won.ravel()], axis=1)
    unique, place = np.unique(pairs, axis=0, return_inverse=True)
    holds = [-Pairs(float(a), float(b), n).interval(0.95)[1] <= limit for a, b in unique]
    return np.array(holds)[place.ravel()].reshape(lost.shape)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--candidates", type=int, default=7)
    parser.add_argument("--limit", type=float, default=0.01, help="allowed loss")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(
        "| samples | true loss | discordant | point, one | point, best of all | bound, one | ",
        end="",
    )
    print("bound, any | search + confirm |")
    print("|" + "---|" * 8)
    for n in (300, 600, 1200):
        for loss, discordant in ((2, 0.07), (2, 0.03), (1, 0.03), (0, 0.01), (0, 0.03)):
            drop = loss * options.limit
            shares = [(discordant + drop) / 2, (discordant - drop) / 2, 1 - discordant]
            quarter = n // 4
            size = (options.runs, options.candidates)
            search = rng.multinomial(quarter, shares, size=size)
            confirm = rng.multinomial(n - quarter, shares, size=size)
            both = search + confirm
            rates = []
            for how in ("point", "bound"):
                found = accepted(both[..., 0], both[..., 1], n, options.limit, how)
                rates += [found.mean(), found.any(axis=1).mean()]
            best = (search[..., 0] - search[..., 1]).argmin(axis=1)
            chosen = confirm[np.arange(options.runs), best]
            found = accepted(chosen[:, 0], chosen[:, 1], n - quarter, options.limit, "bound")
            rates.append(found.mean())
            cells = " | ".join(f"{rate:.3f}" for rate in rates)
            print(f"| {n} | {100 * drop:.0f} points | {100 * discordant:.0f} % | {cells} |")


if __name__ == "__main__":
    main()
