"""Which layers suffer from int8: each quantized alone, seen from the outputs, without labels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from mlgate.evidence import rounded
from mlgate.stages.quantize.candidates import Candidate, Workshop
from mlgate.stages.quantize.graph import Graph
from mlgate.stages.quantize.session import Array, Feeds, Session


@dataclass(frozen=True)
class Sensitivity:
    """A weighted node: the error that int8 in it alone makes, and the bytes it would save.

    `error` is the squared change of the outputs over their square; `members` are the node and
    those fused with it.
    """

    leader: str
    error: float
    bytes: int
    members: tuple[str, ...]

    def as_json(self) -> JsonValue:
        return {"node": self.leader, "error": rounded(self.error), "bytes": self.bytes}


def sensitivities(
    workshop: Workshop,
    base: Candidate,
    groups: Mapping[str, Sequence[str]],
    feeds: Feeds,
    output: str,
) -> list[Sensitivity]:
    """Of every group, worst error first; of errors within a factor of two the smallest first."""
    reference = _output(workshop.model.SerializeToString(deterministic=True), feeds, output)
    graph = Graph(workshop.model)
    nodes = {node.name: node for node in workshop.model.graph.node}
    found = []
    for leader, members in groups.items():
        model = workshop.build(base, only=members)
        error = relative_error(
            reference, _output(model.SerializeToString(deterministic=True), feeds, output)
        )
        size = graph.bytes_of(nodes[leader])
        found.append(Sensitivity(leader, error, size, tuple(members)))
    return sorted(found, key=lambda s: (-_octave(s.error), s.bytes, s.leader))


def _octave(error: float) -> int:
    return math.floor(math.log2(error)) if 0 < error < math.inf else (-2000 if error == 0 else 2000)


def weights_error(workshop: Workshop, feeds: Feeds, output: str) -> float:
    """The relative error of the outputs when all weights are int8 and all activations float."""
    source = workshop.model.SerializeToString(deterministic=True)
    stored = workshop.build(Candidate("int8-stored")).SerializeToString(deterministic=True)
    return relative_error(_output(source, feeds, output), _output(stored, feeds, output))


def relative_error(reference: Array, output: Array) -> float:
    """Σ(output − reference)² / Σ reference²; infinite where the output is not finite."""
    a, b = reference.astype(np.float64), output.astype(np.float64)
    energy = float((a**2).sum()) or 1.0
    error = float(((a - b) ** 2).sum()) / energy
    return error if np.isfinite(error) else float("inf")


def _output(model: bytes, feeds: Feeds, output: str) -> Array:
    return next(Session(model).stream([feeds]))[output]
