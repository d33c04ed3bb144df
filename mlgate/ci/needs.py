"""What a CI system itself says of the jobs before one: which ended how, with which result.

A result's file says of itself whatever it likes. So a job of ours hands on the digest of the result
that it left as an output of the job, which no other job can write, and which belongs to the job's
last attempt. What the CI system says of a job outranks what any file says of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mlgate.ci.jobs import name_of
from mlgate.errors import UsageError
from mlgate.evidence import Frozen
from mlgate.run.report import Errored

# What a job of ours has for outputs: its own stage's result; results that others left before.
RESULT: Final = "result"
RESULTS: Final = "results"


class Need(Frozen):
    """One job, as GitHub's `needs` has it."""

    model_config = ConfigDict(extra="ignore")

    result: str
    outputs: dict[str, str] = {}


_NEEDS: Final = TypeAdapter(dict[str, Need])
_DIGESTS: Final = TypeAdapter(dict[str, str])


@dataclass(frozen=True)
class Needs:
    """The jobs that one waits for, by name."""

    jobs: Mapping[str, Need]

    @classmethod
    def read(cls, text: str) -> "Needs":
        """`toJSON(needs)`. Raises `UsageError` for anything else."""
        try:
            return cls(_NEEDS.validate_json(text))
        except ValidationError:
            raise UsageError(
                "--needs is not what GitHub's toJSON(needs) gives",
                hint="run mlgate compile again, and commit what it writes",
            ) from None

    def digest(self, stage: str) -> str | Errored | None:
        """Digest of the result that counts for a stage.

        An error where its job did not end by itself; None where no job left a result.
        """
        job = self.jobs.get(name_of(stage))
        if job is None or job.result == "skipped":
            return self._handed_on(stage)
        if job.result == "cancelled":
            return Errored("its job was cancelled", "run it again")
        if job.result not in ("success", "failure"):
            return Errored(f"its job ended as {job.result!r}", "run it again")
        return job.outputs.get(RESULT) or Errored(
            "its job left no result", "see its log: it was lost before the stage ended"
        )

    def _handed_on(self, stage: str) -> str | None:
        for job in self.jobs.values():
            if job.result != "success":
                continue
            if found := _results(job).get(stage):
                return found
        return None


def _results(job: Need) -> dict[str, str]:
    try:
        return _DIGESTS.validate_json(job.outputs.get(RESULTS) or "{}")
    except ValidationError:
        return {}


def handed_on(digests: Mapping[str, str]) -> dict[str, Any]:
    """The output by which a job hands on results that others left before."""
    return {RESULTS: json.dumps(dict(sorted(digests.items())), separators=(",", ":"))}
