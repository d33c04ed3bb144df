"""What the report draws of a benchmark, from evidence as it is stored."""

from typing import Any

from mlgate.evidence import Evidence, digest_of
from mlgate.stages.benchmark import STAGE
from mlgate.stages.benchmark.advice import advice


def evidence(**details: Any) -> Evidence:
    inputs = {"model": digest_of(b"m"), "baseline": digest_of(b"b")}
    return Evidence(uses="benchmark", inputs=inputs, details=details)


def test_the_distribution_is_drawn_by_the_share_that_is_slower() -> None:
    row = {"scenario": "single", "batch": 1, "latency_ms": [1.0, 2.0, 9.0], "share": [0.5, 0.99, 1]}
    (figure,) = STAGE.figures(evidence(distributions=[row]))
    assert figure.series[0].x == (1.0, 2.0)
    assert [round(y, 12) for y in figure.series[0].y] == [0.5, 0.01]
    assert figure.y_scale == "log"


def test_operators_are_named_by_their_node_and_stand_side_by_side_per_load() -> None:
    def top(*rows: tuple[str, str, float]) -> list[dict[str, Any]]:
        return [{"op": op, "node": node, "calls": 1, "share": share} for op, node, share in rows]

    (figure,) = STAGE.figures(
        evidence(
            operators=[
                {"scenario": "single", "batch": 1,
                 "top": top(("QLinearConv", "/net/Conv_3", 0.7), ("Gemm", "/net/head", 0.3))},
                {"scenario": "batch", "batch": 32, "top": top(("Gemm", "/net/head", 0.9))},
            ]
        )
    )  # fmt: skip
    assert figure.series[0].labels == ("Gemm head", "Conv_3") == figure.series[1].labels
    assert figure.series[0].y == (30.0, 70.0)
    assert figure.series[1].y == (90.0, 0.0)
    assert [series.name for series in figure.series] == ["single, batch 1", "batch, batch 32"]


def test_a_ramp_without_a_knee_says_so() -> None:
    step = {"rate": 10.0, "response": 1e6, "mean": 1e6}
    ramp = {"steps": [step], "percentile": 0.99, "limit_ms": 5.0}
    (figure,) = STAGE.figures(evidence(ramp=ramp))
    assert figure.caption == "No rate kept the promise."
    (figure,) = STAGE.figures(evidence(ramp={**ramp, "knee_qps": 14630.4}))
    assert figure.caption == "The promise holds up to 14,630 queries per second."


def test_summaries_are_of_the_models_that_were_measured() -> None:
    rows = [
        {"name": "candidate", "p99_ms": 1.0, "usd_per_million": None, "best": True},
        {"name": "baseline", "p99_ms": 2.0, "usd_per_million": 0.5},
    ]
    found = STAGE.summaries(evidence(provider="CPUExecutionProvider", configurations=rows))
    assert [(one.model, one.where, dict(one.values)) for one in found] == [
        (digest_of(b"m"), "CPU", {"p99_ms": 1.0}),
        (digest_of(b"b"), "CPU", {"p99_ms": 2.0, "usd_per_million": 0.5}),
    ]


def test_notes_are_advice_with_text_to_copy() -> None:
    found = advice(
        evidence(
            ramp={"snippets": {"asyncio": "LIMIT = 3\n", "triton": "max_queue_size: 2\n"}},
            batching={"rate": 900.0, "max_batch": 8, "max_delay_us": 250, "response_ms": 3.0},
            warm_pool={"instances": 4, "slowest_start_s": 1.5},
        )
    )
    assert [note.code.split("\n")[0] for note in found] == [
        "LIMIT = 3", "max_queue_size: 2", "max_batch_size: 8", ""
    ]  # fmt: skip
    assert "max_queue_delay_microseconds: 250" in found[2].code
    assert "at most 8, waiting at most 250 µs" in found[2].text
    assert "4 instances take the stated traffic" in found[3].text
    (none,) = advice(evidence(batching={"rate": 900.0, "recommended": "none"}))
    assert none.text == "No batch and delay keep the promise at 900 rows a second."
