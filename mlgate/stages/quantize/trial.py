"""One candidate's trial: its size, its latency, then its accuracy on the search part.

What is cheap comes first: a candidate that is too large or too slow never costs an accuracy
measurement. The search rows are met block by block (`looks`). A trial ends as soon as the
candidate would be confirmed, were its shares those of the confirm part too, or has little chance
to be. Nothing here decides a gate, so no look costs the verdict any error rate.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from mlgate.data.session import Array, Feeds, Session, latencies_ms
from mlgate.errors import StageError
from mlgate.evidence import Comparison, Measured, Measurement, measured, rounded
from mlgate.gate import Gate, GateResult, Outcome, judge
from mlgate.metrics.classification import paired_answers
from mlgate.metrics.scoring import Row, Scoring, bounds_of
from mlgate.metrics.tasks import score
from mlgate.stages.quantize.blocks import Blocks, joined
from mlgate.stages.quantize.candidates import Candidate
from mlgate.stages.quantize.looks import (
    Look,
    allowed,
    confirm_looks,
    is_early,
    may_promise,
    search_looks,
)
from mlgate.stages.quantize.samples import Samples
from mlgate.stages.quantize.splits import Splits
from mlgate.statistics.bootstrap import percentiles, resample
from mlgate.statistics.intervals import Interval
from mlgate.statistics.paired import Pairs

_GIVE_UP: Final = 0.9  # level of the interval that a candidate ends at, when it is beyond the limit
_SIZE: Final = frozenset({"size_bytes", "size_ratio"})
_TIME: Final = frozenset({"latency_ms.p50", "speedup"})
_LATER: Final = frozenset(
    {"trials", "calibration_passes", "sample_inferences", "cascade.accuracy", "cascade.share"}
)
_ROUNDS: Final = 60
_EARLY: Final = {"on_inconclusive": "extend"}


@dataclass(frozen=True)
class Trial:
    """What came of one candidate. `outcomes` are those of the gates that were looked at."""

    candidate: Candidate
    data: bytes
    rows: tuple[Row, ...]
    seen: int
    promising: bool
    ended: str
    outcomes: tuple[GateResult, ...]
    pairs: Pairs | None = None  # of right answers, where there are any

    @property
    def badness(self) -> tuple[int, int]:
        """For choosing a best effort: the gates' outcomes in sum, then the size."""
        return sum(result.rank for result in self.outcomes), len(self.data)


