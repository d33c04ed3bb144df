"""Measure the quantize stage: prepare, calibrate once, search, and confirm the single winner.

The output `model` exists only when every gate of severity `fail` holds on the confirm part, by
the judge that mlgate uses everywhere. Otherwise the least bad candidate is the output
`best_effort`, and `details.refused` says why.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from pydantic import JsonValue

from mlgate.data.session import Feeds, Session
from mlgate.errors import StageError, about
from mlgate.evidence import Measured, digest_of
from mlgate.metrics.classification import truth_of
from mlgate.metrics.custom import load
from mlgate.metrics.options import PythonMetric
from mlgate.metrics.scoring import Scoring, Seen
from mlgate.metrics.tasks import score
from mlgate.metrics.values import answers
from mlgate.quantity import seconds
from mlgate.stage import Job, Progress
from mlgate.stages.quantize import details as detailed
from mlgate.stages.quantize import graph
from mlgate.stages.quantize.binding import (
    ROWS,
    bind,
    class_words,
    nearest,
    refuse_unknown_axes,
    scored_output,
)
from mlgate.stages.quantize.calibrate import calibrate
from mlgate.stages.quantize.candidates import TOO_LARGE, Candidate, CandidateBuilder, candidates
from mlgate.stages.quantize.conclude import (
    judged,
    verdict_details,
    whole,
    written,
)
from mlgate.stages.quantize.confirm import (
    confirm,
    counts,
    looked_before,
    outputs_of,
    refuse_misfit_of,
    shares_of,
)
from mlgate.stages.quantize.isolated import ports_of
from mlgate.stages.quantize.normal import normalised
from mlgate.stages.quantize.prepare import Prepared, prepare
from mlgate.stages.quantize.provenance import origin
from mlgate.stages.quantize.samples import Samples
from mlgate.stages.quantize.search import Search
from mlgate.stages.quantize.spec import Quantize
from mlgate.stages.quantize.splits import Splits, probe_of, read_splits
from mlgate.stages.quantize.trial import TrialContext
from mlgate.stages.quantize.vectors import measure_vectors

# scikit-learn's own operators, which onnxruntime runs in float.
_IN_ATTRIBUTES = {
    "LinearClassifier",
    "LinearRegressor",
    "SVMClassifier",
    "SVMRegressor",
    "TreeEnsemble",
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
}
_OF_NUMBERS = ("regression", "ranking", "detection", "text")
_PROBE = 32  # samples that show, without labels, how far a candidate errs
_CHECKED = 16  # samples on which a step of preparation must change nothing


def measure(job: Job[Quantize]) -> Measured:
    """Evidence of the search and of its winner. Raises `StageError` when it cannot be measured."""
    options = job.options
    if options.vectors is not None:
        return measure_vectors(job, job.confidence)
    began = time.monotonic()
    assert options.model is not None
    located = job.inputs[options.model]
    path = Path(located.location)
    idle = False
    with about("model"):
        source = graph.load(path)
        session = Session(path, name=path.name, batch_axis=options.batch_axis)
        refuse_unknown_axes(session, options.batch_axis)
        scored = scored_output(session, options.output, options.task)
        if options.searches:
            plain, _ = normalised(source)
            graph.refuse_quantized(plain)
            idle = _nothing_to_quantize(job, plain, path.name)
    splits = read_splits(job, session.inputs)
    few = probe_of(splits.search, session.fixed_batch or ROWS)
    bind(session, next(_whole_batches(session, few)), scored)
    context = _context(job, session, graph.size_on_disk(path), splits, scored)
    _name_classes(context, source)
    _refuse_constant(context)
    _check_labels(context, options.evaluation.label if options.evaluation else None)
    _try_metrics(context)
    digest = located.digest or digest_of(path.read_bytes())
    if idle:
        return _passed_through(job, context, splits, path, digest)
    given = _given(job, session, scored)
    deadline = began + min(seconds(options.limits.seconds), 0.8 * job.seconds)
    if options.searches:
        search, prepared = _search(job, context, source, digest, given, deadline)
        schemes = list(candidates(options.schemes, prepared.model))
        steps = prepared.steps
    else:
        search = _only_given(job, context, path, digest, given, deadline)
        schemes, steps = [], {}
    entries = [*([given[0]] if given else []), *schemes]
    shares = shares_of(entries)
    context.plan(shares[0])
    found = confirm(job, search, schemes, shares)
    if found is None:
        raise _nothing_built(search, source)
    confirmation, met = found
    trial = confirmation.trial
    details = detailed.details(context, trial, search, steps, confirmation.seen, confirmation.look)
    details["confirmed"] = met
    before = looked_before(job, context)
    if before is not None:
        details["looked_again"] = before
    details |= verdict_details(confirmation.results, confirmation.refused)
    if confirmation.operating is not None:
        details["cascade"] = confirmation.operating.details
    rows = (*confirmation.rows, *counts(context))
    outputs = outputs_of(job, confirmation, path.stem, _suffix(trial.candidate))
    return whole(rows, outputs, details)


def _given(job: Job[Quantize], source: Session, scored: str) -> tuple[Candidate, bytes] | None:
    """The user's own candidate. Raises `StageError` when it does not take what the source takes."""
    if job.options.candidate is None:
        return None
    path = Path(job.inputs[job.options.candidate].location)
    with about("candidate"):
        data = _bytes_of(path)
        # Loaded apart first: what kills onnxruntime must not kill the stage.
        wanted = ports_of(data, path.name)
        have = {port.name: port.dtype for port in source.inputs}
        if dict(wanted.inputs) != have:
            raise StageError(
                f"{path.name} takes {_told(dict(wanted.inputs))}, the source {_told(have)}",
                hint="a candidate has the source's inputs, by name and type",
            )
        if scored not in dict(wanted.outputs):
            raise StageError(
                f"{path.name} has no output {scored!r}",
                hint=nearest(scored, list(dict(wanted.outputs)), "its outputs"),
            )
    return Candidate("given", path.name), data


