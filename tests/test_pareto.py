"""Models side by side: what is joined by digest, and what may be called beaten."""

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlgate import pareto
from mlgate.figure import Figure
from mlgate.pareto import ModelSummary, Row
from mlgate.stages import STAGES

COLUMNS = tuple(column for stage in STAGES.values() for column in stage.columns)


def side_by_side(summaries: Iterable[ModelSummary]) -> tuple[Row, ...]:
    return pareto.side_by_side(summaries, COLUMNS)


def figure_of(rows: Iterable[Row]) -> Figure | None:
    return pareto.figure_of(rows, COLUMNS)


def known(model: str, name: str, where: str | None = None, **figures: float) -> ModelSummary:
    return ModelSummary(model, name, figures, where)


INT8 = known("8", "int8: m.int8.onnx", accuracy=0.98, size_bytes=25.0)
SOURCE = known("32", "int8: source", accuracy=0.99, size_bytes=100.0)
FAST = known("8", "latency: candidate", "latency", p99_ms=4.0, usd_per_million=1.0)
SLOW = known("32", "latency: baseline", "latency", p99_ms=10.0, usd_per_million=2.0)


def test_what_stages_know_of_one_digest_is_one_row() -> None:
    rows = side_by_side([INT8, SOURCE, FAST, SLOW])
    assert [(row.names, row.where, dict(row.values)) for row in rows] == [
        (
            ("int8: m.int8.onnx", "latency: candidate"),
            "latency",
            {"accuracy": 0.98, "size_bytes": 25.0, "p99_ms": 4.0, "usd_per_million": 1.0},
        ),
        (
            ("int8: source", "latency: baseline"),
            "latency",
            {"accuracy": 0.99, "size_bytes": 100.0, "p99_ms": 10.0, "usd_per_million": 2.0},
        ),
    ]
    assert all(row.best for row in rows)
    assert [column.name for column in pareto.known_columns(rows, COLUMNS)] == [
        "accuracy", "size_bytes", "p99_ms", "usd_per_million"
    ]  # fmt: skip


def test_a_model_on_two_devices_is_two_rows_of_one_quality() -> None:
    gpu = known("8", "gpu: candidate", "gpu", p99_ms=1.0)
    rows = side_by_side([INT8, FAST, gpu])
    assert [(row.where, row.values["accuracy"]) for row in rows] == [
        ("latency", 0.98),
        ("gpu", 0.98),
    ]


def test_a_model_that_nobody_ran_is_a_row_of_its_own() -> None:
    rows = side_by_side([INT8, SOURCE, FAST])
    assert [row.where for row in rows] == [None, "latency"]
    assert figure_of(rows) is None


def test_better_nowhere_is_beaten_and_equal_is_not() -> None:
    def best(*summaries: ModelSummary) -> list[bool]:
        return [row.best for row in side_by_side(summaries)]

    worse = known("w", "w", "latency", p99_ms=11.0, usd_per_million=2.0)
    twin = known("t", "t", "latency", p99_ms=10.0, usd_per_million=2.0)
    assert best(SLOW, worse, twin) == [True, False, True]
    good = known("a", "a", "x", accuracy=0.9, p99_ms=2.0)
    assert best(good, known("b", "b", "x", accuracy=0.8, p99_ms=2.0)) == [True, False]
    # Half a percent of memory is chance, and half a percent of accuracy is not.
    lean = known("l", "l", "x", p99_ms=9.0, memory_bytes=5.875e7)
    assert best(lean, known("f", "f", "x", p99_ms=1.0, memory_bytes=5.897e7)) == [False, True]
    exact = known("e", "e", "x", p99_ms=9.0, accuracy=0.995)
    assert best(exact, known("f", "f", "x", p99_ms=1.0, accuracy=0.99)) == [True, True]
    # Of mae less is better.
    assert best(known("a", "a", "x", mae=1.0), known("b", "b", "x", mae=2.0)) == [True, False]


def test_a_model_of_which_less_is_known_beats_nothing() -> None:
    measured = known("m", "m", "x", p99_ms=5.0, memory_bytes=1e6)
    rows = side_by_side([measured, known("n", "n", "x", p99_ms=1.0)])
    assert [row.best for row in rows] == [True, True]
    rows = side_by_side([known("m", "m", "x", p99_ms=1.0, memory_bytes=1e6),
                         known("n", "n", "x", p99_ms=5.0)])  # fmt: skip
    assert [row.best for row in rows] == [True, False]
    assert side_by_side([known("z", "z")])[0].best


def test_a_model_that_is_its_own_baseline_keeps_the_candidates_figures() -> None:
    (row,) = side_by_side([FAST, known("8", "latency: baseline", "latency", p99_ms=9.0)])
    assert row.values["p99_ms"] == 4.0


def test_the_plot_shows_quality_against_latency_or_else_cost() -> None:
    figure = figure_of(side_by_side([INT8, SOURCE, FAST, SLOW]))
    assert figure is not None
    assert figure.title == "Accuracy against latency"
    assert figure.series[0].labels == ("latency: candidate", "latency: baseline")
    plain = figure_of(side_by_side([FAST, known("w", "w", "x", p99_ms=9.0, usd_per_million=3.0)]))
    assert plain is not None
    assert plain.title == "Cost of a million against latency"
    assert [series.name for series in plain.series] == [
        "on the Pareto front", "beaten by another"
    ]  # fmt: skip
    assert figure_of(side_by_side([FAST])) is None
    assert figure_of(()) is None


def test_a_model_that_was_refused_neither_wins_nor_beats() -> None:
    refused = ModelSummary(
        "8", "int8: m.onnx", {"accuracy": 1.0, "size_bytes": 1.0}, approved=False
    )
    rows = side_by_side([refused, SOURCE, FAST, SLOW])
    assert [(row.approved, row.best) for row in rows] == [(False, False), (True, True)]
    figure = figure_of(rows)
    assert figure is not None
    assert [(series.name, series.labels) for series in figure.series] == [
        ("on the Pareto front", ("latency: baseline",)),
        ("not approved", ("latency: candidate",)),
    ]


figures: Any = st.dictionaries(
    st.sampled_from([column.name for column in COLUMNS]), st.sampled_from([1.0, 2.0, 3.0])
)


@given(st.lists(figures, max_size=6))
def test_somebody_is_always_best_and_order_does_not_matter(known_: list[dict[str, float]]) -> None:
    summaries = [ModelSummary(str(i), str(i), one, "x") for i, one in enumerate(known_)]
    rows = side_by_side(summaries)
    assert not rows or any(row.best for row in rows)
    back = {row.model: row.best for row in side_by_side(summaries[::-1])}
    assert back == {row.model: row.best for row in rows}
