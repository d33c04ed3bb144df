"""A cascade: the quantized model answers where it is sure, the source model answers the rest.

The threshold is chosen on the search part and measured on the confirm part, like the winner.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from mlgate.errors import StageError
from mlgate.evidence import canonical, rounded, unmeasured
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
    found = None
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
    if found is None:
        reason = (
            f"no threshold keeps the drop within {cascade.max_drop:g} while at most "
            f"{cascade.max_share:.0%} of the requests reach the source model"
        )
        missing = (unmeasured("cascade.accuracy", reason), unmeasured("cascade.share", reason))
        return Operating(missing, {"reason": reason}, None)
    sure, right_source, right_candidate = _sides(scoring, confirm)
    passed_on = sure < found
    right = np.where(passed_on, right_source, right_candidate)
    rows = (
        *paired(scoring, "cascade.accuracy", right_source, right, {}),
        share(scoring, "cascade.share", passed_on, {}),
    )
    point: dict[str, JsonValue] = {
        "threshold": rounded(found),
        "score": "largest probability of the quantized model",
        "share_on_search": rounded(float((_sides(scoring, search)[0] < found).mean())),
    }
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