def _told(ports: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in sorted(ports.items()))


def _bytes_of(path: Path) -> bytes:
    """A model in one piece, its external data included."""
    model = graph.load(path)
    if graph.weights_outside(model):
        raise StageError(
            f"{path.name} is over 2 GiB and cannot be handed on as one file",
            hint="a model with its weights outside is not an output yet",
        )
    alone = path.stat().st_size == graph.size_on_disk(path)
    return path.read_bytes() if alone else bytes(model.SerializeToString(deterministic=True))


def _only_given(
    job: Job[Quantize],
    context: TrialContext,
    path: Path,
    digest: str,
    given: tuple[Candidate, bytes] | None,
    deadline: float,
) -> Search:
    """A search in which nothing is made: one's own candidate is judged."""
    size = context.source.fixed_batch or job.options.batch_size
    source = graph.load(path)
    return Search(
        context=context,
        source=bytes(source.SerializeToString(deterministic=True)),
        folder=path.parent if graph.weights_outside(source) else None,
        builder=None,
        origin={"mlgate.source": digest},
        probe=list(probe_of(context.splits.search, _PROBE).batches(size)),
        given=given,
        most_trials=job.options.limits.trials,
        deadline=deadline,
        tell=job.tell,
    )


def _context(
    job: Job[Quantize], session: Session, size: int, splits: Splits, output: str
) -> TrialContext:
    options = job.options
    custom = []
    for name, metric in sorted(options.metrics.items()):
        file = metric.python if isinstance(metric, PythonMetric) else metric.program
        where = "" if file is None else job.inputs[file].location
        with about("metrics", name):
            custom.append((name, load(name, metric, where, job.workdir)))
    top_k = {int(k) for g in options.gates for k in re.findall(r"^accuracy\.top(\d+)$", g.metric)}
    return TrialContext(
        source=session,
        source_bytes=size,
        splits=splits,
        scoring=Scoring(
            task=options.task,
            output=output,
            confidences=job.confidences,
            wanted=frozenset(gate.metric for gate in options.gates),
            classes=options.classes,
            top_k=tuple(sorted({*options.top_k, *top_k})),
            threshold=options.threshold,
            custom=tuple(custom),
            by_class_and_slice=any({"slice", "class"} <= g.where.keys() for g in options.gates),
        ),
        gates=options.gates,
        confidence=job.confidence,
        batch_size=options.batch_size,
        threads=job.threads,
        time=options.wants_latency,
        # A threshold has to be chosen on many rows, and a share is proved on many.
        whole=options.cascade is not None,
        seed=options.evaluation.seed if options.evaluation else 0,
        batch_axis=options.batch_axis,
    )


