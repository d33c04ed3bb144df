"""Measure the evaluate stage: whose answers, to which rows, how good, and against what."""

import re
from collections.abc import Sequence

from pydantic import JsonValue

from mlgate.errors import StageError, about
from mlgate.evidence import Comparison, Measured, Measurement, measured
from mlgate.metrics.classification import names_of, side_of, truth_of
from mlgate.metrics.custom import load
from mlgate.metrics.sanity import refuse_misfit
from mlgate.metrics.scoring import Row, Scoring, Seen
from mlgate.metrics.tasks import score
from mlgate.stage import Job, Progress
from mlgate.stages.evaluate.answers import (
    ANSWER,
    SCORES,
    Answers,
    class_order,
    label_text,
    numbered,
    of_records,
    of_table,
    outputs_of,
)
from mlgate.stages.evaluate.command import answers_of_command
from mlgate.stages.evaluate.curves import drawn
from mlgate.stages.evaluate.endpoint import answers_of_endpoint
from mlgate.stages.evaluate.flips import flipped
from mlgate.stages.evaluate.onnx_model import Outputs, classes_of_outputs, outputs_of_model
from mlgate.stages.evaluate.results.measuring import measure_results
from mlgate.stages.evaluate.slices import across_slices, bounded_at, shared_levels
from mlgate.stages.evaluate.spec import Answerer, Evaluate
from mlgate.stages.evaluate.tables import Truth, read_table, read_truth


def measure(job: Job[Evaluate]) -> Measured:
    """How good the answers are. Raises `StageError` when it cannot be measured."""
    options = job.options
    if options.results is not None:
        return _measured(*measure_results(job, options.results))
    evaluation = options.evaluation
    assert evaluation is not None
    with about("evaluation"):
        truth = read_truth(evaluation, job.inputs[evaluation.dataset].location, job.workdir)
    seen, classes = _seen(job, truth)
    scoring = _scoring(job, seen, classes)
    _refuse_misfits(scoring, seen)
    job.tell(Progress("scoring"))
    found = _scored(scoring, seen)
    found.append(measured("rows", len(truth), unit="count"))
    details: dict[str, JsonValue] = {"classes": list(classes), **drawn(scoring, seen)}
    if seen.source is not None and options.task == "classification" and seen.labels is not None:
        changes, listed = flipped(scoring, seen, truth.keys, show=options.show_values)
        found += changes
        details["flipped"] = listed
    return _measured(found, details)


def _scored(scoring: Scoring, seen: Seen) -> list[Row]:
    """All metrics, and slices against each other: their bounds come from the same pass."""
    if not seen.slices:
        return list(score(scoring, seen))
    shared = shared_levels(seen.slices, scoring.confidences)
    both = score(scoring.also_at(tuple(shared.values())), seen)
    found = [bounded_at(row, {level: level for level in scoring.confidences}) for row in both]
    strict = [bounded_at(row, shared) for row in both]
    return [*found, *across_slices(found, strict)]


def _seen(job: Job[Evaluate], truth: Truth) -> tuple[Seen, tuple[str, ...]]:
    """Both sides' answers as arrays, labels as class numbers, and the names of the classes."""
    options = job.options
    sides = [_answered(job, options.candidate, truth, "model")]
    if options.baseline is not None:
        with about("baseline"):
            sides.append(_answered(job, options.baseline, truth, "baseline"))
    labels = truth.labels
    classes = options.classes
    ready = [side for side in sides if isinstance(side, Answers)]
    if options.task == "classification" and (ready or labels is not None):
        text = None if labels is None else label_text(labels)
        width = max(
            (classes_of_outputs(side) for side in sides if isinstance(side, dict)), default=0
        )
        classes = class_order(options, text, ready, width)
        if text is not None:
            with about("evaluation", "label"):
                labels = numbered(text, classes, "the label")
    outputs = [
        outputs_of(side, classes, options.task) if isinstance(side, Answers) else side
        for side in sides
    ]
    seen = Seen(
        source=outputs[1] if len(outputs) > 1 else None,
        candidate=outputs[0],
        labels=labels,
        slices=truth.slices,
        clusters=truth.clusters,
        queries=truth.queries,
    )
    return seen, classes


