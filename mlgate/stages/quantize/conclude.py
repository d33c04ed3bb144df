"""What a run concludes with: gates judged, the output approved or refused, the evidence written."""

import re
from collections.abc import Sequence

from pydantic import JsonValue

from mlgate.evidence import Artifact, Comparison, Measured, Measurement, digest_of
from mlgate.gate import GateResult, Outcome, judge_all
from mlgate.metrics.scoring import Row
from mlgate.stage import Job
from mlgate.stages.quantize.spec import Quantize
from mlgate.stages.quantize.trial import measured_of


def judged(
    job: Job[Quantize], rows: Sequence[Row], confidence: float
) -> tuple[tuple[GateResult, ...], str | None]:
    """(results of all gates, why the output is not approved: None when it is)."""
    gates = job.options.gates
    results = judge_all(gates, measured_of(rows), confidence=confidence)
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
    rows: Sequence[Row],
    outputs: dict[str, Artifact],
    details: dict[str, JsonValue],
) -> Measured:
    """What was measured, as rows of either kind."""
    return Measured(
        measurements=tuple(row for row in rows if isinstance(row, Measurement)),
        comparisons=tuple(row for row in rows if isinstance(row, Comparison)),
        outputs=outputs,
        details=details,
    )


def written(job: Job[Quantize], name: str, data: bytes) -> Artifact:
    """A file in the job's folder, made for an output."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".-") or "model.onnx"
    (job.workdir / name).write_bytes(data)
    media = "application/onnx"
    return Artifact(name=name, digest=digest_of(data), size_bytes=len(data), media_type=media)
