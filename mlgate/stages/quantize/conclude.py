"""What a run concludes with: gates judged, the output approved or refused, the evidence written."""

import re
from collections.abc import Sequence

from pydantic import JsonValue

from mlgate.evidence import Artifact, Comparison, Evidence, Measurement, digest_of
from mlgate.gate import GateResult, Outcome, judge_all
from mlgate.metrics.scoring import Row
from mlgate.stage import Job
from mlgate.stages.quantize.provenance import tools
from mlgate.stages.quantize.spec import Quantize
from mlgate.stages.quantize.trial import evidence_of


def judged(
    job: Job[Quantize], rows: Sequence[Row], confidence: float
) -> tuple[tuple[GateResult, ...], str | None]:
    """(results of all gates, why the output is not approved: None when it is)."""
    gates = job.options.gates
    results = judge_all(gates, evidence_of(rows), confidence=confidence)
    must = [r for gate, r in zip(gates, results, strict=True) if gate.severity == "fail"]
    if not must:
        return results, "no gate of severity fail: nothing says that it may be used"
    lost = [r for r in must if r.rank > Outcome.WARN]
    return results, "; ".join(f"{r.outcome}: {r.message}" for r in lost) or None


def verdict_details(results: Sequence[GateResult], refused: str | None) -> dict[str, JsonValue]:
    """What the stage decided on: whether its output is approved, and by which gates."""
    found: dict[str, JsonValue] = {"approved": refused is None}
    if refused is not None:
        found["refused"] = refused
    found["gates"] = [result.model_dump(mode="json", exclude_none=True) for result in results]
    return found


def whole(
    job: Job[Quantize],
    rows: Sequence[Row],
    outputs: dict[str, Artifact],
    details: dict[str, JsonValue],
) -> Evidence:
    """The evidence, its inputs named by their option."""
    options = job.options
    given = {
        "model": options.model,
        "candidate": options.candidate,
        "calibration": options.calibration.dataset if options.calibration else None,
        "evaluation": options.evaluation.dataset if options.evaluation else None,
        "search": options.search.dataset if options.search else None,
        "matrix": options.vectors.matrix if options.vectors else None,
        "queries": options.vectors.queries if options.vectors else None,
    }
    inputs = {
        name: digest
        for name, value in given.items()
        if value is not None and (digest := job.inputs[value].digest) is not None
    }
    return Evidence(
        uses="quantize",
        inputs=inputs,
        measurements=tuple(row for row in rows if isinstance(row, Measurement)),
        comparisons=tuple(row for row in rows if isinstance(row, Comparison)),
        outputs=outputs,
        tools=tools(),
        details=details,
    )


def written(job: Job[Quantize], name: str, data: bytes) -> Artifact:
    """A file in the job's folder, made for an output."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".-") or "model.onnx"
    (job.workdir / name).write_bytes(data)
    media = "application/onnx"
    return Artifact(name=name, digest=digest_of(data), size_bytes=len(data), media_type=media)
