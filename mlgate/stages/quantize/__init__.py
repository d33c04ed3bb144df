"""Quantize: the smallest model that provably keeps its accuracy, or vectors under a recall gate."""

from collections.abc import Iterator

from mlgate.evidence import Measured
from mlgate.stage import Installs, Job, Metric, Stage
from mlgate.stages.quantize.figures import COLUMNS, advice, figures, summaries
from mlgate.stages.quantize.spec import Quantize


def _measure(job: Job[Quantize]) -> Measured:
    from mlgate.stages.quantize.run import measure

    return measure(job)


# What is measured without labels.
_UNLABELLED = {
    "agreement",
    "size_bytes",
    "size_ratio",
    "speedup",
    "latency_ms.p50",
    "trials",
    "calibration_passes",
    "sample_inferences",
}


def _conflicts(options: Quantize) -> Iterator[tuple[tuple[str | int, ...], str, str | None]]:
    evaluation = options.evaluation
    if evaluation is not None:
        if options.search is None and evaluation.confirm == 1:
            hint = "add search:, or set confirm below 1"
            yield ("evaluation", "confirm"), "confirm: 1 leaves no rows to search on", hint
        labelled = options.task in ("classification", "regression")
        unlabelled = bool(options.gates) and all(g.metric in _UNLABELLED for g in options.gates)
        if labelled and not unlabelled and evaluation.label is None:
            hint = "add label: the column that holds the truth; agreement alone needs none"
            yield ("evaluation",), f"{options.task} needs a label", hint
    if options.cascade is not None and options.task != "classification":
        yield ("cascade",), f"a cascade needs class scores, the task is {options.task}", None
    for index, scheme in enumerate(options.schemes):
        if scheme in options.schemes[:index]:
            yield ("schemes", index), f"{scheme} is listed twice", None
    for index, gate in enumerate(options.gates):
        if gate.metric.startswith("custom.") and gate.metric[7:] not in options.metrics:
            hint = f"add metrics: {{{gate.metric[7:]}: {{python: …}}}}"
            yield ("gates", index, "metric"), f"{gate.metric} is not declared", hint


_SOURCE = ("source",)

METRICS = (
    Metric("accuracy", "Share of right answers.", "1", ("slice",), _SOURCE, maximum=1, better="higher"),
    Metric("accuracy.*", "Share of answers whose k best hold the truth (`accuracy.top5`).", "1", ("slice",), _SOURCE, maximum=1, better="higher"),
    Metric("recall", "Share of a class's samples that were found.", "1", ("class", "slice"), _SOURCE, maximum=1, better="higher"),
    Metric("precision", "Share of the answers of a class that are right.", "1", ("class", "slice"), _SOURCE, maximum=1, better="higher"),
    Metric("fpr", "Share of the other samples that were taken for the class.", "1", ("class", "slice"), _SOURCE, maximum=1, better="lower"),
    Metric("auroc", "Area under the ROC curve, one class against the rest.", "1", ("class",), _SOURCE, maximum=1, better="higher"),
    Metric("calibration_error", "Expected calibration error of the top score, 15 bins.", "1", (), _SOURCE, maximum=1, better="lower"),
    Metric("agreement", "Share of answers equal to the source model's; needs no labels.", "1", ("slice",), maximum=1, better="higher"),
    Metric("mae", "Mean absolute error.", "1", ("slice",), _SOURCE, better="lower"),
    Metric("rmse", "Root of the mean squared error.", "1", ("slice",), _SOURCE, better="lower"),
    Metric("r2", "Coefficient of determination.", "1", ("slice",), _SOURCE, maximum=1, better="higher"),
    Metric("cosine", "Mean cosine similarity to the source model's vectors.", "1", ("slice",), maximum=1, better="higher"),
    Metric("recall_at_k", "Share of the k nearest neighbours that are still found.", "1", ("k",), maximum=1, better="higher"),
    Metric("map", "Mean average precision of boxes at 50 % overlap.", "1", (), _SOURCE, maximum=1, better="higher"),
    Metric("exact_match", "Share of sequences that are right as a whole.", "1", ("slice",), _SOURCE, maximum=1, better="higher"),
    Metric("perplexity", "Exponential of the mean negative log-likelihood per token.", "1", (), _SOURCE, better="lower"),
    Metric("custom.*", "A metric of your own (`metrics:`).", "1", (), _SOURCE),
    Metric("size_bytes", "Size of the model file.", "B", (), _SOURCE, better="lower"),
    Metric("size_ratio", "Size over the source model's size.", "1", better="lower"),
    Metric("speedup", "Source latency over the model's, measured in turns.", "1", better="higher"),
    Metric("latency_ms.p50", "Median latency of one batch, measured in turns.", "ms", (), _SOURCE, better="lower"),
    Metric("trials", "Candidates whose accuracy was measured.", "count", better="lower"),
    Metric("calibration_passes", "Passes over the calibration rows.", "count", better="lower"),
    Metric("sample_inferences", "Samples that went through any model.", "count", better="lower"),
    Metric("cascade.accuracy", "Accuracy of the cascade.", "1", (), _SOURCE, better="higher"),
    Metric("cascade.share", "Share of requests that reach the source model.", "1", better="lower"),
)  # fmt: skip

STAGE = Stage(
    uses="quantize",
    summary="Make a model smaller, and prove that it keeps its accuracy.",
    options=Quantize,
    measure=_measure,
    metrics=METRICS,
    judged=(),
    outputs={"model": "model", "best_effort": "model", "index": "file", "cascade": "file"},
    best_effort=("best_effort",),
    references=_SOURCE,
    installs=lambda _: Installs(extras=("cpu", "weights")),
    packages=("onnx", "onnxruntime", "numpy", "pyarrow", "scipy"),
    # Kernels differ between processors, and with them the answers of an int8 model.
    exclusive=lambda options: options.wants_latency,
    hardware=True,
    adaptive=True,
    looks_again=True,
    conflicts=_conflicts,
    figures=figures,
    advice=advice,
    summaries=summaries,
    columns=COLUMNS,
)
