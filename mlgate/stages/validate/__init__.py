"""Validate data: expectations, schema contract, drift, leakage, overlap, freshness."""

from collections.abc import Iterator

from mlgate.evidence import Measured
from mlgate.stage import Installs, Job, Metric, Stage, inputs_of
from mlgate.stages.validate.doctor import checks
from mlgate.stages.validate.figures import figures
from mlgate.stages.validate.spec import Validate


def _measure(job: Job[Validate]) -> Measured:
    from mlgate.stages.validate.run import measure

    return measure(job)


def _installs(options: Validate) -> Installs:
    """What the engine and the places of the data need beside the stage's own packages."""
    spark = options.engine == "spark"
    urls = [source.path or "" for _, source in inputs_of(options) if "://" in (source.path or "")]
    remote = ("remote",) if urls else ()
    s3 = ("s3",) if any(url.startswith("s3://") for url in urls) else ()
    return Installs(
        extras=(*(("spark",) if spark else ()), *remote, *s3),
        debian=("openjdk-17-jre-headless",) if spark else (),
    )


def _uncacheable(options: Validate) -> str | None:
    if options.freshness is not None:
        return "freshness grows with the clock"
    if options.dataset.dataset.sql is not None or any(d.sql for d in options.disjoint_from):
        return "a database has no digest that is known before it is read"
    return None


def _conflicts(options: Validate) -> Iterator[tuple[tuple[str | int, ...], str, str | None]]:
    source = options.dataset.dataset
    if source.sql is not None and options.engine not in ("auto", "sql"):
        yield ("engine",), f"engine {options.engine} does not read a database", "leave engine out"
    if source.sql is not None:
        for block in ("reference", "contract", "disjoint_from", "freshness", "leakage", "skew"):
            if getattr(options, block):
                hint = "export the rows to Parquet to have it"
                yield (block,), f"{block} reads files, and the dataset is a database", hint
        if options.dataset.filter is not None:
            hint = "write dataset: {sql: {url: …, query: select … where …}}"
            yield ("dataset", "filter"), "filter is for files", hint
        if options.expectations is None:
            yield ("dataset",), "of a database only expectations are checked", "add expectations:"
    if source.sql is None and options.engine == "sql":
        hint = "use engine: duckdb, or dataset: {sql: …}"
        yield ("engine",), "engine sql reads databases, and the dataset is files", hint
    measured = {metric.name for metric in METRICS if _wants(options, metric.name)}
    for index, gate in enumerate(options.gates):
        if any(metric.name == gate.metric for metric in METRICS) and gate.metric not in measured:
            block = _NEEDS[gate.metric.split(".")[0]]
            hint = f"add {block}: to this stage"
            yield ("gates", index, "metric"), f"{gate.metric} is measured only with {block}", hint


_NEEDS = {
    "expectations": "expectations",
    "contract": "contract",
    "drift": "reference",
    "freshness": "freshness",
    "overlap": "disjoint_from",
    "leakage": "leakage",
    "partition": "skew",
}


def _wants(options: Validate, metric: str) -> bool:
    block = _NEEDS.get(metric.split(".")[0])
    if metric == "overlap.keys" and not options.keys:
        return False
    return block is None or bool(getattr(options, block))


METRICS = (
    Metric("rows", "Rows of the dataset, after its filter.", "count", better="higher"),
    Metric(
        "expectations.failed",
        "Expectations that do not hold.",
        "count",
        ("severity",),
        better="lower",
    ),
    Metric(
        "expectations.success_ratio",
        "Share of expectations that hold.",
        "1",
        ("severity",),
        maximum=1,
        better="higher",
    ),
    Metric(
        "contract.breaking_changes",
        "Schema changes that break a reader of the data.",
        "count",
        ("mode",),
        better="lower",
    ),
    Metric(
        "drift.psi",
        "Population stability index against the reference.",
        "1",
        ("column",),
        better="lower",
    ),
    Metric(
        "drift.ks",
        "Kolmogorov–Smirnov distance from the reference.",
        "1",
        ("column",),
        maximum=1,
        better="lower",
    ),
    Metric(
        "drift.js",
        "Jensen–Shannon divergence from the reference, nats.",
        "1",
        ("column",),
        better="lower",
    ),
    Metric(
        "drift.wasserstein",
        "Wasserstein distance from the reference, in its standard deviations.",
        "1",
        ("column",),
        better="lower",
    ),
    Metric(
        "drift.new_values",
        "Share of values that the reference never had.",
        "1",
        ("column",),
        maximum=1,
        better="lower",
    ),
    Metric(
        "drift.null_rate",
        "Rise of the share of missing values.",
        "1",
        ("column",),
        maximum=1,
        better="lower",
    ),
    Metric("freshness.lag_s", "Age of the newest row.", "s", ("partition",), better="lower"),
    Metric(
        "overlap.rows", "Rows that another dataset has too.", "count", ("other",), better="lower"
    ),
    Metric(
        "overlap.keys",
        "Entities that another dataset has too.",
        "count",
        ("other",),
        better="lower",
    ),
    Metric(
        "leakage.score",
        "How well one feature alone gives the label.",
        "1",
        ("column",),
        maximum=1,
        better="lower",
    ),
    Metric("partition.skew", "Largest partition over the mean one.", "1", ("key",), better="lower"),
)

STAGE = Stage(
    uses="validate",
    summary="data: expectations, contract, drift, overlap, leakage, freshness",
    options=Validate,
    measure=_measure,
    metrics=METRICS,
    outputs={"profile": "profile", "snapshot": "file"},
    judged=("dataset",),
    packages=("great-expectations", "duckdb", "pandas", "pyarrow", "numpy"),
    uncacheable=_uncacheable,
    installs=_installs,
    doctor=checks,
    conflicts=_conflicts,
    figures=figures,
)
