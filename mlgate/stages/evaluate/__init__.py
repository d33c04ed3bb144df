"""Evaluate: how good answers are, whoever gives them, alone or against a baseline's."""

from collections.abc import Iterator

from mlgate.evidence import Measured
from mlgate.stage import Installs, Job, Metric, Stage
from mlgate.stages.evaluate.figures import COLUMNS, figures, summaries
from mlgate.stages.evaluate.spec import Answerer, Evaluate


def _measure(job: Job[Evaluate]) -> Measured:
    from mlgate.stages.evaluate.run import measure

    return measure(job)


def _conflicts(options: Evaluate) -> Iterator[tuple[tuple[str | int, ...], str, str | None]]:
    evaluation = options.evaluation
    if options.results is not None:
        for name in ("baseline", "evaluation"):
            if getattr(options, name) is not None:
                yield (name,), f"results have their own rows: {name} is not read", None
        return
    assert evaluation is not None
    if evaluation.label is None and options.task in ("classification", "regression", "ranking"):
        yield ("evaluation",), f"{options.task} needs a label", "label: the column of the truth"
    if options.task == "ranking" and evaluation.query is None:
        yield ("evaluation",), "a ranking needs a query", "query: the column of what was asked"
    if options.costs and options.task != "classification":
        yield ("costs",), f"costs are of classes, the task is {options.task}", None
    for index, gate in enumerate(options.gates):
        if gate.compared_to is not None and options.baseline is None:
            hint = "add baseline: the model that it is compared to"
            yield ("gates", index, "compared_to"), "there is no baseline", hint
        if gate.metric.startswith("custom.") and gate.metric[7:] not in options.metrics:
            hint = f"add metrics: {{{gate.metric[7:]}: {{python: …}}}}"
            yield ("gates", index, "metric"), f"{gate.metric} is not declared", hint


def _uncacheable(options: Evaluate) -> str | None:
    """A served model may be another one tomorrow, under the same address."""
    if options.results is not None:
        return None
    answerers: list[Answerer | None] = [options.candidate, options.baseline]
    if any(answerer is not None and answerer.http is not None for answerer in answerers):
        return "a served model is asked anew each time"
    return None


def _installs(options: Evaluate) -> Installs:
    baseline = options.baseline
    models = options.model, None if baseline is None else baseline.model
    return Installs(extras=("cpu",)) if any(models) else Installs()


_TO = ("baseline",)