def _whole_batches(session: Session, samples: Samples) -> Iterator[Feeds]:
    """Batches of the size that the model insists on, the last rows repeated."""
    wanted = session.fixed_batch
    for feeds in samples.batches(wanted or len(samples)):
        if wanted is None:
            yield feeds
        else:
            yield {name: np.resize(v, (wanted, *v.shape[1:])) for name, v in feeds.items()}


def _name_classes(context: TrialContext, source: onnx.ModelProto) -> None:
    """Labels that are words need the words of the scores: a scikit-learn export holds them."""
    labels = context.splits.search.labels
    scoring = context.scoring
    if scoring.task != "classification" or scoring.classes or labels is None:
        return
    if labels.dtype.kind in "iubf":
        return
    scores = context.search.known(0)[scoring.output]
    width = scores.shape[1] if scores.ndim == 2 else None
    context.scoring = replace(scoring, classes=class_words(source, width))


def _refuse_constant(context: TrialContext) -> None:
    if context.scoring.task != "classification":
        return
    for number in range(len(context.search.looks)):
        scores = context.search.known(number)[context.scoring.output]
        said = answers(scores, context.scoring.threshold)
        if (said != said[0]).any():
            return
    raise StageError(
        f"the source model answers class {said[0]} for all {len(said)} search samples",
        hint="nothing can be compared with that: check output, threshold and the inputs' scale",
    )


def _try_metrics(context: TrialContext) -> None:
    """A user's own metric meets the source first: its error is then told once, and is no candidate's."""
    seen = context.search.first()
    for _, metric in context.scoring.custom:
        metric(seen.candidate, seen.labels)


def _check_labels(context: TrialContext, label: str | None) -> None:
    """What the labels say against the source fails every candidate alike: say it once, and first."""
    labels = context.splits.search.labels
    task = context.scoring.task
    if labels is not None and task in _OF_NUMBERS and labels.dtype.kind not in "iufb":
        with about("evaluation", "label"):
            raise StageError(
                f"label {label} is text, and {task} compares numbers",
                hint="name a column of numbers, or another task",
            )
    if task != "classification":
        return
    outputs = context.search.known(0)
    for samples in (context.splits.search, context.splits.confirm):
        if samples.labels is not None:
            with about("evaluation", "label"):
                truth_of(context.scoring, samples.labels, outputs[context.scoring.output])
    refuse_misfit_of(context.scoring, context.search.first())


def _search(
    job: Job[Quantize],
    context: TrialContext,
    source: onnx.ModelProto,
    digest: str,
    given: tuple[Candidate, bytes] | None,
    deadline: float,
) -> tuple[Search, Prepared]:
    """The model prepared and calibrated, and a search that has not begun."""
    options = job.options
    rows = context.splits.calibration
    assert rows is not None
    size = context.source.fixed_batch or options.batch_size
    probe = list(probe_of(rows, _PROBE).batches(size))
    few = {name: values[: min(size, _CHECKED)] for name, values in probe[0].items()}
    prepared = prepare(source, options.prepare, few, job.workdir, options.batch_axis)
    context.inferences += len(next(iter(few.values()))) * (1 + len(prepared.steps))
    _check_names(options.exclude, prepared.model, source)
    job.tell(Progress("calibrating"))
    folder = None
    if graph.weights_outside(prepared.model):
        assert options.model is not None
        folder = Path(job.inputs[options.model].location).parent
    calibration = calibrate(
        prepared.model,
        rows.batches(size),
        threads=job.threads,
        folder=folder,
        batch_axis=options.batch_axis,
    )
    context.inferences += calibration.samples
    context.calibration_passes = 1
    builder = CandidateBuilder(
        model=prepared.model,
        calibration=calibration,
        excluded=options.exclude,
        provider=options.provider,
        correct="bias-correct" in options.prepare and folder is None,
        workdir=job.workdir,
        folder=folder,
    )
    settings: dict[str, JsonValue] = {
        "exclude": list(options.exclude),
        "prepare": list(options.prepare),
        "provider": options.provider,
    }
    search = Search(
        context=context,
        source=bytes(prepared.model.SerializeToString(deterministic=True)),
        folder=folder,
        builder=builder,
        origin=origin(digest, rows.digest(), size, settings),
        probe=probe,
        given=given,
        most_trials=options.limits.trials,
        deadline=deadline,
        tell=job.tell,
    )
    return search, prepared


