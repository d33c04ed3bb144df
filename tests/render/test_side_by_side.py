"""The table of models in the HTML report: joined over stages by digest, hostile names as text."""

from typing import Any

from mlgate.evidence import Artifact, Comparison, Evidence, digest_of
from mlgate.render import html
from mlgate.run.report import Ran
from tests.projects import reported

SMALL, LARGE = digest_of(b"int8"), digest_of(b"fp32")


def ran(evidence: Evidence) -> Ran:
    return Ran(evidence, "sha256:" + "0" * 64, (), (), cached=False)


def quantized(name: str = "m.onnx", port: str = "model") -> Ran:
    rows = [
        Comparison(name=metric, to="source", value=value, reference=reference)
        for metric, value, reference in (("accuracy", 0.98, 0.99), ("size_bytes", 2e5, 8e5))
    ]
    sliced = Comparison(
        name="accuracy", to="source", value=0.1, reference=0.2, labels={"slice": "x"}
    )
    made = Artifact(name=name, digest=SMALL, size_bytes=5)
    return ran(
        Evidence(
            uses="quantize",
            inputs={"model": LARGE},
            comparisons=(sliced, *rows),
            outputs={port: made},
        )
    )


def benchmarked() -> Ran:
    configurations: Any = [
        {"name": "candidate", "p99_ms": 1.5, "usd_per_million": 0.25, "memory_bytes": 6e7},
        {"name": "baseline", "p99_ms": 4.0, "usd_per_million": 0.75},
    ]
    return ran(
        Evidence(
            uses="benchmark",
            inputs={"model": SMALL, "baseline": LARGE},
            details={"provider": "CPUExecutionProvider", "configurations": configurations},
        )
    )


def page(**results: Ran) -> str:
    return html.render(
        reported(results, uses={name: result.evidence.uses for name, result in results.items()})
    )


def test_quality_of_one_stage_stands_beside_the_latency_of_another() -> None:
    text = page(int8=quantized(), latency=benchmarked())
    assert "Models side by side" in text
    table = text[text.index("Models side by side") :]
    assert "Accuracy against latency" in table
    rows = table.split("<tbody>")[1].split("<tr>")[1:]
    small, large = sorted(rows, key=lambda row: "int8: source" in row)
    for cell in ("int8: m.onnx", "latency: candidate", "latency, on CPU", "0.98", "1.5", "0.25"):
        assert cell in small
    assert ">0.2<" in small
    for cell in ("int8: source", "latency: baseline", "0.99", "0.75", "–"):
        assert cell in large
    assert "beaten" not in small + large


def test_a_best_effort_is_no_winner() -> None:
    text = page(int8=quantized(port="best_effort"), latency=benchmarked())
    rows = text[text.index("Models side by side") :].split("<tbody>")[1].split("<tr>")[1:]
    small, large = sorted(rows, key=lambda row: "int8: source" in row)
    assert "not approved" in small
    assert "Pareto" not in small
    assert "Pareto" in large


def test_one_model_alone_has_no_table() -> None:
    assert "Models side by side" not in page(none=ran(Evidence(uses="validate", inputs={})))


def test_names_of_models_are_text() -> None:
    text = page(**{"<b>x": quantized(), "latency": benchmarked()})
    assert "<b>x" not in text
    assert "&lt;b&gt;x" in text
