"""The search: candidates in order of cost until one would be confirmed, within its limits.

Uniform candidates come first. When all of them lose too much, mixed precision computes the most
sensitive layers in float (their weights in int8 nonetheless, where that alone does not hurt): bisection on how many, then the kept ones are tried again in int8,
largest first. Nothing here decides the verdict: that is the confirm part's.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from mlgate.errors import StageError
from mlgate.stage import Progress
from mlgate.stages.quantize.candidates import Candidate, Workshop
from mlgate.stages.quantize.graph import groups, quantizable
from mlgate.stages.quantize.provenance import finished
from mlgate.stages.quantize.sensitivity import Sensitivity, sensitivities, weights_error
from mlgate.stages.quantize.session import Feeds
from mlgate.stages.quantize.trial import Bench, Trial

_PRUNED: Final = 6
_STORABLE: Final = 0.01  # relative output error up to which kept layers have int8 weights
_WORTH: Final = 0.02  # of the weights' bytes: below that, trying a layer again saves too little


@dataclass
class Search:
    """One search over a ladder; `account` and `layers` say afterwards what was done."""

    bench: Bench
    workshop: Workshop
    origin: Mapping[str, str]
    probe: Feeds
    most_trials: int
    deadline: float
    tell: Callable[[Progress], None]
    layers: list[Sensitivity] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    stopped: str | None = None

    def run(self, ladder: Sequence[Candidate]) -> Trial | None:
        """The first promising trial, else the least bad one; None when nothing could be built."""
        for candidate in ladder:
            if self._spent():
                break
            mixed = candidate.scheme == "int8-qdq-mixed"
            found = self._mixed() if mixed else self._try(candidate)
            if found is not None and found.promising:
                return found
        return min(self.bench.tried, key=lambda trial: trial.badness, default=None)

    def _spent(self) -> bool:
        if self.bench.trials >= self.most_trials:
            self.stopped = f"limits.trials: {self.most_trials}"
        elif time.monotonic() > self.deadline:
            self.stopped = "limits.seconds"
        return self.stopped is not None

    def _try(self, candidate: Candidate) -> Trial | None:
        try:
            model = self.workshop.build(candidate)
            data = finished(model, candidate, self.workshop, self.origin)
            if len(data) >= self.bench.source_bytes:
                self.failures[candidate.name] = "no smaller than the source"
                return None
            trial = self.bench.try_out(candidate, data)
        except StageError as error:
            # One kind of candidate that does not fit the model does not end the search.
            self.failures[candidate.name] = error.message
            return None
        self.tell(
            Progress(
                f"{candidate.name}: {len(data) / self.bench.source_bytes:.2f} of the size, "
                f"{trial.ended}",
                self.bench.trials,
                self.most_trials,
            )
        )
        return trial

    def _mixed(self) -> Trial | None:
        base = self._base()
        leaders = tuple(
            n for n in quantizable(self.workshop.model) if n not in self.workshop.excluded
        )
        if len(leaders) < 2:
            return None
        members = groups(self.workshop.model, leaders)
        self.layers = sensitivities(
            self.workshop, base, members, self.probe, self.bench.scoring.output
        )
        stored = weights_error(self.workshop, self.probe, self.bench.scoring.output) < _STORABLE
        self.bench.inferences += (len(self.layers) + 3) * len(next(iter(self.probe.values())))
        base = replace(base, stored=stored)
        best: Trial | None = None
        few, many = 0, len(self.layers)
        while many - few > 1 and not self._spent():
            middle = (few + many) // 2
            trial = self._try(self._keeping(base, self.layers[:middle]))
            if trial is not None and trial.promising:
                best, many = trial, middle
            elif trial is not None and trial.ended == "too large":
                many = middle
            else:
                few = middle
        return best and self._pruned(base, best, self.layers[:many])

    def _pruned(self, base: Candidate, best: Trial, kept: Sequence[Sensitivity]) -> Trial:
        """Kept layers tried again in int8, largest first; those that do not hurt stay so."""
        total = sum(layer.bytes for layer in self.layers)
        large = sorted(kept, key=lambda layer: (-layer.bytes, layer.leader))
        still = list(kept)
        for layer in large[:_PRUNED]:
            if layer.bytes < _WORTH * total or len(still) < 2 or self._spent():
                break
            fewer = [other for other in still if other is not layer]
            trial = self._try(self._keeping(base, fewer))
            if trial is not None and trial.promising:
                best, still = trial, fewer
        return best

    def _base(self) -> Candidate:
        """The ranges of the best uniform int8 trial, else the plainest."""
        uniform = [t for t in self.bench.tried if t.candidate.scheme == "int8-qdq"]
        method = min(uniform, key=lambda t: t.badness).candidate.method if uniform else "minmax"
        return Candidate("int8-qdq-mixed", method)

    def _keeping(self, base: Candidate, layers: Sequence[Sensitivity]) -> Candidate:
        return replace(
            base,
            kept=tuple(name for layer in layers for name in layer.members),
            leaders=tuple(layer.leader for layer in layers),
        )
