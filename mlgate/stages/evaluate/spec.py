"""Options of the evaluate stage: whose answers, on which rows, against what."""

from typing import Any, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, JsonValue, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mlgate.evidence import Frozen, tuples
from mlgate.metrics.options import PythonMetric, Task
from mlgate.stage import DataInput, Dataset, Duration, FileInput, ModelInput, Options, Size

Format = Literal["auto", "junit", "promptfoo", "inspect", "lm-eval", "metrics"]


def _or_just(written: JsonSchemaValue, cls: type[Frozen], field: str) -> JsonSchemaValue:
    """The schema of a model that may be written as the value of one of its fields alone."""
    whole = dict(written)
    value = whole["properties"][field]
    short = next((way for way in value.get("anyOf", ()) if way.get("type") != "null"), value)
    # In place: the definition keeps its name.
    written.clear()
    written.update({"anyOf": [short, whole], "description": (cls.__doc__ or "").split("\n")[0]})
    return written


class Rows(Dataset):
    """The rows that decide, and what each of them is."""

    key: str | None = Field(
        None, description="Column that names a row; default: its number, from 0."
    )
    slices: tuple[str, ...] = Field(
        (), description="Columns; every metric is also measured for each of their values."
    )
    group: str | None = Field(
        None,
        description="Column of what is independent, e.g. patient_id: rows of one count as one.",
    )
    query: str | None = Field(None, description="Column of the query that a ranked row belongs to.")


class Predictions(Frozen):
    """Answers in a file: Parquet, CSV or JSON Lines, joined to the rows by `key`."""

    file: DataInput = Field(description="The file.")
    key: str | None = Field(
        None, description="Its column of keys; default: `evaluation.key`, or the row's number."
    )
    answer: str | None = Field(None, description="Column of answers; an empty cell is no answer.")
    scores: str | tuple[str, ...] | dict[str, str] | None = Field(
        None,
        description="Column of the score of the last class, columns in the order of `classes`, "
        "or {class: column}.",
    )


class File(Frozen):
    """An argument that is a file of the project; its content is part of the cache key."""

    file: FileInput = Field(description="Path, from mlgate.yaml.")


class Command(Frozen):
    """A program that answers: rows as JSON Lines on standard input, answers on standard output.

    It runs without a shell, in a process group of its own, and sees no environment variables but
    PATH, HOME, LANG, TZ and those listed.
    """

    run: tuple[str | File, ...] = Field(
        min_length=1, description="Program and arguments; a file of the project: {file: score.py}."
    )
    environment: tuple[str, ...] = Field((), description="Names of variables that it may see.")
    timeout: Duration = Field("10m", description="A run that takes longer is an error.")
    memory: Size = Field("4GiB", description="Address space that it may use.")

    @model_validator(mode="before")
    @classmethod
    def _written_as_a_list(cls, value: Any) -> Any:
        return tuples({"run": value} if isinstance(value, list | tuple) else value)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return _or_just(handler.resolve_ref_schema(handler(schema)), cls, "run")


class Endpoint(Frozen):
    """A served model: rows are posted in batches as {"instances": [{column: value, …}, …]}."""

    url: str = Field(pattern=r"^https?://", description="Where to post.")
    batch_size: int = Field(32, ge=1, le=4096, description="Rows in a request.")
    timeout: Duration = Field("30s", description="A request that takes longer is an error.")


class Answerer(Frozen):
    """Whoever answers: an ONNX model, a file of predictions, a command or a served model.

    A plain path is a model.
    """

    model: ModelInput | None = Field(None, description="An ONNX model.")
    predictions: Predictions | None = Field(None, description="Answers in a file.")
    command: Command | None = Field(None, description="A program that answers.")
    http: Endpoint | None = Field(None, description="A served model.")

    @model_validator(mode="before")
    @classmethod
    def _written_as_a_model(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, dict) and "from" in value):
            value = {"model": value}
        return tuples(value)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(way is not None for way in self.ways()) != 1:
            raise ValueError("give one of: model, predictions, command, http")
        return self

    def ways(self) -> tuple[object, ...]:
        return (self.model, self.predictions, self.command, self.http)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return _or_just(handler.resolve_ref_schema(handler(schema)), cls, "model")


class Results(Frozen):
    """What another tool measured, as it wrote it."""

    file: FileInput = Field(description="The file that the tool wrote.")
    format: Format = Field("auto", description="Who wrote it; auto: what the content says.")
    least_items: int = Field(1, ge=1, description="Fewer items than this are an error.")


class Evaluate(Options):
    """Measure how good answers are, alone or against those of another model on the same rows."""

    uses: Literal["evaluate"] = "evaluate"
    model: ModelInput | None = Field(None, description="The ONNX model to evaluate.")
    predictions: Predictions | None = Field(None, description="Or its answers in a file.")
    command: Command | None = Field(None, description="Or a program that answers.")
    http: Endpoint | None = Field(None, description="Or a served model.")
    results: Results | None = Field(None, description="Or the results of another tool.")
    baseline: Answerer | None = Field(
        None, description="What it is compared to, e.g. the model in production."
    )
    evaluation: Rows | None = Field(None, description="Labelled rows that decide.")

    task: Task = Field("classification", description="What the model does: decides the metrics.")
    output: str | None = Field(None, description="Model output to score; default: the first.")
    classes: tuple[str, ...] = Field((), description="Class names, in the order of the scores.")
    top_k: tuple[int, ...] = Field((), description="Also measure `accuracy.top<k>`, `ndcg` of k.")
    threshold: float = Field(0.5, description="Score of a single-column model that means class 1.")
    abstain_below: float | None = Field(
        None, gt=0, lt=1, description="A best probability below this counts as no answer."
    )
    costs: dict[str, dict[str, float]] = Field(
        {}, description="What an error costs, {truth: {answer: cost}}; measured as `cost`."
    )
    metrics: dict[str, PythonMetric] = Field(
        {}, description="Your own metrics; each is measured as `custom.<name>`."
    )
    missing: Literal["refuse", "abstain"] = Field(
        "refuse", description="Rows without an answer: an error, or counted as no answer."
    )
    show_values: bool = Field(
        False, description="Show labels and answers of flipped items, not their keys alone."
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Rows per inference; recorded.")

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        ways = (self.model, self.predictions, self.command, self.http, self.results)
        if sum(way is not None for way in ways) != 1:
            raise ValueError("give one of: model, predictions, command, http, results")
        if self.results is None and self.evaluation is None:
            raise ValueError("answers need evaluation: the rows that they are answers to")
        return self

    @property
    def candidate(self) -> Answerer:
        """Whose answers are judged."""
        return Answerer(
            model=self.model,
            predictions=self.predictions,
            command=self.command,
            http=self.http,
        )


Record = dict[str, JsonValue]