def _answered(
    job: Job[Evaluate], answerer: Answerer, truth: Truth, whose: str
) -> Answers | Outputs:
    options = job.options
    label = options.evaluation.label if options.evaluation else None
    job.tell(Progress(f"reading the answers of the {whose}"))
    if answerer.predictions is not None:
        with about("predictions"):
            table = read_table(job.inputs[answerer.predictions.file].location, job.workdir)
            return of_table(answerer.predictions, table, truth, options)
    if answerer.command is not None:
        with about("command"):
            records = answers_of_command(job, answerer.command, truth, whose)
            return of_records(records, truth, options.missing, f"the {whose}")
    if answerer.http is not None:
        with about("http"):
            answers = list(answers_of_endpoint(answerer.http, truth, label, whose))
            return of_records(answers, truth, options.missing, f"the {whose}")
    assert answerer.model is not None
    with about("model"):
        return outputs_of_model(job, answerer.model, truth, whose)


def _scoring(job: Job[Evaluate], seen: Seen, classes: tuple[str, ...]) -> Scoring:
    options = job.options
    output, scores = _outputs(options, seen)
    wanted = {gate.metric for gate in options.gates}
    gated = {int(k) for name in wanted for k in re.findall(r"^accuracy\.top(\d+)$", name)}
    custom = []
    for name, metric in sorted(options.metrics.items()):
        with about("metrics", name):
            where = job.inputs[metric.python].location
            custom.append((name, load(name, metric, where, job.workdir)))
    return Scoring(
        task=options.task,
        output=output,
        confidences=job.confidences,
        wanted=frozenset(wanted),
        classes=classes,
        top_k=tuple(sorted({*options.top_k, *gated})),
        threshold=options.threshold,
        custom=tuple(custom),
        by_class_and_slice=bool(seen.slices),
        to="baseline",
        everything=True,
        costs=_costs(options, classes),
        abstain_below=options.abstain_below,
        scores=scores,
    )


def _outputs(options: Evaluate, seen: Seen) -> tuple[str, str | None]:
    """(the output that is scored, the one that holds scores: None where that is to be seen).

    Both sides are renamed to `answer` and `scores` where one of them is no ONNX model.
    """
    sides = [seen.candidate, *([] if seen.source is None else [seen.source])]
    if all(options.output in side for side in sides):
        return options.output or "", None
    if options.output is not None and options.output not in seen.candidate:
        known = ", ".join(seen.candidate)
        raise StageError(
            f"the model has no output {options.output!r}",
            hint=f"its outputs: {known}",
            option=("output",),
        )
    shared = [name for name in seen.candidate if all(name in side for side in sides)]
    if not shared:
        raise StageError(
            f"the model gives {', '.join(seen.candidate)}, the baseline "
            f"{', '.join(seen.reference)}: nothing that both give",
            hint="give the outputs one name, or evaluate both by predictions:",
        )
    if ANSWER in shared:
        return ANSWER, SCORES if SCORES in shared else None
    return shared[0], None


def _costs(options: Evaluate, classes: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """Cost of answering [truth, answer]; what is not named costs nothing."""
    if not options.costs:
        return ()
    named = {*options.costs, *(name for row in options.costs.values() for name in row)}
    unknown = sorted(named - set(classes))
    if unknown:
        raise StageError(
            f"costs name the class {unknown[0]!r}, the classes are {', '.join(classes[:12])}",
            option=("costs",),
        )
    rows = [options.costs.get(true, {}) for true in classes]
    return tuple(tuple(float(row.get(said, 0.0)) for said in classes) for row in rows)


def _refuse_misfits(scoring: Scoring, seen: Seen) -> None:
    """Answers that cannot belong to the labels are told before anything is judged."""
    if scoring.task != "classification" or seen.labels is None:
        return
    labels = seen.labels
    sides = [("model", seen)]
    if seen.source is not None:
        sides.insert(0, (scoring.to, seen.of_reference()))
    for whose, side in sides:
        truth = truth_of(scoring, labels, side.candidate[scoring.output])
        names = names_of(scoring, side, truth)
        refuse_misfit(whose, truth, side_of(scoring, side.candidate).answers, names)


def _measured(rows: Sequence[Row], details: dict[str, JsonValue]) -> Measured:
    return Measured(
        measurements=tuple(row for row in rows if isinstance(row, Measurement)),
        comparisons=tuple(row for row in rows if isinstance(row, Comparison)),
        details=details,
    )