@dataclass
class TrialContext:
    """The source model's answers and the gates, against which candidates are tried."""

    source: Session
    source_bytes: int
    splits: Splits
    scoring: Scoring
    gates: tuple[Gate, ...]
    confidence: float
    batch_size: int
    threads: int
    time: bool
    whole: bool
    seed: int
    batch_axis: Mapping[str, int] = field(default_factory=dict)
    inferences: int = 0
    trials: int = 0
    calibration_passes: int = 0
    share: float = 1.0  # of each gate's error, for the candidate that is next to be confirmed
    tried: list[Trial] = field(default_factory=list)
    search: Blocks = field(init=False)
    confirm: Blocks = field(init=False)

    def __post_init__(self) -> None:
        search = self.splits.search
        looks = (Look(len(search)),) if self.whole else search_looks(self.gates, search)
        self.search = self._blocks(search, looks)
        self.plan(self.share)

    def plan(self, share: float) -> None:
        """Plan the looks at the confirm rows; `share` of each gate's error is the first candidate's."""
        self.share = share
        confirm = self.splits.confirm
        looks: tuple[Look, ...] = (Look(len(confirm)),)
        if not self.whole:
            looks = confirm_looks(self.gates, self.confidence, confirm, share)
        self.confirm = self._blocks(confirm, looks)

    def _blocks(self, samples: Samples, looks: tuple[Look, ...]) -> Blocks:
        return Blocks(samples, looks, self.seed, self.source, self.answers_of, self.scoring.output)

    def session(self, data: bytes, name: str) -> Session:
        """A candidate, loaded so that it answers what the source is asked for."""
        session = Session(data, name=name, batch_axis=self.batch_axis)
        known = {port.name for port in session.outputs}
        session.fetched = tuple(output for output in self.source.fetched if output in known)
        return session

    @property
    def allowed(self) -> float:
        """The smallest share of samples that a gate lets change for the worse; 0.01 if none says."""
        shares = [allowed(gate) for gate in self.gates if is_early(gate.metric)]
        return min([share for share in shares if 0 < share < 1], default=0.01)

    def answers_of(self, session: Session, samples: Samples) -> dict[str, Array]:
        """All outputs [n, …] on all samples."""
        parts = list(session.stream(self.batches(session, samples), threads=self.threads))
        self.inferences += len(samples)
        found = joined(parts)
        for name, value in found.items():
            if value.ndim == 0 or len(value) != len(samples):
                raise StageError(
                    f"output {name} of {session.name} has another length than its batches",
                    hint="its first axis is not the batch, or it is squeezed away in some of them",
                )
        return found

    def batches(self, session: Session, samples: Samples) -> Iterator[Feeds]:
        """Feeds of the fixed batch size, or of the model's own."""
        return samples.batches(session.fixed_batch or self.batch_size)

    def sizes(self, data: bytes) -> tuple[Row, ...]:
        """Exact size rows of a model file."""
        size = len(data)
        return (
            measured("size_bytes", size, unit="B"),
            measured("size_ratio", size / self.source_bytes),
            Comparison(
                name="size_bytes",
                to="source",
                value=float(size),
                reference=float(self.source_bytes),
                unit="B",
            ),
        )

    def latency(self, session: Session, samples: Samples, share: float = 1.0) -> tuple[Row, ...]:
        """Latency rows, the source and the candidate measured in turns on the same batch."""
        feeds = next(self.batches(session, samples))
        wanted = session.fixed_batch
        if wanted is not None:
            feeds = {name: np.resize(v, (wanted, *v.shape[1:])) for name, v in feeds.items()}
        times = latencies_ms({"source": self.source, "candidate": session}, feeds, rounds=_ROUNDS)
        self.inferences += 2 * (_ROUNDS + 5) * len(next(iter(feeds.values())))
        return _latency_rows(times, self.scoring.spending(share).levels)

    def try_out(self, candidate: Candidate, data: bytes, *, doubtful: bool = False) -> Trial:
        """Size, then latency, then accuracy with early stopping; remembered in `tried`.

        `doubtful`: only all rows of the search part make it promising.
        """
        trial = self._trial(candidate, data, doubtful)
        self.tried.append(trial)
        return trial

    def _trial(self, candidate: Candidate, data: bytes, doubtful: bool) -> Trial:
        rows: tuple[Row, ...] = self.sizes(data)
        results = self.judged(rows, _SIZE)
        if not _hold(results):
            return Trial(candidate, data, rows, 0, False, "too large", results)
        session = self.session(data, candidate.name)
        if self.time:
            rows += self.latency(session, self.search.samples)
            results += self.judged(rows, _TIME)
            if not _hold(results):
                return Trial(candidate, data, rows, 0, False, "too slow", results)
        self.trials += 1
        return self._accuracy(candidate, data, session, rows, results, doubtful)

    def _accuracy(
        self,
        candidate: Candidate,
        data: bytes,
        session: Session,
        rows: tuple[Row, ...],
        results: tuple[GateResult, ...],
        doubtful: bool,
    ) -> Trial:
        scoring = self.scoring.gated()
        good, ended, last = False, "would not be confirmed", self.search.last
        for look, seen in self.search.compared(session):
            foreseen = scoring.foreseeing(len(self.confirm) / look.rows)
            found = score(foreseen.spending(self.confirm.last.share * self.share), seen)
            outcomes = self.judged(rows + found, None)
            good = _hold(outcomes) and may_promise(look, last, doubtful=doubtful)
            if good:
                ended = "would be confirmed"
            if good or look == last:
                break
            outcomes = self.judged(score(scoring.loosely(_GIVE_UP), seen), None, early=True)
            if any(result.rank is Outcome.FAIL for result in outcomes):
                ended = "has little chance to be confirmed"
                break
        plain = score(scoring, seen)
        pairs = paired_answers(scoring, seen)
        return Trial(
            candidate, data, rows + plain, look.rows, good, ended, results + outcomes, pairs
        )

    def decided(self, rows: Sequence[Row]) -> bool:
        """Whether more samples would change no verdict: a gate failed, or every one is decided."""
        own = [g for g in self.gates if g.metric not in _SIZE | _TIME | _LATER]
        failed = self.judged(rows, None, early=True)
        if any(result.rank is Outcome.FAIL for result in failed):
            return True
        evidence = measured_of(rows)
        plain = [g.model_copy(update={"severity": "fail", **_EARLY}) for g in own]
        found = [judge(gate, evidence, confidence=self.confidence) for gate in plain]
        return all(result.rank in (Outcome.PASS, Outcome.FAIL) for result in found)

    def judged(
        self, rows: Sequence[Row], metrics: frozenset[str] | None, *, early: bool = False
    ) -> tuple[GateResult, ...]:
        """Results of the fail-severity gates on `metrics`; None: on what a model answers.

        `early`: what is inconclusive stays so, whatever the gate makes of it in the end.
        """
        evidence = measured_of(rows)
        found = []
        for gate in self.gates:
            own = (
                gate.metric not in _SIZE | _TIME | _LATER
                if metrics is None
                else gate.metric in metrics
            )
            if gate.severity == "fail" and own:
                as_is = gate.model_copy(update=_EARLY) if early else gate
                found.append(judge(as_is, evidence, confidence=self.confidence))
        return tuple(found)


