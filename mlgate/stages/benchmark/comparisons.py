"""From the epochs of a recording to the comparison with the baseline, or with the anchor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from mlgate.evidence import Bounds, Comparison, Measurement, measured, rounded, unmeasured
from mlgate.stages.benchmark import compare
from mlgate.stages.benchmark.measurements import estimated, open_ended
from mlgate.stages.benchmark.recording import Recording
from mlgate.statistics.intervals import Estimate
from mlgate.statistics.quantiles import PERCENTILES, percentile_estimate

Labels = Mapping[str, object]

COMPARED: Final = ("p90", "p95", "p99", "p999")
# How the names of a reference's series end.
_SERIES: Final = {"baseline": "compared", "anchor": "anchored"}


@dataclass(frozen=True)
class _Reach:
    """What the surroundings leave of a comparison: the clock that counts, and what is said of it.

    `open_tails`: wall times are no fair sample, so tails have no ends; `open`: nothing has.
    `doubt` is the ratio within which the machine agrees with itself, where that is too wide to
    trust it: every interval is so much wider.
    """

    clock: compare.Clock
    open: bool
    open_tails: bool
    doubt: tuple[float, float]
    because: tuple[str, ...]

    def of(self, ratio: Estimate, *, tail: bool) -> Estimate:
        """The ratio with the ends that the surroundings leave it."""
        if self.open or (tail and self.open_tails):
            return open_ended(ratio)
        least, most = self.doubt
        bounds: list[tuple[float, float | None, float | None]] = []
        for confidence, low, high in ratio.bounds:
            bounds.append(
                (
                    confidence,
                    None if low is None else low / most,
                    None if high is None else high / least,
                )
            )
        return Estimate(ratio.value, tuple(bounds), ratio.n)


def compared_to(
    recording: Recording,
    confidences: Sequence[float],
    to: Literal["baseline", "anchor"],
    facts: Mapping[str, Any],
) -> tuple[list[Measurement], list[Comparison]]:
    """One comparison with the baseline or the anchor, and what was measured beside it.

    `facts` are its row of the recording (`scenarios.Comparing.row`).
    """
    epochs = compare.epochs_from(f"{facts['id']}.{_SERIES[to]}", recording.series)
    labels = {"scenario": str(facts["id"]), "batch": str(facts["batch"])}
    names = ["p50", *COMPARED]
    if facts["own_time_known"]:
        names.append("p99_unpreempted")
    if len(epochs) < compare.LEAST_EPOCHS:
        why = (
            f"{len(epochs)} epochs ran before the time limit, and "
            f"{compare.LEAST_EPOCHS} are the least: raise it"
        )
        return _nothing(to, names, labels, why)
    clock = compare.clock_of(epochs, own_time_known=facts["own_time_known"])
    sentinel = compare.sentinel_of(epochs, clock)
    if not sentinel.agrees:
        why = (
            f"the {to} disagrees with itself: ratio {sentinel.ratio:.4f} "
            f"[{sentinel.low:.4f}, {sentinel.high:.4f}] where 1 is true; this machine is too noisy"
        )
        return _nothing(to, names, labels, why)
    reach = _reach(epochs, facts, sentinel, clock)
    compared = [_median(to, epochs, labels, confidences, facts, reach)]
    compared += _tails(to, epochs, labels, confidences, facts, reach)
    if not facts["own_time_known"]:
        return [], compared
    share = compare.preempted_share(epochs)
    queries = 2 * sum(len(epoch.wall["baseline"]) for epoch in epochs)
    rows = [measured("preempted", share, labels=labels, n=queries)]
    row, against = _unpreempted(to, epochs, labels, confidences, facts)
    return [*rows, row], [*compared, against]


def _nothing(
    to: str, names: Sequence[str], labels: Labels, why: str
) -> tuple[list[Measurement], list[Comparison]]:
    return [], [_not_compared(to, name, labels, why) for name in names]


def _reach(
    epochs: Sequence[compare.Epoch],
    facts: Mapping[str, Any],
    sentinel: compare.Sentinel,
    clock: compare.Clock,
) -> _Reach:
    because = []
    share = compare.preempted_share(epochs) if facts["interruptions_known"] else 0.0
    crowded = share > compare.MOST_PREEMPTED
    if share > 0 and facts["own_time_known"]:
        because.append(f"{100 * share:.1f} % of the queries were interrupted by the scheduler")
    if clock == "cpu":
        because.append("so the time is that of the query's own thread, waiting left out")
    untold = crowded and not facts["own_time_known"]
    if untold:
        because.append(
            f"{100 * share:.0f} % of the queries were interrupted, and of several threads nobody "
            "knows the own time: use threads: 1, or a machine of its own"
        )
    doubt = (1.0, 1.0)
    if not sentinel.clear:
        doubt = (min(sentinel.low, 1.0), max(sentinel.high, 1.0))
        because.append(
            f"the same model against itself is anywhere within [{sentinel.low:.4f}, "
            f"{sentinel.high:.4f}]: the interval is so much wider"
        )
    return _Reach(clock, open=untold, open_tails=crowded, doubt=doubt, because=tuple(because))


def _median(
    to: str,
    epochs: Sequence[compare.Epoch],
    labels: Labels,
    confidences: Sequence[float],
    facts: Mapping[str, Any],
    reach: _Reach,
) -> Comparison:
    times = [getattr(epoch, reach.clock)["baseline"] for epoch in epochs]
    reference = float(np.median(np.concatenate(times)))
    ratio = compare.median_ratio(epochs, confidences, int(facts["looks"]), reach.clock)
    changed = reach.open or reach.clock == "cpu" or reach.doubt != (1.0, 1.0)
    because = reach.because if changed else ()
    return _comparison(to, "p50", labels, reference, reach.of(ratio, tail=False), because)


def _tails(
    to: str,
    epochs: Sequence[compare.Epoch],
    labels: Labels,
    confidences: Sequence[float],
    facts: Mapping[str, Any],
    reach: _Reach,
) -> list[Comparison]:
    """The tails by the clock on the wall: an interruption is part of what a user waits."""
    rows = []
    looks = int(facts["looks"])
    because = reach.because
    if reach.open_tails and facts["own_time_known"]:
        because = (*because, "too many for a tail (latency_ms.p99_unpreempted leaves them out)")
    for name in COMPARED:
        tail = compare.tail_of(epochs, PERCENTILES[name], confidences, looks, filtered=False)
        if tail is None:
            why = f"too few pairs for {name}: at least {_needed(name):,} are compared"
            rows.append(_not_compared(to, name, labels, why))
            continue
        ratio = reach.of(tail.ratio, tail=True)
        rows.append(_comparison(to, name, labels, tail.reference, ratio, because))
    return rows


def _needed(name: str) -> int:
    return round(10 / (1 - PERCENTILES[name]))


def _unpreempted(
    to: str,
    epochs: Sequence[compare.Epoch],
    labels: Labels,
    confidences: Sequence[float],
    facts: Mapping[str, Any],
) -> tuple[Measurement, Comparison]:
    name = "p99_unpreempted"
    looks = int(facts["looks"])
    if facts["throttled"]:
        # A quota interrupts wherever this is served, too: leaving that out would flatter.
        why = f"the CPU quota stopped the process in {facts['throttled']} periods: gate p99 instead"
        row = unmeasured(f"latency_ms.{name}", why, labels=labels, unit="ms")
        return row, _not_compared(to, name, labels, why)
    tail = compare.tail_of(epochs, 0.99, confidences, looks, filtered=True)
    if tail is None:
        why = f"too few uninterrupted pairs: at least {_needed('p99'):,} are compared"
        row = unmeasured(f"latency_ms.{name}", why, labels=labels, unit="ms")
        return row, _not_compared(to, name, labels, why)
    kept = [compare.unpreempted(e.wall["candidate"], e.cpu["candidate"]) for e in epochs]
    own = percentile_estimate(np.sort(np.concatenate(kept)), 0.99, confidences, looks)
    ratio = tail.ratio
    because: tuple[str, ...] = ()
    share = compare.preempted_share(epochs)
    if share > compare.MOST_PREEMPTED:
        # What is left is no fair sample: an interval without ends, which no gate passes.
        own, ratio = open_ended(own), open_ended(ratio)
        because = (f"{100 * share:.0f} % of the queries were interrupted: too many to leave out",)
    row = estimated(f"latency_ms.{name}", own, "ms", labels, 1e-6, because)
    return row, _comparison(to, name, labels, tail.reference, ratio, because)


def _comparison(
    to: str,
    name: str,
    labels: Labels,
    reference_ns: float,
    ratio: Estimate,
    because: Sequence[str] = (),
) -> Comparison:
    """`value` is the reference times the paired ratio, so that value and interval agree."""
    reference = reference_ns / 1e6
    return Comparison(
        name=f"latency_ms.{name}",
        to=to,
        value=rounded(reference * ratio.value),
        reference=rounded(reference),
        labels={key: str(value) for key, value in labels.items()},
        unit="ms",
        difference=tuple(
            Bounds(confidence=c, low=_moved(low, reference), high=_moved(high, reference))
            for c, low, high in ratio.bounds
        ),
        ratio=tuple(
            Bounds(
                confidence=c,
                low=None if low is None else rounded(low),
                high=None if high is None else rounded(high),
            )
            for c, low, high in ratio.bounds
        ),
        n=ratio.n,
        because=tuple(because),
    )


def _moved(ratio: float | None, reference: float) -> float | None:
    return None if ratio is None else rounded((ratio - 1) * reference)


def _not_compared(to: str, name: str, labels: Labels, reason: str) -> Comparison:
    return Comparison(
        name=f"latency_ms.{name}",
        to=to,
        value=None,
        reference=None,
        labels={key: str(value) for key, value in labels.items()},
        unit="ms",
        reason=reason,
    )
