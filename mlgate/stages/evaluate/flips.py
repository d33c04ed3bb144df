"""Items that flipped: right with the baseline and wrong now, and the reverse."""

from typing import Final

import numpy as np
import pyarrow as pa
from pydantic import JsonValue

from mlgate.evidence import measured
from mlgate.metrics.classification import names_of, side_of, truth_of
from mlgate.metrics.scoring import Row, Scoring, Seen

_LISTED: Final = 50  # of each direction


def flipped(
    scoring: Scoring, seen: Seen, keys: pa.Array, *, show: bool
) -> tuple[list[Row], JsonValue]:
    """(rows of evidence, the items by key). Labels and answers are told only where `show` is."""
    assert seen.labels is not None
    truth = truth_of(scoring, seen.labels, seen.candidate[scoring.output])
    names = names_of(scoring, seen, truth)
    before = side_of(scoring, seen.reference).answers
    after = side_of(scoring, seen.candidate).answers
    lost = np.flatnonzero((before == truth) & (after != truth))
    won = np.flatnonzero((before != truth) & (after == truth))
    rows: list[Row] = []
    listed: dict[str, JsonValue] = {}
    for direction, places in (("worse", lost), ("better", won)):
        labels = {"direction": direction}
        rows.append(measured("flipped", len(places), labels=labels, unit="count", n=len(truth)))
        items: list[JsonValue] = []
        for place in places[:_LISTED].tolist():
            item: dict[str, JsonValue] = {"key": keys[place].as_py()}
            if show:
                item["label"] = names[truth[place]]
                item["baseline"] = _name(names, int(before[place]))
                item["answer"] = _name(names, int(after[place]))
            items.append(item)
        listed[direction] = items
    return rows, listed


def _name(names: tuple[str, ...], number: int) -> str | None:
    return names[number] if number >= 0 else None
