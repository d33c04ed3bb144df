"""The search: candidates in order of cost until one would be confirmed, within its limits.

How far a candidate's outputs are from the source's on samples without labels foretells its loss.
One that errs much waits until the others have been tried; once such a one has lost, only what errs
clearly less is tried. Mixed precision computes the most sensitive layers in float (their weights
in int8 nonetheless, where that does not hurt), as many as a budget of error asks for; the budget
shrinks with every trial. Nothing here decides the verdict: that is the confirm part's.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from mlgate.data.session import Array, Feeds
from mlgate.errors import StageError
from mlgate.stage import Progress
from mlgate.stages.quantize.candidates import RANGE_METHODS, TOO_LARGE, Candidate, CandidateBuilder
from mlgate.stages.quantize.graph import groups, quantizable
from mlgate.stages.quantize.isolated import outputs_of
from mlgate.stages.quantize.provenance import finished
from mlgate.stages.quantize.sensitivity import (
    Sensitivity,
    cheapest,
    relative_error,
    sensitivities,
)
from mlgate.stages.quantize.trial import Trial, TrialContext

_NEARER: Final = 0.25  # of the error of what has lost already: only that is worth another trial
# Relative squared error of the outputs at which about one answer in 300 changes, a third of what a
# gate of one point allows. Changed answers grow as its power of about two thirds.
_BUDGET: Final = 1e-3
_SHRINKING: Final = (1.0, 0.1, 0.01)
_DOUBTFUL: Final = 2.0  # times the budget


@dataclass
class Search:
    """One search over the schemes; `layers` and `failures` say afterwards what was done.

    `source` is the source model, its weights in `folder` if they are large; `given` is a model of
    the user's own, tried first. Without a `builder` that one is all there is.
    """

    context: TrialContext
    source: bytes
    folder: Path | None
    builder: CandidateBuilder | None
    origin: Mapping[str, str]
    probe: Sequence[Feeds]
    given: tuple[Candidate, bytes] | None
    most_trials: int
    deadline: float
    tell: Callable[[Progress], None]
    layers: list[Sensitivity] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    errors: dict[Candidate, float] = field(default_factory=dict)
    stopped: str | None = None
    _refused: list[Trial] = field(default_factory=list)
    _reference: Array | None = None
    _last: tuple[Candidate, bytes] | None = None

    def promising(self, candidates: Sequence[Candidate]) -> Iterator[Trial]:
        """Trials that would be confirmed, in order of cost.

        Whoever asks for the next one says that the last was not confirmed: from then on only what
        errs clearly less is tried.
        """
        doubtful: list[Candidate] = []
        if self.given is not None:
            yield from self._offered(self._try(self.given[0]))
        for candidate in candidates:
            if self._spent():
                return
            if candidate.scheme == "int8-qdq-mixed":
                yield from self._mixed()
            elif self._is_doubtful(candidate):
                doubtful.append(candidate)
            else:
                yield from self._offered(self._try(candidate))
        for candidate in sorted(doubtful, key=self.errors.__getitem__):
            if self._spent():
                return
            yield from self._offered(self._try(candidate, doubtful=True))

    def least_bad(self) -> Trial | None:
        """The trial nearest to what the gates ask for; None when nothing could be built."""
        return min(self.context.tried, key=lambda trial: trial.badness, default=None)

    def _offered(self, trial: Trial | None) -> Iterator[Trial]:
        if trial is not None and trial.promising:
            yield trial
            self._refused.append(trial)

    def _spent(self) -> bool:
        if self.context.trials >= self.most_trials:
            self.stopped = f"limits.trials: {self.most_trials}"
        elif time.monotonic() > self.deadline:
            self.stopped = "limits.seconds"
        return self.stopped is not None

    def _is_doubtful(self, candidate: Candidate) -> bool:
        """Whether it errs so much that few labelled samples without a loss would be luck."""
        if self.context.scoring.task not in ("classification", "text"):
            return False  # what an error costs is another question there
        data = self._built(candidate)
        return data is not None and self._error(candidate, data) > _DOUBTFUL * self._budget

    @property
    def _probed(self) -> int:
        return sum(len(next(iter(feeds.values()))) for feeds in self.probe)

    @property
    def _budget(self) -> float:
        """Error that the gates leave room for: the less they allow, the less."""
        return _BUDGET * min(100.0, max(0.01, math.pow(self.context.allowed / 0.01, 1.5)))

    def _try(self, candidate: Candidate, *, doubtful: bool = False) -> Trial | None:
        data = self._built(candidate)
        if data is None or not self._worth(candidate, data):
            return None
        try:
            trial = self.context.try_out(candidate, data, doubtful=doubtful)
        except StageError as error:
            self.failures[candidate.name] = error.message
            return None
        self.tell(
            Progress(
                f"{candidate.name}: {len(data) / self.context.source_bytes:.2f} of the size, "
                f"{trial.ended}",
                self.context.trials,
                self.most_trials,
            )
        )
        return trial

    def _built(self, candidate: Candidate) -> bytes | None:
        """The candidate's file; None when it does not fit the model, which ends no search."""
        if self._last is not None and self._last[0] == candidate:
            return self._last[1]
        try:
            data = self._made(candidate)
            self._error(candidate, data)
        except StageError as error:
            self.failures[candidate.name] = error.message
            return None
        if len(data) >= self.context.source_bytes and candidate.scheme != "given":
            self.failures[candidate.name] = TOO_LARGE
            return None
        self._last = candidate, data
        return data

    def _made(self, candidate: Candidate) -> bytes:
        if self.given is not None and candidate == self.given[0]:
            return self.given[1]
        assert self.builder is not None
        return finished(self.builder.build(candidate), candidate, self.builder, self.origin)

    def _worth(self, candidate: Candidate, data: bytes) -> bool:
        """Whether a candidate is clearly nearer to the source than all that have lost."""
        lost = self._lost()
        if not lost or self.context.scoring.task == "detection":
            return True  # of boxes in another order the difference says nothing
        least = min(self._error(trial.candidate, trial.data) for trial in lost)
        error = self._error(candidate, data)
        if error <= _NEARER * least:
            return True
        self.failures[candidate.name] = (
            f"not tried: its outputs err by {error:.2g} of their square, and {least:.2g} was too much"
        )
        return False

    def _lost(self) -> list[Trial]:
        lost = [trial for trial in self.context.tried if trial.seen and not trial.promising]
        return lost + self._refused

    def _error(self, candidate: Candidate, data: bytes) -> float:
        """How far the outputs are from the source's on the probe, which has no labels."""
        output, size = self.context.scoring.output, self._probed
        if self._reference is None:
            self._reference = outputs_of(
                self.source,
                self.probe,
                output,
                folder=self.folder,
                batch_axis=self.context.batch_axis,
            )
            self.context.inferences += size
        if candidate not in self.errors:
            found = outputs_of(
                data, self.probe, output, name=candidate.name, batch_axis=self.context.batch_axis
            )
            self.errors[candidate] = relative_error(self._reference, found)
            self.context.inferences += size
        return self.errors[candidate]

    def _mixed(self) -> Iterator[Trial]:
        builder = self.builder
        if builder is None:
            return
        base = self._base()
        leaders = tuple(n for n in quantizable(builder.model) if n not in builder.excluded)
        beyond = set(builder.weight_only_ways) - set(leaders)
        if not leaders or len(leaders) + len(beyond) < 2:
            return
        members = groups(builder.model, leaders)
        self.tell(Progress("measuring the sensitivity of layers"))
        self.layers = sensitivities(
            builder,
            base,
            members,
            self.probe,
            self.context.scoring.output,
            store=not self.context.time,  # unpacking takes time
            batch_axis=self.context.batch_axis,
        )
        models = 1 + sum(1 if layer.stored is None else 2 for layer in self.layers)
        self.context.inferences += models * self._probed
        tried: set[Candidate] = set()
        for factor in _SHRINKING:
            if self._spent():
                return
            lost = [_NEARER * self.errors[trial.candidate] for trial in self._lost()]
            most = min([self._budget, *lost])
            candidate = self._within(base, factor * most)
            if candidate is None or candidate in tried:
                continue
            tried.add(candidate)
            trial = self._try(candidate)
            yield from self._offered(trial)
            if trial is not None and trial.ended == "too large":
                return

    def _within(self, base: Candidate, budget: float) -> Candidate | None:
        """The cheapest mix that keeps the error of the whole model within `budget`, as far as seen.

        Sums of errors are a prediction. Where the model errs more, a smaller sum is asked for.
        """
        asked, candidate = budget, base
        for _ in range(3):
            candidate = self._mix(base, asked)
            if self._built(candidate) is None:
                return None
            error = self.errors[candidate]
            if error <= budget:
                break
            asked *= max(budget / error, 0.01)
        return candidate

    def _mix(self, base: Candidate, budget: float) -> Candidate:
        ways = cheapest(self.layers, budget)
        kept = [layer for layer in self.layers if ways[layer.leader] != "int8"]
        return replace(
            base,
            float_nodes=tuple(name for layer in kept for name in layer.members),
            float_weighted=tuple(layer.leader for layer in kept),
            weight_only=tuple(layer.leader for layer in kept if ways[layer.leader] == "stored"),
        )

    def _base(self) -> Candidate:
        """The ranges of the uniform int8 candidate that errs least, else the plainest."""
        uniform = [Candidate("int8-qdq", method) for method in RANGE_METHODS]
        known = [candidate for candidate in uniform if candidate in self.errors]
        method = min(known, key=self.errors.__getitem__).method if known else "minmax"
        return Candidate("int8-qdq-mixed", method)
