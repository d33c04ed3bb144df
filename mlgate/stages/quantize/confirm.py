"""The proof: a candidate that the search calls promising meets the confirm rows.

If they do not prove the first one, a second and a third may meet them. That is looking again, so
the error of every gate is shared among the three (a union bound): whichever model is handed on, it
was approved wrongly with at most the error that its gates allow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from mlgate.data.session import Session
from mlgate.evidence import Artifact, Evidence, measured, rounded
from mlgate.files import read_bytes
from mlgate.gate import GateResult
from mlgate.metrics.classification import names_of, side_of, truth_of
from mlgate.metrics.sanity import refuse_misfit
from mlgate.metrics.scoring import Row, Scoring, Seen
from mlgate.metrics.tasks import score
from mlgate.stage import Job, Progress
from mlgate.stages.quantize.candidates import Candidate
from mlgate.stages.quantize.cascade import Operating, operate
from mlgate.stages.quantize.conclude import judged, written
from mlgate.stages.quantize.looks import Look
from mlgate.stages.quantize.search import Search
from mlgate.stages.quantize.spec import Quantize
from mlgate.stages.quantize.trial import Trial, TrialContext

# Of each gate's error. The first candidate has most: it is the smallest, and mostly good.
SHARES: Final = (0.8, 0.1, 0.1)
_LARGEST: Final = 64_000_000  # bytes of evidence


@dataclass(frozen=True)
class Confirmation:
    """What came of one candidate on the confirm rows; `refused` is why it is not handed on."""

    trial: Trial
    look: Look
    seen: Seen
    rows: tuple[Row, ...]
    results: tuple[GateResult, ...]
    refused: str | None
    operating: Operating | None = None

    @property
    def badness(self) -> int:
        """For choosing a best effort: the gates' outcomes in sum."""
        return sum(result.rank for result in self.results)

    def as_json(self, share: float) -> JsonValue:
        found: dict[str, JsonValue] = {
            "name": self.trial.candidate.name,
            "rows": self.look.rows,
            "share": rounded(share),
        }
        if self.refused is not None:
            found["refused"] = self.refused
        return found


def shares_of(schemes: Sequence[Candidate]) -> tuple[float, ...]:
    """How the error is shared; all of it is the first one's, where there is no second to come."""
    only = len(schemes) == 1 and schemes[0].scheme != "int8-qdq-mixed"
    return (1.0,) if only else SHARES


def confirm(
    job: Job[Quantize], search: Search, schemes: Sequence[Candidate], shares: Sequence[float]
) -> tuple[Confirmation, list[JsonValue]] | None:
    """(the first candidate that is proved, else the least bad one; all that met the rows).

    None when no candidate could be built. The shares are fixed before any confirm row is seen.
    """
    tried: list[Confirmation] = []
    told: list[JsonValue] = []
    promising = search.promising(schemes)
    for share in shares:
        search.context.share = share
        trial = next(promising, None)
        if trial is None and not tried:
            trial = search.least_bad()
        if trial is None:
            break
        confirmation = _confirmed(job, search.context, trial)
        tried.append(confirmation)
        told.append(confirmation.as_json(share))
        if confirmation.refused is None:
            return confirmation, told
    if not tried:
        return None
    return min(tried, key=lambda found: found.badness), told


def _confirmed(job: Job[Quantize], context: TrialContext, trial: Trial) -> Confirmation:
    options = job.options
    session = context.session(trial.data, trial.candidate.name)
    look, seen = _looked(job, context, trial, session)
    refuse_misfit_of(context.scoring, seen.of_reference())
    scoring = context.scoring.spending(look.share * context.share)
    rows: tuple[Row, ...] = (*score(scoring, seen), *context.sizes(trial.data))
    if context.time:
        rows += context.latency(session, context.splits.confirm, context.share)
    operating: Operating | None = None
    if options.cascade is not None:
        ((_, tuned),) = context.search.compared(session)
        operating = operate(options.cascade, scoring, tuned, seen, context.confidence)
        rows += operating.rows
    results, refused = judged(job, (*rows, *counts(context)), context.confidence)
    return Confirmation(trial, look, seen, rows, results, refused, operating)


def looked_before(job: Job[Quantize], context: TrialContext) -> dict[str, JsonValue] | None:
    """How often other confirm rows of the same evaluation file have decided here before.

    Another `seed` draws other rows of the same file: that is looking again, and no interval knows.
    """
    evaluation = job.options.evaluation
    assert evaluation is not None
    file = job.inputs[evaluation.dataset].digest
    own = context.splits.confirm.digest()
    met = set()
    for path in job.earlier:
        try:
            found = Evidence.model_validate_json(read_bytes(path, most=_LARGEST))
        except (OSError, ValueError):
            continue
        splits = found.details.get("splits")
        confirm_ = splits.get("confirm") if isinstance(splits, dict) else None
        digest = confirm_.get("digest") if isinstance(confirm_, dict) else None
        if (
            file is not None
            and found.inputs.get("evaluation.dataset") == file
            and digest not in (None, own)
        ):
            met.add(str(digest))
    return {"times": len(met), "evaluation": file} if met else None


def refuse_misfit_of(scoring: Scoring, source: Seen) -> None:
    """Where the source is upside down there is nothing to lose, and every gate would hold."""
    if scoring.task == "classification" and source.labels is not None:
        truth = truth_of(scoring, source.labels, source.candidate[scoring.output])
        names = names_of(scoring, source, truth)
        refuse_misfit("source", truth, side_of(scoring, source.candidate).answers, names)


def _looked(
    job: Job[Quantize], context: TrialContext, trial: Trial, session: Session
) -> tuple[Look, Seen]:
    """The confirm samples, as far as one must look, and the look at which they were enough."""
    scoring = context.scoring.gated()
    for look, seen in context.confirm.compared(session):
        job.tell(
            Progress(f"confirming {trial.candidate.name}", look.rows, context.confirm.last.rows)
        )
        if look == context.confirm.last:
            break
        if context.decided(score(scoring.spending(look.share * context.share), seen)):
            break
    return look, seen


def counts(context: TrialContext) -> tuple[Row, ...]:
    """What the search has cost so far."""
    return (
        measured("trials", context.trials, unit="count"),
        measured("calibration_passes", context.calibration_passes, unit="count"),
        measured("sample_inferences", context.inferences, unit="count"),
    )


def outputs_of(
    job: Job[Quantize], confirmation: Confirmation, stem: str, suffix: str
) -> dict[str, Artifact]:
    """The files that are handed on: the model, and a cascade's operating point."""
    refused = confirmation.refused is not None
    mark = ".best-effort" if refused else ""
    file = f"{stem}.{suffix}{mark}.onnx"
    data = confirmation.trial.data
    outputs = {"best_effort" if refused else "model": written(job, file, data)}
    operating = confirmation.operating
    if operating is not None and operating.data and not refused:
        point = written(job, f"{stem}.cascade.json", operating.data)
        outputs["cascade"] = point.model_copy(update={"media_type": "application/json"})
    return outputs
