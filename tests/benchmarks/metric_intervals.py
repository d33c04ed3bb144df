"""How often the interval of each metric covers the truth, and how often equal models are told apart.

    python -m tests.benchmarks.metric_intervals --times 2000

Each line is one world: the share of the positive class, rows, rows per unit. A figure is the share of
simulations whose lower | upper bound, one-sided at 95 %, held. The last column of a world is an A/A
test: two equally good models, and a paired gate at a limit of zero: the share of false fails.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from mlgate.metrics import linear
from mlgate.statistics.linear import Clusters, Linear, Spread
from mlgate.statistics.paired import Pairs

Named = tuple[str, Linear, tuple[float, float] | None]
WORLDS = (
    (0.5, 100, 1),
    (0.5, 1_000, 1),
    (0.5, 10_000, 1),
    (0.1, 300, 1),
    (0.01, 1_000, 1),
    (0.01, 10_000, 1),
    (0.3, 1_000, 5),
)


class World:
    """Rows of a share of positives, `repeats` of each unit, with a score that mostly tells them."""

    def __init__(self, rate: float, rows: int, repeats: int, rng: np.random.Generator) -> None:
        count = rows // repeats
        own = rng.random(count) < rate
        signal = rng.normal(size=count) * 1.2
        self.truth = np.repeat(own, repeats)
        self.units: Clusters | None = None
        self.signal = np.repeat(signal, repeats) + 2.0 * self.truth - 1
        self.rng = rng
        if repeats > 1:
            self.units = np.repeat(np.arange(count), repeats)
            self.signal = self.signal + rng.normal(size=rows) * 0.5
        self.scores = 1 / (1 + np.exp(-self.signal))

    def metrics(self) -> Iterator[Named]:
        said, truth = self.scores > 0.7, self.truth
        numbers = truth.astype(np.int64)
        shares = np.stack([1 - self.scores, self.scores], axis=1)
        one = (0.0, 1.0)
        yield "accuracy", linear.share(said == truth), one
        yield "recall", linear.recall(truth, said), one
        yield "precision", linear.precision(truth, said), one
        yield "f1", linear.f1(truth, said), one
        yield "balanced_accuracy", linear.balanced_accuracy(numbers, said.astype(np.int64)), one
        yield "auroc", linear.auroc(truth, self.scores), one
        yield "pr_auc", linear.average_precision(truth, self.scores), one
        yield "log_loss", linear.log_loss(shares, numbers), None
        yield "brier", linear.brier(shares, numbers), one
        sure, right = shares.max(axis=1), shares.argmax(axis=1) == truth
        yield "calibration_error", linear.calibration_error(sure, right), one

    def differs(self) -> bool:
        """Whether the paired interval of two equally good models is beyond zero."""
        sides = []
        for _ in range(2):
            noise = self.rng.normal(size=len(self.signal)) * 0.5
            sides.append(((self.signal + noise) > 0.85) == self.truth)
        if self.units is None:
            return Pairs.of(sides[0], sides[1]).interval(0.95)[2] < 0
        difference = linear.share(sides[1]).minus(linear.share(sides[0]))
        return Spread.of(difference, self.units).within(-1, 1, 0.95)[2] < 0


def covered(world: tuple[float, int, int], times: int, seed: int) -> dict[str, tuple[float, float]]:
    """Of each metric, the shares of simulations in which its lower and its upper bound held."""
    rng = np.random.default_rng(seed)
    rate, _, repeats = world
    truths = {
        name: found.value for name, found, _ in World(rate, 2_000_000, repeats, rng).metrics()
    }
    held = {name: np.zeros(3) for name in truths}
    fails = 0
    for _ in range(times):
        drawn = World(*world, rng)
        fails += drawn.differs()
        for name, found, within in drawn.metrics():
            spread = Spread.of(found, drawn.units)
            if not np.isfinite(spread.value):
                continue  # no row of the class: not measured, which no gate passes
            if within is None:
                _, low, high = spread.around(found.reach, 0.95)
            else:
                _, low, high = spread.within(*within, 0.95)
            held[name] += low <= truths[name], high >= truths[name], 1
    shares = {name: (float(a / n), float(b / n)) for name, (a, b, n) in held.items()}
    shares["A/A false fails"] = (fails / times, fails / times)
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for world in WORLDS:
        rate, rows, repeats = world
        print(f"positives {rate:.0%}, {rows:,} rows, {repeats} of a unit")
        for name, (low, high) in covered(world, options.times, options.seed).items():
            if name.startswith("A/A"):
                print(f"  {name:20} {low:6.1%}")
            else:
                print(f"  {name:20} {low:6.1%} | {high:6.1%}")


if __name__ == "__main__":
    main()
