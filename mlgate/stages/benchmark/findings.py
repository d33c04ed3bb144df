"""What a recording says: pure, so that every figure can be computed again from the file.

`facts` of a recording hold what is few (steps of the ramp, cold starts, terms of the cost);
its series hold the latencies of each load (`<scenario>.<batch>.latency`, `.completed`) and of
the comparison (see `compare.series_of`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlgate.errors import StageError
from mlgate.evidence import Comparison, Measurement
from mlgate.stages.benchmark.comparisons import compared_to
from mlgate.stages.benchmark.failure import withdrawn
from mlgate.stages.benchmark.measurements import measurements_of
from mlgate.stages.benchmark.recording import Recording


@dataclass(frozen=True)
class Findings:
    """What a recording says."""

    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]


def derive(recording: Recording, confidences: Sequence[float]) -> Findings:
    """Every measurement and comparison that the recording supports, at these confidences.

    Raises `StageError` for a recording that lacks what its facts promise.
    """
    facts: Mapping[str, Any] = recording.facts
    try:
        rows = measurements_of(recording, confidences)
        compared: list[Comparison] = []
        for comparison in facts["comparisons"]:
            more, against = compared_to(recording, confidences, "baseline", comparison)
            rows += more
            compared += against
        if facts.get("anchor"):
            compared += compared_to(recording, confidences, "anchor", facts["anchor"])[1]
        if facts.get("failed"):
            rows, compared = withdrawn(rows, compared, facts["failed"])
    except (KeyError, IndexError, TypeError) as error:
        raise StageError(f"the file of latencies is not complete: {error}") from None
    rows.sort(key=lambda m: (m.name, sorted(m.labels.items())))
    return Findings(tuple(rows), tuple(compared))