def _nothing_built(search: Search, model: onnx.ModelProto) -> StageError:
    """The error that no candidate came to a trial; a reason that several share is said once."""
    if not search.failures:
        return StageError(
            f"no candidate was tried: {search.stopped}",
            hint="raise the limit, or give fewer schemes",
        )
    sharing: dict[str, list[str]] = {}
    for name, why in search.failures.items():
        sharing.setdefault(why, []).append(name)
    count = len(search.failures)
    if set(sharing) == {TOO_LARGE}:
        return StageError(
            f"no candidate is smaller than the source ({count} tried)",
            hint="its weights are too few to gain by quantization: leave the stage out",
        )
    said = []
    for why, names in sharing.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        said.append(f"{names[0]}{more}: {why}")
    untried = [s for s in ("fp16", "int8-weight-dq") if not any(s in n for n in search.failures)]
    hint = None
    if untried:
        hint = f"schemes: [{', '.join(untried)}] may do"
    elif not graph.quantizable(model):
        hint = graph.where_layers_are(model)
    return StageError(f"no candidate could be built: {'; '.join(said)}", hint=hint)


def _nothing_to_quantize(job: Job[Quantize], model: onnx.ModelProto, name: str) -> bool:
    """Whether there is nothing to do. Raises `StageError` unless `passthrough` allows that."""
    if graph.has_float_weights(model):
        return False
    if job.options.passthrough:
        return True
    kinds = sorted({node.op_type for part in graph.graphs_of(model) for node in part.node})
    told = ", ".join(kinds[:8])
    learned = sorted(
        {n.op_type for n in model.graph.node if n.domain == "ai.onnx.ml"} & _IN_ATTRIBUTES
    )
    if learned:
        raise StageError(
            f"{name} has nothing to quantize: {learned[0]} keeps its numbers in attributes, "
            "which no scheme makes smaller",
            hint="passthrough: true hands it on as it is; fewer or shallower trees, or fewer "
            "support vectors, make it smaller",
        )
    raise StageError(
        f"{name} has nothing to quantize: it holds no float weights (its operators: {told})",
        hint="passthrough: true hands it on as it is",
    )


def _passed_through(
    job: Job[Quantize], context: TrialContext, splits: Splits, path: Path, digest: str
) -> Measured:
    data = _bytes_of(path)
    answers_ = context.answers_of(context.source, splits.confirm)
    seen = Seen(answers_, answers_, splits.confirm.labels, splits.confirm.slices)
    refuse_misfit_of(context.scoring, seen)
    rows = (*score(context.scoring, seen), *context.sizes(data), *counts(context))
    results, refused = judged(job, rows, context.confidence)
    details: dict[str, JsonValue] = {"passed_through": True, "source": digest}
    details |= verdict_details(results, refused)
    artifact = written(job, path.name, data)
    return whole(rows, {"best_effort" if refused else "model": artifact}, details)


def _suffix(candidate: Candidate) -> str:
    if candidate.scheme == "given":
        return "candidate"
    return candidate.scheme.removesuffix("-qdq").replace("int8-qdq-", "int8-")


def _check_names(
    exclude: Sequence[str], prepared: onnx.ModelProto, source: onnx.ModelProto
) -> None:
    known = [node.name for node in prepared.graph.node]
    for name in exclude:
        if name not in known:
            folded = any(node.name == name for node in source.graph.node)
            raise StageError(
                f"exclude names the node {name!r}, "
                + ("which folding has merged into another" if folded else "which is not there"),
                hint=nearest(name, known, "the nodes"),
                option=("exclude",),
            )