METRICS = (
    Metric("accuracy", "Share of right answers. Say nothing by it where one class is common: use balanced_accuracy or f1.", "1", ("slice",), _TO, maximum=1, better="higher"),
    Metric("accuracy.*", "Share of answers whose k best hold the truth (`accuracy.top5`).", "1", ("slice",), _TO, maximum=1, better="higher"),
    Metric("balanced_accuracy", "Mean recall of all classes: every class counts alike, however rare.", "1", ("slice",), _TO, maximum=1, better="higher"),
    Metric("f1", "Harmonic mean of a class's precision and recall: one number for a rare class.", "1", ("class", "slice"), _TO, maximum=1, better="higher"),
    Metric("f1_macro", "Mean F1 of all classes.", "1", ("slice",), _TO, maximum=1, better="higher"),
    Metric("recall", "Share of a class's rows that were found: for what must not be missed.", "1", ("class", "slice"), _TO, maximum=1, better="higher"),
    Metric("precision", "Share of the answers of a class that are right: for alarms that cost.", "1", ("class", "slice"), _TO, maximum=1, better="higher"),
    Metric("fpr", "Share of the other rows that were taken for the class.", "1", ("class", "slice"), _TO, maximum=1, better="lower"),
    Metric("auroc", "Area under the ROC curve (ROC-AUC), one class against the rest: how well scores order, at no threshold.", "1", ("class", "slice"), _TO, maximum=1, better="higher"),
    Metric("pr_auc", "Area under the precision–recall curve (average precision): for a rare class, where auroc flatters.", "1", ("class", "slice"), _TO, maximum=1, better="higher"),
    Metric("log_loss", "Mean −ln of the probability given to the truth: for probabilities that are used as such.", "1", ("slice",), _TO, better="lower"),
    Metric("brier", "Mean squared distance of probabilities from the truth; bounded, unlike log_loss.", "1", ("slice",), _TO, maximum=2, better="lower"),
    Metric("calibration_error", "Expected calibration error of the top probability, 15 bins: does 0.8 mean right in 80 %?", "1", ("slice",), _TO, maximum=1, better="lower"),
    Metric("abstain_rate", "Share of rows without an answer (missing, or below `abstain_below`); each counts as wrong.", "1", ("slice",), _TO, maximum=1, better="lower"),
    Metric("cost", "Mean cost of a row by `costs`: for errors that do not weigh alike.", "1", ("slice",), _TO, better="lower"),
    Metric("agreement", "Share of answers equal to the baseline's; needs no labels.", "1", ("slice",), maximum=1, better="higher"),
    Metric("flipped", "Rows that were right and are wrong (`direction: worse`), or the reverse (`better`).", "count", ("direction",)),
    Metric("worst_slice", "Largest drop of a metric in any slice, against the baseline: bounds hold for all slices together.", "1", ("metric", "column", "class"), better="lower"),
    Metric("parity", "Largest less smallest value of a metric among slices: bounds hold for all slices together.", "1", ("metric", "column", "class"), better="lower"),
    Metric("mae", "Mean absolute error.", "1", ("slice",), _TO, better="lower"),
    Metric("rmse", "Root of the mean squared error: large errors weigh more.", "1", ("slice",), _TO, better="lower"),
    Metric("r2", "Coefficient of determination: 0 is what the mean alone would do.", "1", ("slice",), _TO, maximum=1, better="higher"),
    Metric("ndcg", "Normalised discounted cumulative gain of the first k: for graded relevance. The unit is a query.", "1", ("k",), _TO, maximum=1, better="higher"),
    Metric("mrr", "Mean reciprocal rank of the first relevant item: for one right answer.", "1", (), _TO, maximum=1, better="higher"),
    Metric("cosine", "Mean cosine similarity to the baseline's vectors.", "1", ("slice",), maximum=1, better="higher"),
    Metric("recall_at_k", "Share of the k nearest neighbours that are the baseline's too.", "1", ("k",), maximum=1, better="higher"),
    Metric("map", "Mean average precision of boxes at 50 % overlap.", "1", (), _TO, maximum=1, better="higher"),
    Metric("exact_match", "Share of sequences that are right as a whole.", "1", ("slice",), _TO, maximum=1, better="higher"),
    Metric("perplexity", "Exponential of the mean negative log-likelihood per token.", "1", (), _TO, better="lower"),
    Metric("custom.*", "A metric of your own (`metrics:`).", "1", ("slice",), _TO),
    Metric("rows", "Rows that were evaluated.", "count", better="higher"),
    Metric("pass_rate", "Share of another tool's items that passed; repeats of one item are one unit.", "1", ("group",), maximum=1, better="higher"),
    Metric("score.*", "Mean of a score of another tool's items.", "1", ("group",)),
    Metric("value.*", "A number that another tool gives without its items.", "1", ("task", "filter")),
    Metric("items", "Items of another tool's results.", "count", better="higher"),
    Metric("items.failed", "Items that did not pass.", "count", better="lower"),
    Metric("items.missing", "Items without an outcome.", "count", better="lower"),
    Metric("items.skipped", "Items that were left out on purpose.", "count", better="lower"),
    Metric("items.units", "Distinct items, repeats counted once.", "count", better="higher"),
)  # fmt: skip

STAGE = Stage(
    uses="evaluate",
    summary="Measure how good answers are, alone or against a baseline's.",
    options=Evaluate,
    measure=_measure,
    metrics=METRICS,
    judged=("model", "predictions.file", "results.file"),
    references=_TO,
    installs=_installs,
    packages=("onnxruntime", "numpy", "scipy", "pyarrow", "duckdb"),
    uncacheable=_uncacheable,
    conflicts=_conflicts,
    figures=figures,
    summaries=summaries,
    columns=COLUMNS,
)
