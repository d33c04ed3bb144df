"""One candidate's trial: its size, its latency, then its accuracy on the search part.

What is cheap comes first: a candidate that is too large or too slow never costs an accuracy
measurement. The accuracy is looked at four times, and the trial ends when the answer is known:
when no answer to the remaining samples could save the candidate, or when a gate is decided at a
confidence that shares the gate's error among the looks (Bonferroni). The confirm part is not
touched here, so no look costs the verdict any error rate.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from mlgate.errors import StageError
from mlgate.evidence import Comparison, Evidence, Measurement, measured, rounded
from mlgate.gate import Gate, GateResult, Outcome, judge
from mlgate.stages.quantize.candidates import Candidate
from mlgate.stages.quantize.comparison import Interval, percentiles, resample
from mlgate.stages.quantize.metrics import answers
from mlgate.stages.quantize.samples import Samples
from mlgate.stages.quantize.scoring import Row, Scoring, Seen, bounds_of
from mlgate.stages.quantize.session import Array, Feeds, Session, latencies_ms
from mlgate.stages.quantize.tasks import score, truth_of

_LOOKS: Final = (0.125, 0.25, 0.5)
_SIZE: Final = frozenset({"size_bytes", "size_ratio"})
_TIME: Final = frozenset({"latency_ms.p50", "speedup"})
_LATER: Final = frozenset(
    {"trials", "calibration_passes", "sample_inferences", "cascade.accuracy", "cascade.share"}
)
_ROUNDS: Final = 60


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

    @property
    def badness(self) -> tuple[int, int]:
        """For choosing a best effort: the gates' outcomes in sum, then the size."""
        return sum(result.rank for result in self.outcomes), len(self.data)


@dataclass
class Bench:
    """The source model's answers and the gates, against which candidates are tried."""

    source: Session
    source_bytes: int
    search: Samples
    confirm_count: int
    scoring: Scoring
    gates: tuple[Gate, ...]
    confidence: float
    batch_size: int
    threads: int
    time: bool
    inferences: int = 0
    trials: int = 0
    tried: list[Trial] = field(default_factory=list)
    baseline: dict[str, Array] = field(default_factory=dict)

    def answers_of(self, session: Session, samples: Samples) -> dict[str, Array]:
        """All outputs [n, …] on all samples."""
        parts = list(session.stream(self.batches(session, samples), threads=self.threads))
        self.inferences += len(samples)
        return _joined(parts)

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

    def latency(self, session: Session, samples: Samples) -> tuple[Row, ...]:
        """Latency rows, the source and the candidate measured in turns on the same batch."""
        feeds = next(self.batches(session, samples))
        wanted = session.fixed_batch
        if wanted is not None:
            feeds = {name: np.resize(v, (wanted, *v.shape[1:])) for name, v in feeds.items()}
        times = latencies_ms({"source": self.source, "candidate": session}, feeds, rounds=_ROUNDS)
        self.inferences += 2 * (_ROUNDS + 5) * len(next(iter(feeds.values())))
        return _latency_rows(times, self.scoring.confidences)

    def try_out(self, candidate: Candidate, data: bytes) -> Trial:
        """Size, then latency, then accuracy with early stopping; remembered in `tried`."""
        trial = self._trial(candidate, data)
        self.tried.append(trial)
        return trial

    def _trial(self, candidate: Candidate, data: bytes) -> Trial:
        rows: tuple[Row, ...] = self.sizes(data)
        results = self.judged(rows, _SIZE)
        if not _hold(results):
            return Trial(candidate, data, rows, 0, False, "too large", results)
        session = Session(data, name=candidate.name)
        if self.time:
            rows += self.latency(session, self.search)
            results += self.judged(rows, _TIME)
            if not _hold(results):
                return Trial(candidate, data, rows, 0, False, "too slow", results)
        self.trials += 1
        return self._accuracy(candidate, data, session, rows, results)

    def _accuracy(
        self,
        candidate: Candidate,
        data: bytes,
        session: Session,
        rows: tuple[Row, ...],
        results: tuple[GateResult, ...],
    ) -> Trial:
        count = len(self.search)
        looks = [round(share * count) for share in _LOOKS]
        parts: list[dict[str, Array]] = []
        seen, looked = 0, 0
        batches = self.batches(session, self.search)
        for outputs in session.stream(batches, threads=1):
            parts.append(outputs)
            seen += len(next(iter(outputs.values())))
            due = [look for look in looks if looked < look <= seen]
            if not due or seen == count:
                continue
            looked = due[-1]
            # One array per output from here on: joining again and again would be quadratic.
            parts = [_joined(parts)]
            found = self._early(self._seen(parts[0], seen), seen)
            if found is not None:
                self.inferences += seen
                ended, early = found
                return Trial(candidate, data, rows, seen, False, ended, results + early)
        self.inferences += count
        scoring = self.scoring.foreseeing(self.confirm_count / count)
        found_rows = score(scoring, self._seen(_joined(parts), count))
        results += self.judged(rows + found_rows, None)
        good = _hold(results)
        plain = score(self.scoring.foreseeing(1.0), self._seen(_joined(parts), count))
        ended = "would be confirmed" if good else "would not be confirmed"
        return Trial(candidate, data, rows + plain, count, good, ended, results)

    def _early(self, seen: Seen, count: int) -> tuple[str, tuple[GateResult, ...]] | None:
        """Why the trial can end now, if it can, and the gates that say so."""
        total, factor = len(self.search), self.confirm_count / len(self.search)
        if self.scoring.task == "classification":
            hopeless: list[tuple[GateResult, ...]] = []
            for filled in _best_cases(self.scoring, seen, self._seen(self.baseline, total), count):
                rows = score(self.scoring.foreseeing(factor), filled)
                hopeless.append(self.judged(rows, None))
            lost = [
                a for a, b in zip(*hopeless, strict=True) if not _hold((a,)) and not _hold((b,))
            ]
            if lost:
                return "the remaining samples could not save it", tuple(lost)
        strict = {c: 1 - (1 - c) / len(_LOOKS) for c in self.scoring.confidences}
        scoring = self.scoring.foreseeing(1.0).at(tuple(strict.values()))
        results = self.judged(score(scoring, seen), None, strict)
        failed = tuple(r for r in results if r.rank is Outcome.FAIL)
        return ("a gate has failed already", failed) if failed else None

    def judged(
        self,
        rows: Sequence[Row],
        metrics: frozenset[str] | None,
        strict: Mapping[float, float] | None = None,
    ) -> tuple[GateResult, ...]:
        """Results of the fail-severity gates on `metrics`; None: on what a model answers."""
        evidence = evidence_of(rows)
        found = []
        for gate in self.gates:
            own = (
                gate.metric not in _SIZE | _TIME | _LATER
                if metrics is None
                else gate.metric in metrics
            )
            if gate.severity == "fail" and own:
                level = gate.confidence or self.confidence
                level = strict.get(level, level) if strict else level
                exact = gate.model_copy(update={"confidence": level})
                found.append(judge(exact, evidence, confidence=level))
        return tuple(found)

    def _seen(self, outputs: Mapping[str, Array], count: int) -> Seen:
        whole = Seen(self.baseline, self.baseline, self.search.labels, self.search.slices)
        part = whole.first(count)
        return Seen(part.source, outputs, part.labels, part.slices)


