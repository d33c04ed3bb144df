"""What a reader of the report sees of a search."""

from pydantic import JsonValue

from mlgate.evidence import Bounds, Comparison, Evidence, measured
from mlgate.stages.quantize.figures import figures

CANDIDATES: JsonValue = [
    {
        "name": "int8-qdq minmax",
        "size_ratio": 0.28,
        "metrics": {"accuracy": {"value": 0.95, "low": 0.9, "high": 0.97}},
    },
    {"name": "fp16", "size_ratio": 0.5, "metrics": {"accuracy": {"value": 0.97}}},
    {"name": "too large", "size_ratio": 0.9, "metrics": {}},
]
ACCURACY = Comparison(
    name="accuracy",
    to="source",
    value=0.96,
    reference=0.98,
    difference=(Bounds(confidence=0.95, low=-0.03, high=-0.01),),
)


def test_quality_stands_over_size_each_on_the_rows_that_it_was_measured_on() -> None:
    evidence = Evidence(
        uses="quantize",
        inputs={},
        measurements=(
            measured("size_ratio", 0.5),
            measured("accuracy", 0.96, bounds=[(0.95, 0.93, 0.98)], n=400),
        ),
        comparisons=(ACCURACY,),
        details={"candidates": CANDIDATES, "approved": True},
    )
    (plot,) = figures(evidence)
    assert (plot.kind, plot.y) == ("scatter", "accuracy")
    tried, confirmed = plot.series
    assert list(zip(tried.labels, tried.x, tried.y, strict=True)) == [
        ("int8-qdq minmax", 0.28, 0.95),
        ("fp16", 0.5, 0.97),
    ]
    assert (tried.low, tried.high) == ((0.9, 0.97), (0.97, 0.97))
    assert list(zip(confirmed.labels, confirmed.x, confirmed.y, strict=True)) == [
        ("approved", 0.5, 0.96),
        ("source", 1.0, 0.98),
    ]
    assert (confirmed.low[0], confirmed.high[0]) == (0.93, 0.98)


def test_without_a_winner_there_are_candidates_and_without_those_nothing() -> None:
    evidence = Evidence(
        uses="quantize", inputs={}, measurements=(), details={"candidates": CANDIDATES}
    )
    (plot,) = figures(evidence)
    assert [series.name for series in plot.series] == ["on search rows"]
    assert figures(evidence.model_copy(update={"details": {}})) == ()
