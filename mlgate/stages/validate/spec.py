"""The `validate` block of mlgate.yaml."""

from typing import Any, Literal

from pydantic import Field, GetJsonSchemaHandler, JsonValue, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mlgate.evidence import Frozen, tuples
from mlgate.stage import DataInput, Dataset, FileInput, Options, ProfileInput, Size, or_just

Engine = Literal["auto", "duckdb", "pandas", "sql", "spark"]
Mode = Literal[
    "backward",
    "forward",
    "full",
    "backward_transitive",
    "forward_transitive",
    "full_transitive",
]


class Expectation(Frozen):
    """One expectation of a Great Expectations suite, written in place."""

    type: str = Field(
        pattern=r"^(expect|unexpected)_[a-z0-9_]+$",
        description="E.g. expect_column_values_to_not_be_null.",
    )
    kwargs: dict[str, JsonValue] = Field(
        {}, description="Its arguments, as Great Expectations has them."
    )
    severity: Literal["critical", "warning", "info"] = Field(
        "critical", description="A label that gates may select by."
    )


class Drift(Frozen):
    """How the distribution of each column is compared with the reference."""

    bins: int = Field(10, ge=2, le=256, description="Bins that PSI and JS are computed over.")
    ignore: tuple[str, ...] = Field((), description="Columns that may drift, e.g. identifiers.")
    unit: str | None = Field(
        None, description="Column whose distinct values, not rows, count as independent samples."
    )


class Contract(Frozen):
    """The schema that readers of the data rely on."""

    file: FileInput = Field(description="mlgate/contract/v1 JSON, or an ODCS YAML file.")
    compatibility: Mode = Field(
        "forward", description="`forward`: what reads the data today must read the new data too."
    )
    previous: tuple[FileInput, ...] = Field(
        (), description="Earlier versions, oldest first: is this version an allowed change?"
    )

    @model_validator(mode="before")
    @classmethod
    def _written_as_a_file(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, dict) and "from" in value):
            value = {"file": value}
        return tuples(value)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return or_just(handler.resolve_ref_schema(handler(schema)), cls, "file")


class Freshness(Frozen):
    """How old the newest row is."""

    column: str = Field(description="Timestamp or date column.")
    timezone: str | None = Field(None, description="Zone of timestamps that carry none.")


class Leakage(Frozen):
    """Which features give the label away."""

    label: str = Field(description="The column to predict.")
    ignore: tuple[str, ...] = Field((), description="Columns that are not features.")


class Validate(Options):
    """Check data before a model meets it: expectations, drift, contract, leakage, freshness."""

    uses: Literal["validate"] = "validate"
    dataset: Dataset = Field(description="The data to check.")
    engine: Engine = Field(
        "auto", description="Where expectations run; auto: duckdb for files, sql for databases."
    )
    memory: Size = Field("1GiB", description="Memory cap of the engine; it spills to disk beyond.")
    min_rows: int = Field(1, ge=1, description="Fewer rows than this is an error.")
    expectations: FileInput | tuple[Expectation, ...] | None = Field(
        None, description="A Great Expectations suite: its JSON file, or a list of expectations."
    )
    values: Literal["redacted", "keys", "raw"] = Field(
        "redacted", description="Which unexpected values may enter evidence and reports."
    )
    reference: ProfileInput | None = Field(
        None, description="Profile or dataset that drift is measured against."
    )
    drift: Drift = Field(default_factory=Drift, description="How drift is measured.")
    contract: Contract | None = Field(None, description="Schema contract of the data.")
    disjoint_from: tuple[DataInput, ...] = Field(
        (), description="Datasets that must share no row with this one, e.g. the hold-out."
    )
    keys: tuple[str, ...] = Field((), description="Columns that identify an entity.")
    freshness: Freshness | None = Field(None, description="Measure the age of the newest row.")
    leakage: Leakage | None = Field(
        None, description="Measure what each feature says of the label."
    )
    skew: str | None = Field(None, description="Column by which the data is partitioned.")
