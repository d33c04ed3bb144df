"""A cascade: the quantized model answers where it is sure, the source model answers the rest.

The threshold is chosen on the search rows and proved on the confirm rows, like the winner: the
operating point is handed on only when the confirm rows prove that the pair keeps `max_drop`. A
`max_drop` of 0 cannot be proved by any number of rows: there, no right answer may be lost on them.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from mlgate.errors import StageError
from mlgate.evidence import canonical, rounded
from mlgate.metrics.classification import truth_of
from mlgate.metrics.scoring import Row, Scoring, Seen, paired, share
from mlgate.metrics.values import Flags, Floats, answers, probabilities
from mlgate.stages.quantize.spec import Cascade
from mlgate.statistics.paired import Pairs


@dataclass(frozen=True)
class Operating:
    """The chosen threshold and its rows; `data` is what a server reads, if there is one."""

    rows: tuple[Row, ...]
    details: JsonValue
    data: bytes | None


def operate(
    cascade: Cascade, scoring: Scoring, search: Seen, confirm: Seen, confidence: float
) -> Operating:
    """The least share of requests for the source model that keeps the accuracy, and its proof."""
    sure, right_source, right_candidate = _sides(scoring, search)
    factor = len(confirm.reference[scoring.output]) / len(sure)
    level = 1 - (1 - confidence) * scoring.spent
    # The safest, where none is foreseen to be proved: the confirm rows decide.
    found = float(np.quantile(sure, cascade.max_share))
    # Sending a sample on changes something only where the two are not both right.
    for share_ in np.linspace(0, cascade.max_share, 101):
        threshold = float(np.quantile(sure, share_)) if share_ else 0.0
        passed_on = sure < threshold
        right = np.where(passed_on, right_source, right_candidate)
        low = Pairs.of(right_source, right).scaled(factor).interval(confidence)[1]
        lossless = cascade.max_drop == 0 and not (right_source & ~right).any()
        if low >= -cascade.max_drop or lossless:
            found = threshold
            break
    sure, right_source, right_candidate = _sides(scoring, confirm)
    passed_on = sure < found
    right = np.where(passed_on, right_source, right_candidate)
    rows = (
        *paired(scoring, "cascade.accuracy", right_source, right, {}),
        share(scoring, "cascade.share", passed_on, {}),
    )
    pairs = Pairs.of(right_source, right)
    proved = pairs.interval(level)[1] >= -cascade.max_drop
    if cascade.max_drop == 0:
        proved = pairs.lost == 0
    point: dict[str, JsonValue] = {
        "threshold": rounded(found),
        "score": "largest probability of the quantized model",
        "share_on_search": rounded(float((_sides(scoring, search)[0] < found).mean())),
    }
    if not proved:
        reason = f"the confirm rows do not prove that the pair loses at most {cascade.max_drop:g}"
        return Operating(rows, {**point, "reason": reason}, None)
    return Operating(rows, point, canonical(point))


def _sides(scoring: Scoring, seen: Seen) -> tuple[Floats, Flags, Flags]:
    """(how sure the candidate is, source right, candidate right), each [n]."""
    before, after = seen.reference[scoring.output], seen.candidate[scoring.output]
    if seen.labels is None or after.ndim != 2 or after.shape[1] < 2:
        raise StageError("a cascade needs labels and one score per class")
    truth = truth_of(scoring, seen.labels, before)
    return (
        probabilities(after).max(axis=1),
        answers(before, scoring.threshold) == truth,
        answers(after, scoring.threshold) == truth,
    )
