"""The JSON documents that mlgate writes: a model each, by which they are written, read and explained.

`mlgate schema NAME` prints each. A field that was not given is not written, so a document holds
exactly what its writer had to say.
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator

from mlgate.evidence import Comparison, Digest, Frozen, Labels, canonical
from mlgate.gate import Gate, GateResult, Word
from mlgate.policy.rules import Policies, RuleRow


class Document(Frozen):
    """A JSON document under a schema's name; `what` is how people call it."""

    what: ClassVar[str]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, without what was not given."""
        given = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return {"schema": type(self).model_fields["schema_"].default, **given}

    def printed(self) -> str:
        """The document as a person may read it, on several lines."""
        return json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n"

    def canonical(self) -> bytes:
        """The one byte string for it (RFC 8785)."""
        return canonical(self.as_json())

    @classmethod
    def read(cls, written: bytes) -> Self:
        """The document in these bytes. Raises `ValueError` that says what is wrong with it."""
        try:
            document = cls.model_validate_json(written)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{where or 'it'}: {first['msg']}") from None
        if "schema_" not in document.model_fields_set:
            raise ValueError("it does not say of which schema it is")
        return document


class GateRow(GateResult):
    """What a gate concluded, and its line in the spec."""

    line: int = Field(ge=1)


class MeasurementRow(Frozen):
    """One number; `low` and `high` are its interval at the spec's confidence, the value if exact."""

    name: str
    labels: Labels
    value: float | None
    unit: str
    n: int | None
    low: float | None
    high: float | None
    reason: str | None = None


class OutputRow(Frozen):
    """A file that a stage made. `path` is from the spec's folder."""

    path: str
    digest: Digest
    name: str


