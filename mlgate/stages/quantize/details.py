"""What `Evidence.details` says of a search: every candidate, layer and class."""

import math
from collections.abc import Mapping

from pydantic import JsonValue

from mlgate.evidence import Comparison, Measurement, digest_of, rounded
from mlgate.metrics import values as metrics
from mlgate.metrics.classification import class_names, paired_answers, truth_of
from mlgate.metrics.scoring import Seen
from mlgate.stages.quantize import ranges
from mlgate.stages.quantize.looks import Look
from mlgate.stages.quantize.provenance import instruction_sets
from mlgate.stages.quantize.search import Search
from mlgate.stages.quantize.trial import Trial, TrialContext
from mlgate.statistics.multiplicity import holm
from mlgate.statistics.paired import Pairs


def details(
    context: TrialContext,
    winner: Trial,
    search: Search,
    steps: Mapping[str, str],
    seen: Seen,
    look: Look,
) -> dict[str, JsonValue]:
    """Everything about the search that no gate reads. No times but the latencies asked for."""
    found: dict[str, JsonValue] = {
        "winner": winner.candidate.name,
        "candidates": [_candidate(trial, context, search) for trial in context.tried],
        "prepare": dict(steps),
        "splits": {
            name: {"samples": len(samples), "digest": samples.digest()}
            for name, samples in (
                ("calibration", context.splits.calibration),
                ("search", context.splits.search),
                ("confirm", context.splits.confirm),
            )
            if samples is not None
        },
        "rules": dict(context.splits.rules),
        "looks": {
            "at": [{"rows": x.rows, "share": rounded(x.share)} for x in context.confirm.looks],
            "ended": look.rows,
            "rule": "confirm rows are met in the order of seeded hashes; an interval at a look "
            "errs at most `share` as often as its confidence says",
        },
        "batch_size": context.source.fixed_batch or context.batch_size,
        "instruction_sets": list(instruction_sets()),
    }
    if search.failures:
        found["not_built"] = dict(search.failures)
    if search.builder is not None and search.builder.left_in_float:
        found["left_in_float"] = dict(search.builder.left_in_float)
    if search.layers:
        found["sensitivity"] = [layer.as_json() for layer in search.layers]
    if search.stopped:
        found["stopped"] = search.stopped
    if context.scoring.task == "classification" and seen.labels is not None:
        found["classes"] = _classes(context, seen)
        found["paired"] = _paired(context, seen)
    return found


def _candidate(trial: Trial, context: TrialContext, search: Search) -> JsonValue:
    method = trial.candidate.method
    entry: dict[str, JsonValue] = {
        "name": trial.candidate.name,
        "scheme": trial.candidate.scheme,
        "float": list(trial.candidate.float_weighted),
        "weight_only": list(trial.candidate.weight_only),
        "digest": digest_of(trial.data),
        "size_bytes": len(trial.data),
        "size_ratio": rounded(len(trial.data) / context.source_bytes),
        "samples": trial.seen,
        "ended": trial.ended,
        "gates": [f"{r.outcome}: {r.message}" for r in trial.outcomes if r.outcome != "pass"],
    }
    if method is not None and search.builder is not None and trial.candidate.scheme != "given":
        entry["ranges"] = {
            "method": method,
            "digest": ranges.digest(search.builder.ranges_of(method)),
        }
    error = search.errors.get(trial.candidate)
    if error is not None and math.isfinite(error):
        entry["error"] = rounded(error)  # of the outputs, without labels
    if trial.pairs is not None:
        entry["lost"], entry["won"] = int(trial.pairs.lost), int(trial.pairs.won)
    metrics_: dict[str, JsonValue] = {}
    for row in trial.rows:
        # Per-class rows of every candidate would bury the rest.
        if not row.labels and row.value is not None and not row.name.startswith("size_"):
            side: dict[str, JsonValue] = {"value": row.value}
            bounds = row.difference if isinstance(row, Comparison) else row.bounds
            if bounds:
                side |= {"low": bounds[0].low, "high": bounds[0].high}
                side["confidence"] = bounds[0].confidence
            kind = row.name if isinstance(row, Measurement) else f"{row.name} vs source"
            metrics_[kind] = side
    entry["metrics"] = metrics_
    return entry


def _paired(context: TrialContext, seen: Seen) -> JsonValue:
    """Discordant counts of accuracy on confirm, and what a one-point gate would need."""
    pairs = paired_answers(context.scoring, seen)
    assert pairs is not None
    found: dict[str, JsonValue] = {
        "lost": int(pairs.lost),
        "won": int(pairs.won),
        "samples": int(pairs.n),
        "mcnemar_p": rounded(pairs.mcnemar()),
    }
    for gate in context.gates:
        if gate.metric == "accuracy" and isinstance(gate.max_drop, float) and gate.max_drop > 0:
            level = gate.confidence or context.confidence
            found["samples_for_80_percent_power"] = pairs.needed(gate.max_drop, level)
            break
    return found


def _classes(context: TrialContext, seen: Seen) -> JsonValue:
    """Recall per class before and after, with McNemar's p, adjusted by Holm over the classes."""
    before, after, truth = _answers(context, seen)
    scores = seen.reference[context.scoring.output]
    width = scores.reshape(len(scores), -1).shape[1] if scores.ndim > 1 else 0
    names = class_names(context.scoring, max(width, 2) if width else int(truth.max()) + 1)
    entries: list[dict[str, JsonValue]] = []
    p_values = []
    for number, name in enumerate(names):
        own = truth == number
        if not own.any():
            continue
        pairs = Pairs.of(before[own] == number, after[own] == number)
        p_values.append(pairs.mcnemar())
        entries.append(
            {
                "class": name,
                "samples": int(own.sum()),
                "lost": int(pairs.lost),
                "won": int(pairs.won),
                "recall_change": rounded(pairs.difference),
            }
        )
    for entry, p in zip(entries, holm(p_values), strict=True):
        entry["p_adjusted"] = rounded(p)
    return list(entries)


def _answers(
    context: TrialContext, seen: Seen
) -> tuple[metrics.Classes, metrics.Classes, metrics.Classes]:
    before, after = seen.reference[context.scoring.output], seen.candidate[context.scoring.output]
    assert seen.labels is not None
    return (
        metrics.answers(before, context.scoring.threshold),
        metrics.answers(after, context.scoring.threshold),
        truth_of(context.scoring, seen.labels, before),
    )
