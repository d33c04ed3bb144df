"""Evidence that may be looked at all the time: e-processes on how bad events fall on two arms.

An e-process is a bet against a hypothesis. Its wealth starts at 1 and, while the hypothesis is
true, is expected to stay at 1 or below whenever somebody looks (Ville 1939; Ramdas et al.,
"Game-theoretic statistics and safe anytime-valid inference", 2023). Wealth of 1/α is evidence at
level α, however often it was looked at and however the traffic was steered meanwhile.

Everything here is arithmetic of `math` in one fixed order, so that a journal read on another day
gives the same bits.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

# Ratios that harm is looked for at: 14, geometric from 1.05 to 20.
RATIOS: Final = tuple(1.05 * (20 / 1.05) ** (step / 13) for step in range(14))
# Ratios at which a canary is expected to be harmless: better, a little better, the same.
HARMLESS: Final = (0.5, 0.8, 1.0)
# Shares of the largest bet that cannot lose everything.
_BETS: Final = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
_WINS: Final = (0.52, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9)


def log_mean(logs: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """The logarithm of the (weighted) mean of numbers given as logarithms.

    A mean of e-processes is one too. −∞ where all are. `weights` sum to 1.
    """
    largest = max(logs)
    if largest == -math.inf:
        return -math.inf
    if weights is None:
        weights = [1 / len(logs)] * len(logs)
    total = sum(w * math.exp(log - largest) for log, w in zip(logs, weights, strict=True))
    return largest + math.log(total)


class RatioProcess:
    """Evidence that an event is more than `null` times as likely on the canary as on stable.

    Of `n` events in a batch, `x` fell on the canary, which had the share `share` of the traffic.
    Were the event `null` times as likely there (as odds), a fair wind would put
    `share·null / (share·null + 1 − share)` of them on it, whatever the events have in common: an
    incident that hits both arms moves nothing (Hoeffding 1963, theorem 4, for the fixed total).

    The bet is spread over `ratios` (times `null`); half of it lies on `expected`, where given.
    With ratios below 1 it is evidence for fewer events: of a drop, or of harmlessness.
    """

    def __init__(
        self, null: float, ratios: Iterable[float] = RATIOS, expected: float | None = None
    ) -> None:
        self._null = null
        self._ratios = [null * ratio for ratio in ratios]
        self._weights = [1 / len(self._ratios)] * len(self._ratios)
        if expected is not None:
            self._weights = [weight / 2 for weight in self._weights] + [0.5]
            self._ratios.append(expected)
        self._logs = [0.0] * len(self._ratios)

    def update(self, x: int, n: int, share: float) -> None:
        """Count one batch. Without an event, or with one arm alone, it says nothing."""
        if n == 0 or not 0 < share < 1:
            return
        usual = _on_canary(share, self._null)
        for index, ratio in enumerate(self._ratios):
            other = _on_canary(share, ratio)
            gain = x * math.log(other / usual)
            gain += (n - x) * math.log((1 - other) / (1 - usual))
            self._logs[index] += gain

    @property
    def log_wealth(self) -> float:
        return log_mean(self._logs, self._weights)


def _on_canary(share: float, ratio: float) -> float:
    return share * ratio / (share * ratio + 1 - share)


class DifferenceProcess:
    """Evidence that an event's probability on the canary, minus that on stable, is above `limit`.

    With `above=False`: below it. An answer is worth (event − usual)/share on the canary and
    −(event − usual)/(1 − share) on stable: on average exactly the difference, whatever the
    probabilities are (Horvitz & Thompson 1952). `usual` is the event's share in earlier batches;
    any number would do, that one varies least. The process bets on that average (Waudby-Smith &
    Ramdas 2024, "Estimating means of bounded random variables by betting").
    """

    def __init__(self, limit: float, *, above: bool) -> None:
        self._limit = limit
        self._sign = 1.0 if above else -1.0
        self._logs = [0.0] * len(_BETS)
        self._events = 0
        self._answers = 0

    def update(self, canary: tuple[int, int], stable: tuple[int, int], share: float) -> None:
        """Count one batch: (answers with the event, answers) of each arm."""
        if not 0 < share < 1 or canary[1] + stable[1] == 0:
            return
        usual = self._events / self._answers if self._answers else 0.0
        self._events += canary[0] + stable[0]
        self._answers += canary[1] + stable[1]
        outcomes = (
            (canary[0], self._step((1 - usual) / share)),
            (canary[1] - canary[0], self._step(-usual / share)),
            (stable[0], self._step(-(1 - usual) / (1 - share))),
            (stable[1] - stable[0], self._step(usual / (1 - share))),
        )
        # The largest loss that one answer can bring, whichever kind it is.
        worst = max(-step for _, step in outcomes)
        for index, bet in enumerate(_BETS):
            stake = bet / worst
            gain = sum(count * math.log1p(stake * step) for count, step in outcomes if count)
            self._logs[index] += gain

    def _step(self, worth: float) -> float:
        """What one answer of that worth adds to the stake."""
        return self._sign * (worth - self._limit)

    @property
    def log_wealth(self) -> float:
        return log_mean(self._logs)


class PairedProcess:
    """Evidence that the canary is wrong more often than stable on the same requests.

    Only pairs that differ count (McNemar 1947). With `fewer`: evidence that it is wrong at most
    as often as `tolerated` times stable.
    """

    def __init__(self) -> None:
        self._logs = [0.0] * len(_WINS)

    def update(self, canary_only: int, stable_only: int) -> None:
        """Count one batch: answers that only the canary, or only stable, got wrong."""
        for index, win in enumerate(_WINS):
            gain = canary_only * math.log(win / 0.5) + stable_only * math.log((1 - win) / 0.5)
            self._logs[index] += gain

    @property
    def log_wealth(self) -> float:
        return log_mean(self._logs)


def divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of one coin from another, in nats."""
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def events_needed(share: float, ratio: float, null: float, threshold: float) -> float:
    """Events on both arms until log wealth is expected to reach `threshold`, were `ratio` true."""
    truth, usual = _on_canary(share, ratio), _on_canary(share, null)
    rate = divergence(truth, usual)
    return math.inf if rate <= 0 else threshold / rate