def _best_cases(scoring: Scoring, seen: Seen, whole: Seen, count: int) -> tuple[Seen, Seen]:
    """The rest answered as the source does (best for agreement), and rightly (best otherwise)."""
    same = {
        name: np.concatenate([seen.candidate[name], value[count:]])
        for name, value in whole.source.items()
    }
    right = dict(same)
    scores = whole.source[scoring.output]
    if whole.labels is not None:
        truth = truth_of(scoring, whole.labels, scores)[count:]
        if answers(scores[:1], scoring.threshold).dtype == scores.dtype and scores.ndim == 1:
            best: Array = truth.astype(scores.dtype)
        elif scores.reshape(len(scores), -1).shape[1] == 1:
            best = np.where(truth == 1, np.inf, -np.inf).reshape(-1, *scores.shape[1:])
            best = np.nan_to_num(best).astype(scores.dtype)
        else:
            width = scores.reshape(len(scores), -1).shape[1]
            best = np.eye(width, dtype=scores.dtype)[truth].reshape(-1, *scores.shape[1:])
        right[scoring.output] = np.concatenate([seen.candidate[scoring.output], best])
    return (
        Seen(whole.source, same, whole.labels, whole.slices),
        Seen(whole.source, right, whole.labels, whole.slices),
    )


def evidence_of(rows: Sequence[Row]) -> Evidence:
    """Rows as evidence, for the judge."""
    return Evidence(
        uses="quantize",
        inputs={},
        measurements=tuple(row for row in rows if isinstance(row, Measurement)),
        comparisons=tuple(row for row in rows if isinstance(row, Comparison)),
    )


def _hold(results: Sequence[GateResult]) -> bool:
    return all(result.rank <= Outcome.WARN for result in results)


def _latency_rows(times: Mapping[str, Array], confidences: tuple[float, ...]) -> tuple[Row, ...]:
    """Rows from milliseconds per round [rounds] of both models, paired by round."""
    source, candidate = times["source"], times["candidate"]
    rounds = len(source)
    before, after = float(np.median(source)), float(np.median(candidate))
    draws = resample(
        [lambda i: float(np.median(source[i])), lambda i: float(np.median(candidate[i]))], rounds
    )

    def bounds(values: Array, center: float) -> tuple[Interval, ...]:
        return percentiles(values, center, rounds, confidences)

    level = bounds(draws[:, 1], after)
    change = bounds(draws[:, 1] - draws[:, 0], after - before)
    ratio = bounds(draws[:, 1] / draws[:, 0], after / before)
    return (
        measured("latency_ms.p50", after, unit="ms", bounds=level, n=rounds),
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


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except ValueError:
        raise StageError(
            "the model's outputs have another shape in every batch, and cannot be compared",
            hint="pad variable outputs to one shape inside the model",
        ) from None
