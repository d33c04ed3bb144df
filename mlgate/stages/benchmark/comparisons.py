"""From the epochs of a recording to the comparison with the baseline, or with the anchor."""

from collections.abc import Mapping, Sequence
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
# Of each reference: its fact in the recording, and how the names of its series end.
_RECORDED: Final = {"baseline": ("comparison", "compared"), "anchor": ("anchor", "anchored")}


def compared_to(
    recording: Recording, confidences: Sequence[float], to: Literal["baseline", "anchor"]
) -> tuple[list[Measurement], list[Comparison]]:
    """The comparison with the baseline or the anchor, and what was measured beside it."""
    fact, suffix = _RECORDED[to]
    facts: Mapping[str, Any] = recording.facts[fact]
    epochs = compare.epochs_from(f"{facts['id']}.{suffix}", recording.series)
    labels = {"scenario": str(facts["id"]), "batch": str(facts["batch"])}
    looks, names = int(facts["looks"]), ["p50", *COMPARED]
    if facts["filter"]:
        names.append("p99_unpreempted")
    if len(epochs) < 3:
        why = f"{len(epochs)} epochs ran before the time limit, and 3 are the least: raise it"
        return [], [_not_compared(to, name, labels, why) for name in names]
    sentinel = compare.sentinel_of(epochs)
    if not sentinel.agrees:
        why = (
            f"the {to} disagrees with itself: ratio {sentinel.ratio:.4f} "
            f"[{sentinel.low:.4f}, {sentinel.high:.4f}] where 1 is true; this machine is too noisy"
        )
        return [], [_not_compared(to, name, labels, why) for name in names]
    base = np.sort(np.concatenate([epoch.wall["baseline"] for epoch in epochs]))
    median = float(base[len(base) // 2])
    rows: list[Measurement] = []
    because = _preempted_notice(epochs) if facts["filter"] else ()
    compared = [
        _comparison(to, "p50", labels, median, compare.median_ratio(epochs, confidences, looks))
    ]
    for name in COMPARED:
        tail = compare.tail_of(epochs, PERCENTILES[name], confidences, looks, filtered=False)
        if tail is None:
            why = f"too few pairs for {name}: at least {_needed(name):,} are compared"
            compared.append(_not_compared(to, name, labels, why))
        else:
            compared.append(_comparison(to, name, labels, tail.reference, tail.ratio, because))
    if facts["filter"]:
        share = compare.preempted_share(epochs)
        rows.append(measured("preempted", share, labels=labels, n=2 * len(base)))
        row, against = _unpreempted(to, epochs, labels, confidences, looks, share)
        rows.append(row)
        compared.append(against)
    return rows, compared


def _needed(name: str) -> int:
    return round(10 / (1 - PERCENTILES[name]))


def _preempted_notice(epochs: Sequence[compare.Epoch]) -> tuple[str, ...]:
    share = compare.preempted_share(epochs)
    seen = f"{100 * share:.1f} % of the queries were interrupted by the scheduler"
    return (f"{seen} (latency_ms.p99_unpreempted leaves those out)",)


def _unpreempted(
    to: str,
    epochs: Sequence[compare.Epoch],
    labels: Labels,
    confidences: Sequence[float],
    looks: int,
    share: float,
) -> tuple[Measurement, Comparison]:
    name = "p99_unpreempted"
    tail = compare.tail_of(epochs, 0.99, confidences, looks, filtered=True)
    if tail is None:
        why = f"too few uninterrupted pairs: at least {_needed('p99'):,} are compared"
        row = unmeasured(f"latency_ms.{name}", why, labels=labels, unit="ms")
        return row, _not_compared(to, name, labels, why)
    kept = [compare.unpreempted(e.wall["candidate"], e.cpu["candidate"]) for e in epochs]
    own = percentile_estimate(np.sort(np.concatenate(kept)), 0.99, confidences, looks)
    ratio = tail.ratio
    because: tuple[str, ...] = ()
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
