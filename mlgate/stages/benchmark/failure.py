"""A run in which something failed while measuring: what was recorded is kept, and nothing passes.

The file of latencies holds every query up to the failure. Each figure keeps its name and gives
the failure as its reason, so whatever a gate looks at, it is an error.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from mlgate.errors import StageError
from mlgate.evidence import Comparison, Measurement, unmeasured
from mlgate.gate import Gate
from mlgate.stage import Metric


def told(
    error: StageError, gates: Sequence[Gate], metrics: Sequence[Metric]
) -> dict[str, JsonValue]:
    """The failure as a fact of the recording: the reason, and what gates wanted to know."""
    units = {metric.name: metric.unit for metric in metrics}
    asked: list[JsonValue] = [
        {
            "name": gate.metric,
            "unit": units.get(gate.metric, "1"),
            "labels": {key: str(value) for key, value in gate.where.items()},
            "to": gate.compared_to,
        }
        for gate in gates
    ]
    return {"reason": f"{error.message} ({error.hint})" if error.hint else error.message} | {
        "asked": asked
    }


def withdrawn(
    rows: Iterable[Measurement], compared: Iterable[Comparison], failed: Mapping[str, Any]
) -> tuple[list[Measurement], list[Comparison]]:
    """The same figures without values, and those that gates asked for and that are not there."""
    reason = str(failed["reason"])
    bare = [unmeasured(m.name, reason, labels=m.labels, unit=m.unit) for m in rows]
    against = [_not_compared(c.name, c.to, c.labels, c.unit, reason) for c in compared]
    for one in failed["asked"]:
        name, unit, labels, to = one["name"], one["unit"], one["labels"], one["to"]
        there: Sequence[Measurement | Comparison] = (
            bare if to is None else [c for c in against if c.to == to]
        )
        if any(row.name == name and labels.items() <= row.labels.items() for row in there):
            continue
        if to is None:
            bare.append(unmeasured(name, reason, labels=labels, unit=unit))
        else:
            against.append(_not_compared(name, to, labels, unit, reason))
    return bare, against


def _not_compared(
    name: str, to: str, labels: Mapping[str, str], unit: str, reason: str
) -> Comparison:
    return Comparison(
        name=name,
        to=to,
        value=None,
        reference=None,
        labels=dict(labels),
        unit=unit,
        n=0,
        reason=reason,
    )