class StageRow(Frozen):
    """What a stage came to. One without `evidence` was not measured: see `reason`."""

    id: str
    uses: str
    outcome: Word
    cached: bool | None = None
    evidence: Digest | None = None
    gates: tuple[GateRow, ...] = ()
    measurements: tuple[MeasurementRow, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    outputs: dict[str, OutputRow] = {}
    reason: str = ""
    hint: str | None = None


class Changed(Frozen):
    """A setting from outside the spec that changed what was asked for, and where it came from."""

    name: str
    source: str | None = None
    value: str
    default: str | None = None


class _Judged(Document):
    name: str
    outcome: Word
    exit_code: Literal[0, 1, 3, 4]
    spec_digest: Digest
    confidence: float
    profile: str | None = None
    left_out: tuple[str, ...] = ()
    changed: tuple[Changed, ...] = ()
    stages: tuple[StageRow, ...]
    policies: tuple[RuleRow, ...]
    day: str | None = None


class ReportDocument(_Judged):
    """The whole answer of a run."""

    what = "what `mlgate check --format json` prints"
    schema_: Literal["mlgate/report/v1"] = Field("mlgate/report/v1", alias="schema")


class VerdictDocument(_Judged):
    """The same without times, hosts and caches: equal bytes for equal evidence."""

    what = "verdict.json of a run"
    # What another version may have added is not read; the bytes are compared as a whole.
    model_config = ConfigDict(extra="ignore")

    schema_: Literal["mlgate/verdict/v1"] = Field("mlgate/verdict/v1", alias="schema")


class ErrorRow(Frozen):
    """Why a stage could not be measured. `line`: of the option at fault, where that is known."""

    message: str
    hint: str | None = None
    line: int | None = None


class SkippedRow(Frozen):
    """Why a stage was not started; its outcome is its cause's."""

    because: str
    outcome: Word


class RunStage(Frozen):
    """A stage of a run: by what it was judged, and its evidence, or why there is none.

    `from_` names the output (`stage.output`) at each port, None for what came from outside.
    """

    id: str
    uses: str
    line: int = Field(ge=1)
    from_: dict[str, str | None] = Field({}, alias="from")
    gates: tuple[Gate, ...] = ()
    lines: tuple[Annotated[int, Field(ge=1)], ...] = ()
    evidence: Digest | None = None
    cached: bool = False
    errored: ErrorRow | None = None
    skipped: SkippedRow | None = None


class RunDocument(Document):
    """A run's record: what verdict.json leaves out, and what judging it again needs.

    Everything about when and where it was may be missing.
    """

    what = "run.json of a run"
    schema_: Literal["mlgate/run/v1"] = Field("mlgate/run/v1", alias="schema")
    run: str | None = None
    name: str
    file: str = Field(min_length=1)
    spec_digest: Digest
    profile: str | None = None
    confidence: float = Field(gt=0, lt=1)
    left_out: tuple[str, ...] = ()
    changed: tuple[Changed, ...] = ()
    started: str | None = None
    ended: str | None = None
    host: str | None = None
    hardware: dict[str, str] = {}
    policies: Policies | None = None
    mlgate: str | None = None
    python: str | None = None
    stages: tuple[RunStage, ...]

    @field_validator("started", "ended")
    @classmethod
    def _time(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                datetime.fromisoformat(text).astimezone(UTC)
            except OverflowError:
                raise ValueError("no time that there is") from None
        return text


class ResultDocument(Document):
    """What one CI job measured: no verdict, for whoever reads it judges it anew."""

    what = "results/<stage>.json, which travels between CI jobs"
    schema_: Literal["mlgate/result/v1"] = Field("mlgate/result/v1", alias="schema")
    stage: str
    uses: str
    spec: str
    run: str
    key: str
    evidence: Digest | None = None
    cached: bool = False
    errored: ErrorRow | None = None


class RefusalRow(Frozen):
    code: str
    message: str
    hint: str | None


class ArtifactRow(Frozen):
    name: str
    digest: Digest
    known_as: tuple[str, ...]


class FilesRow(Frozen):
    whole: int
    absent: int


class VerificationDocument(Document):
    """Whether exactly these files were approved, and why not."""

    what = "what `mlgate verify --format json` prints"
    schema_: Literal["mlgate/verification/v1"] = Field("mlgate/verification/v1", alias="schema")
    verified: bool
    exit_code: int
    signed: bool
    name: str
    outcome: Word
    verdict: Digest
    profile: str | None
    spec: Literal["same", "other"] | None
    stages: int
    files: FilesRow
    links: int
    artifacts: tuple[ArtifactRow, ...]
    refusals: tuple[RefusalRow, ...]


class PointRow(Frozen):
    """A metric in one run. `left_out` says why a trend does not count it."""

    run: str
    at: str
    stage: str
    labels: Labels
    value: float | None
    low: float | None
    high: float | None
    reason: str | None
    left_out: str | None
    cached: bool


class TrendRow(Frozen):
    """The growth of a metric a week, as a share; or the `reason` why there is none."""

    stage: str
    labels: Labels
    growth_per_week: float | None = None
    low: float | None = None
    high: float | None = None
    runs: int = 0
    days: float = 0.0
    reason: str | None = None


class HistoryDocument(Document):
    """A metric over the stored runs."""

    what = "what `mlgate history --format json` prints"
    schema_: Literal["mlgate/history/v1"] = Field("mlgate/history/v1", alias="schema")
    file: str
    runs_of_other_specs: int
    metric: str
    compared_to: str | None
    confidence: float
    rows: tuple[PointRow, ...]
    trends: tuple[TrendRow, ...]
    gates: tuple[GateResult, ...]
    unreadable: tuple[str, ...]
    outcome: Word | None = None


class Side(Frozen):
    """A measurement in one of two runs."""

    value: float | None
    low: float | None
    high: float | None


class MeasurementChange(Frozen):
    name: str
    before: Side | None
    after: Side | None


class GateChange(Frozen):
    name: str
    before: Word | None
    after: Word | None


class DiffDocument(Document):
    """Two runs side by side: what differs."""

    what = "what `mlgate diff --format json` prints"
    schema_: Literal["mlgate/diff/v1"] = Field("mlgate/diff/v1", alias="schema")
    before: Word
    after: Word
    gates: tuple[GateChange, ...]
    measurements: tuple[MeasurementChange, ...]


class PlanRow(Frozen):
    """A stage of the plan: what it waits for, and `why` it would run, where it is not cached."""

    id: str
    uses: str
    after: tuple[str, ...]
    gates: int
    key: Digest | None
    cached: bool
    why: str | None


class PlanDocument(Document):
    """What would run, and what is cached."""

    what = "what `mlgate plan --format json` prints"
    schema_: Literal["mlgate/plan/v1"] = Field("mlgate/plan/v1", alias="schema")
    name: str
    stages: tuple[PlanRow, ...]


class ProblemRow(Frozen):
    """One thing that is wrong with a spec, and where."""

    code: str
    message: str
    hint: str | None
    file: str
    line: int
    column: int


class ProblemsDocument(Document):
    """What is wrong with a spec, or odd about it."""

    what = "what `mlgate lint --format json` prints"
    schema_: Literal["mlgate/problems/v1"] = Field("mlgate/problems/v1", alias="schema")
    problems: tuple[ProblemRow, ...]
    warnings: tuple[ProblemRow, ...]


class ErrorDocument(Document):
    """Why a command with `--format json` gave no answer."""

    what = "what any command with --format json prints when it has no answer"
    schema_: Literal["mlgate/error/v1"] = Field("mlgate/error/v1", alias="schema")
    exit_code: int
    message: str
    hint: str | None
    problems: tuple[ProblemRow, ...]


class CheckRow(Frozen):
    name: str
    ok: bool
    says: str
    hint: str | None


class DoctorDocument(Document):
    """What this machine can run."""

    what = "what `mlgate doctor --format json` prints"
    schema_: Literal["mlgate/doctor/v1"] = Field("mlgate/doctor/v1", alias="schema")
    checks: tuple[CheckRow, ...]


DOCUMENTS: Final[dict[str, type[Document]]] = {
    "report": ReportDocument,
    "verdict": VerdictDocument,
    "run": RunDocument,
    "result": ResultDocument,
    "verification": VerificationDocument,
    "history": HistoryDocument,
    "diff": DiffDocument,
    "plan": PlanDocument,
    "problems": ProblemsDocument,
    "error": ErrorDocument,
    "doctor": DoctorDocument,
}
