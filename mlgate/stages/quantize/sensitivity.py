"""Which layers suffer from int8: each quantized alone, seen from the outputs, without labels.

Errors of layers add up, nearly: each is small noise of its own. So the cheapest way to keep the
error of the whole model within a budget can be worked out from the layers', without a trial.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pydantic import JsonValue

from mlgate.data.session import Array, Feeds
from mlgate.errors import StageError
from mlgate.evidence import rounded
from mlgate.stages.quantize.candidates import Candidate, CandidateBuilder
from mlgate.stages.quantize.isolated import outputs_of

Way = Literal["int8", "stored", "float"]

# Of a layer's float bytes; stored is as small as int8, and slower.
_COST: Final[Mapping[Way, float]] = {"int8": 0.25, "stored": 0.5, "float": 1.0}


@dataclass(frozen=True)
class Sensitivity:
    """A weighted node: the error that int8 in it alone makes, and the bytes it would save.

    `error` is the squared change of the outputs over their square, `stored` that of int8 weights
    with float arithmetic, None where that cannot be; `members` are the node and those fused with it.
    """

    leader: str
    error: float
    stored: float | None
    bytes: int
    members: tuple[str, ...]

    def as_json(self) -> JsonValue:
        found: dict[str, JsonValue] = {
            "node": self.leader,
            "error": rounded(self.error) if math.isfinite(self.error) else None,
            "bytes": self.bytes,
        }
        if self.stored is not None and math.isfinite(self.stored):
            found["stored"] = rounded(self.stored)
        return found

    def ways(self) -> dict[Way, float]:
        """How it can be computed, and the error of that."""
        found: dict[Way, float] = {"int8": self.error}
        if self.stored is not None:
            found["stored"] = self.stored
        return found | {"float": 0.0}

    def cost(self, way: Way) -> float:
        return _COST[way] * max(self.bytes, 1)


def sensitivities(
    builder: CandidateBuilder,
    base: Candidate,
    groups: Mapping[str, Sequence[str]],
    batches: Sequence[Feeds],
    output: str,
    *,
    store: bool = True,
    batch_axis: Mapping[str, int] | None = None,
) -> list[Sensitivity]:
    """Of every group, worst error first; `store`: weights may be int8 where layers are float.

    Layers that int8 activations do not reach (LSTM, the branches of an If) come with `store`.
    What cannot be built, loaded or run errs infinitely, and so stays in float.
    """
    source = builder.model.SerializeToString(deterministic=True)
    reference = outputs_of(source, batches, output, folder=builder.folder, batch_axis=batch_axis)
    sizes = builder.weight_bytes

    def error_of(candidate: Candidate, only: Sequence[str] = ()) -> float:
        try:
            model = builder.build(candidate, only=only)
            data = model.SerializeToString(deterministic=True)
            found = outputs_of(data, batches, output, batch_axis=batch_axis)
        except StageError:
            return math.inf
        return relative_error(reference, found)

    found = []
    for leader, members in groups.items():
        stored = None
        if store and leader in builder.weight_only_ways:
            stored = error_of(Candidate("int8-weight-dq", weight_only=(leader,)))
        error = error_of(base, members)
        found.append(Sensitivity(leader, error, stored, sizes.get(leader, 0), tuple(members)))
    for leader in builder.weight_only_ways if store else ():
        if leader not in groups:
            stored = error_of(Candidate("int8-weight-dq", weight_only=(leader,)))
            found.append(Sensitivity(leader, math.inf, stored, sizes.get(leader, 0), ()))
    return sorted(found, key=lambda s: (-s.error, s.leader))


def cheapest(layers: Sequence[Sensitivity], budget: float) -> dict[str, Way]:
    """A way for each layer so that the errors sum to at most `budget`, at little cost.

    Starts with int8 everywhere, and takes the step that takes off most error for its cost until
    it fits; then takes back what was not needed, the costliest first.
    """
    ways: dict[str, Way] = {layer.leader: "int8" for layer in layers}
    open_ = {layer.leader: layer for layer in layers}
    total = _sum(layers, ways)
    while total > budget and open_:
        steps = [
            (
                (layer.ways()[ways[name]] - error) / (layer.cost(way) - layer.cost(ways[name])),
                name,
                way,
            )
            for name, layer in open_.items()
            for way, error in layer.ways().items()
            if layer.cost(way) > layer.cost(ways[name])
        ]
        _, name, way = max(steps, key=lambda step: (step[0], step[1], step[2]))
        ways[name] = way
        if way == "float":
            del open_[name]
        total = _sum(layers, ways)
    by_cost = sorted(layers, key=lambda s: (-s.cost(ways[s.leader]), s.leader))
    for layer in by_cost:
        for way in layer.ways():  # from cheap to dear
            if layer.cost(way) < layer.cost(ways[layer.leader]):
                fewer = {**ways, layer.leader: way}
                if _sum(layers, fewer) <= budget:
                    ways = fewer
                    break
    return ways


def _sum(layers: Sequence[Sensitivity], ways: Mapping[str, Way]) -> float:
    return sum(layer.ways()[ways[layer.leader]] for layer in layers)


def relative_error(reference: Array, output: Array) -> float:
    """Σ(output − reference)² / Σ reference²; infinite where that is no number."""
    if reference.shape != output.shape or reference.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(reference, output) else float("inf")
    a, b = reference.astype(np.float64), output.astype(np.float64)
    energy = float((a**2).sum()) or 1.0
    error = float(((a - b) ** 2).sum()) / energy
    return error if np.isfinite(error) else float("inf")
