"""Make a quantize job out of options as a spec would state them, and run it."""

import hashlib
from pathlib import Path
from typing import Any

from mlgate.evidence import Evidence
from mlgate.stage import Job, Located, inputs_of
from mlgate.stages.quantize import STAGE
from mlgate.stages.quantize.spec import Quantize
from tests.projects import evidence_of


def job_of(
    options: dict[str, Any],
    workdir: Path,
    *,
    confidences: tuple[float, ...] = (0.95,),
    threads: int = 1,
) -> Job[Quantize]:
    """A job whose inputs are the paths that `options` names."""
    parsed = Quantize.model_validate(options, strict=False)
    located = {}
    for _, value in inputs_of(parsed):
        path = Path(value.path or "")
        digest = None
        if path.is_file():
            digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        located[value] = Located(str(path), digest)
    workdir.mkdir(parents=True, exist_ok=True)
    return Job("int8", parsed, workdir, located, confidences, threads=threads)


def quantize(options: dict[str, Any], workdir: Path, **kwargs: Any) -> Evidence:
    """The evidence of one run."""
    job = job_of(options, workdir, **kwargs)
    return evidence_of(STAGE, job)