def measured_of(rows: Sequence[Row]) -> Measured:
    """Rows as what was measured, for the judge."""
    return Measured(
        measurements=tuple(row for row in rows if isinstance(row, Measurement)),
        comparisons=tuple(row for row in rows if isinstance(row, Comparison)),
    )


def _hold(results: Sequence[GateResult]) -> bool:
    return all(result.rank <= Outcome.WARN for result in results)


def _latency_rows(
    times: Mapping[str, Array], levels: Sequence[tuple[float, float]]
) -> tuple[Row, ...]:
    """Rows from milliseconds per round [rounds] of both models, paired by round."""
    source, candidate = times["source"], times["candidate"]
    rounds = len(source)
    before, after = float(np.median(source)), float(np.median(candidate))
    draws = resample(
        [lambda i: float(np.median(source[i])), lambda i: float(np.median(candidate[i]))], rounds
    )

    def bounds(values: Array, center: float) -> tuple[Interval, ...]:
        found = percentiles(values, center, rounds, [level for _, level in levels])
        # None where the draws have no finite values.
        return tuple((c, *ends[1:]) for (c, _), ends in zip(levels, found, strict=False))

    absolute = bounds(draws[:, 1], after)
    change = bounds(draws[:, 1] - draws[:, 0], after - before)
    ratio = bounds(draws[:, 1] / draws[:, 0], after / before)
    return (
        measured("latency_ms.p50", after, unit="ms", bounds=absolute, n=rounds),
        measured(
            "speedup",
            before / after,
            bounds=[(c, 1 / high, 1 / low) for c, low, high in ratio],
            n=rounds,
        ),
        Comparison(
            name="latency_ms.p50",
            to="source",
            value=rounded(after),
            reference=rounded(before),
            unit="ms",
            difference=bounds_of(change),
            ratio=bounds_of(ratio),
            n=rounds,
        ),
    )
