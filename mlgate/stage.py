"""What a stage is: its options, what it reads, what it measures, what it makes.

A stage is a frozen value (`Stage`), declared in `mlgate/stages/<name>/__init__.py`. `measure`
touches the world and returns Evidence; everything else about a stage is data or pure.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.config import JsonDict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mlgate.digests import Mark
from mlgate.documents import CheckRow
from mlgate.evidence import Evidence, Frozen, Measured, tuples
from mlgate.figure import Advice, Figure
from mlgate.gate import Gate
from mlgate.pareto import Column, ModelSummary
from mlgate.quantity import BYTES, DURATION, seconds, size


def _is(parse: Callable[[str], object]) -> AfterValidator:
    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def _written(pattern: re.Pattern[str]) -> JsonDict:
    """For editors: the pattern, of a number that is not zero. We say it in better words."""
    return {"pattern": "^(?=[^1-9]*[1-9])" + pattern.pattern.removeprefix("^")}


Duration = Annotated[
    str,
    _is(seconds),
    Field(examples=["90s", "30m", "2h"], json_schema_extra=_written(DURATION)),
]
Size = Annotated[
    str, _is(size), Field(examples=["500MB", "2GiB"], json_schema_extra=_written(BYTES))
]


class EnvironmentName(Frozen):
    """A secret, named by the environment variable that holds it: `{env: NAME}`."""

    env: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Name of the variable.")


class Sql(Frozen):
    """Rows of a database: a table, or a query."""

    url: EnvironmentName = Field(description="Variable that holds the SQLAlchemy URL.")
    table: str | None = Field(None, description="Table to read.")
    query: str | None = Field(None, description="Query to read instead of a table.")

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["table"]}, {"required": ["query"]}]}
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("give either table or query")
        return self


class Input(Frozen):
    """One thing that a stage reads: a file, or what another stage makes.

    Written as a path or URL, or as `{from: stage.output}`. `kind` is what it must be; an output
    of another kind does not fit. Inputs are hashable: `job.inputs[options.model]`.
    """

    kind: ClassVar[str] = "file"

    path: str | None = Field(None, min_length=1)
    from_: str | None = Field(
        None,
        alias="from",
        pattern=r"^[^.\s]+\.[^.\s]+$",
        description="Output of another stage: stage.output",
    )

    @model_validator(mode="before")
    @classmethod
    def _written_as_a_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else tuples(value)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(given is not None for given in self._ways()) != 1:
            raise ValueError("give one of: a path or URL, {from: stage.output}")
        return self

    def _ways(self) -> tuple[object, ...]:
        return (self.path, self.from_)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        written = handler.resolve_ref_schema(handler(schema))
        properties = {k: v for k, v in written.get("properties", {}).items() if k != "path"}
        ways: list[JsonSchemaValue] = [
            {"type": "string", "minLength": 1, "description": "A path or URL."}
        ]
        for key, value in properties.items():
            inner = next((o for o in value.get("anyOf", ()) if o.get("type") != "null"), value)
            if "description" in value:
                inner = {**inner, "description": value["description"]}
            ways.append(
                {
                    "type": "object",
                    "properties": {key: inner},
                    "required": [key],
                    "additionalProperties": False,
                }
            )
        # Keeps the definition's own name, and drops the shape that only Python code writes.
        written.clear()
        written.update({"anyOf": ways, "description": (cls.__doc__ or "").split("\n")[0]})
        return written


class FileInput(Input):
    """Any file."""


class ModelInput(Input):
    """An ONNX model."""

    kind: ClassVar[str] = "model"


class ProfileInput(Input):
    """A stored profile, or a dataset from which one is made."""

    kind: ClassVar[str] = "profile"


class DataInput(Input):
    """Rows: a file, a folder, a pattern, a URL or a database table."""

    kind: ClassVar[str] = "dataset"

    sql: Sql | None = Field(None, description="Rows of a database.")

    def _ways(self) -> tuple[object, ...]:
        return (self.path, self.from_, self.sql)


class Columns(Frozen):
    """Fills a model input from columns of the rows."""

    columns: str | tuple[str, ...] = Field(
        description="A column, a list of columns, or a pattern such as `pixel_*` (in file order)."
    )
    shape: tuple[int, ...] | None = Field(
        None, description="Shape of one row's value, without the batch dimension."
    )
    dtype: str | None = Field(None, description="NumPy dtype; default: the model input's own.")


class Npz(Frozen):
    """Fills a model input from an array of an `.npz` file, batch dimension included."""

    npz: FileInput
    array: str | None = Field(None, description="Name of the array; default: the input's name.")


class Synthetic(Frozen):
    """Fills a model input with made-up numbers, batch dimension included."""

    synthetic: str = Field(pattern="^(normal|uniform|zeros)$")
    shape: tuple[int, ...]
    seed: int = 0


def or_just(written: JsonSchemaValue, cls: type[Frozen], field: str) -> JsonSchemaValue:
    """The schema of a model that may be written as one of its fields alone."""
    whole = dict(written)
    short = {k: v for k, v in whole["properties"][field].items() if k == "$ref"}
    # In place: the definition keeps its name.
    written.clear()
    written.update({"anyOf": [short, whole], "description": (cls.__doc__ or "").split("\n")[0]})
    return written


class Dataset(Frozen):
    """Rows, and how a model reads them. A plain path or URL means just the rows."""

    dataset: DataInput = Field(description="The rows.")
    label: str | None = Field(None, description="Column that holds the truth.")
    inputs: dict[str, Columns | Npz | Synthetic] = Field(
        {}, description="How each model input is filled; default: the column of its name."
    )
    filter: str | None = Field(None, description="SQL condition that keeps rows.")

    @model_validator(mode="before")
    @classmethod
    def _written_as_rows(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, dict) and value and "dataset" not in value):
            value = {"dataset": value}
        return tuples(value)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return or_just(handler.resolve_ref_schema(handler(schema)), cls, "dataset")


class Options(Frozen):
    """What every stage's block of `mlgate.yaml` has."""

    uses: str
    needs: tuple[str, ...] = Field((), description="Stages that must pass first.")
    gates: tuple[Gate, ...] = Field((), description="Conditions; all of them must hold.")
    timeout: Duration = Field("1h", description="A stage that runs longer is stopped: an error.")
    retries: int = Field(0, ge=0, le=10, description="Times to try again after an error.")


O = TypeVar("O", bound=Options)
T = TypeVar("T")


@dataclass(frozen=True)
class Located:
    """Where an input lies: an absolute path, a pattern or a URL, and its content's digest.

    `digest` is None for what has none before it is read (a database). `files` are the local files
    that it consists of, sorted, a model's own file first and then its weights: none for a URL.
    `marks` are theirs while they were digested.
    """

    location: str
    digest: str | None
    files: tuple[Path, ...] = ()
    marks: tuple[tuple[str, Mark], ...] = ()


@dataclass(frozen=True)
class Progress:
    """One line of news from a running stage; `done` of `total` where it can be counted."""

    message: str
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class Job(Generic[O]):
    """One run of one stage: what to do, with what, and where to write.

    `workdir` is empty and private to this run; files named by an output Artifact are made there.
    `confidences` are those of every gate, ascending; `confidence` is that of gates that state none. `gates` are for a stage that measures until
    they are decided. `now` is the run's clock, aware. `seconds` is the time limit.
    `earlier` are files of evidence that this stage found before, where it asks for them.
    """

    stage: str
    options: O
    workdir: Path
    inputs: Mapping[Input, Located] = field(default_factory=dict)
    confidences: tuple[float, ...] = (0.95,)
    confidence: float = 0.95
    now: datetime | None = None
    threads: int = 1
    seconds: float = 3600.0
    tell: Callable[[Progress], None] = lambda _: None
    earlier: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Metric:
    """A metric that a stage can measure, for `lint`, `explain` and the docs.

    `labels` are those that `where` may select by. `compared_to` names the references it can be
    compared with. A name that ends in `.*` stands for every metric with that prefix. `maximum` is the
    largest value there can be: a limit beyond it decides nothing. `better` is the direction in which
    the metric improves, where it has one: a gate that limits that alone protects nothing.
    """

    name: str
    meaning: str
    unit: str = "1"
    labels: tuple[str, ...] = ()
    compared_to: tuple[str, ...] = ()
    maximum: float | None = None
    better: Literal["lower", "higher"] | None = None


@dataclass(frozen=True)
class Grants:
    """What CI has to give a stage beyond a checkout that it may read.

    `identity`: an OIDC token of its own. `packages`: access to the container registry.
    `attestations`: it stores some. `environment`: the protected environment that it runs in, where
    a person may have to approve. A stage with any of them gets it outside of pull requests only.
    """

    identity: bool = False
    packages: Literal["read", "write"] | None = None
    attestations: bool = False
    environment: str | None = None


@dataclass(frozen=True)
class Installs:
    """What a machine has to have before a stage with these options can run.

    `extras` are mlgate's own (`gpu`), `packages` other distributions, `debian` Debian packages
    (`openjdk-17-jre-headless`), `services` what has to run beside it (`docker`).
    """

    extras: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    debian: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage(Generic[O]):
    """A stage, declared: all that the spine knows of it.

    What it measures:
    `metrics` are all of its metrics; `references` what it may compare with (`baseline`), of which
    a metric's `compared_to` names some. `judged` are the ports of inputs that its gates are about;
    others it only reads, to compare with or to calibrate: () where they are about its outputs.
    `outputs` maps each output to its kind (an `Input.kind`); one of kind `image` is the image's
    manifest, and `details["images"]` names the repository that it was pushed to. `best_effort` are
    those of them that are kept for people to look at, and that nobody approved.

    How it runs:
    `packages` are the distributions whose versions are part of the cache key. `exclusive`: it
    measures time, so nothing runs beside it. `hardware`: its evidence holds for this machine's
    hardware only. `adaptive`: it reads its gates to know when to stop. `looks_again`: it is told
    what it found before, as rows that have decided once are not new. `deploys`: it moves traffic,
    so no check runs it: it is promoted. `uncacheable` says why evidence would not keep, if so.
    `conflicts` are what is wrong with options that are each right alone: (path in the block,
    message, hint).

    What it needs: `gpu`; `ci`, what CI has to give it; `installs`, what has to be there; `doctor`
    tells what this machine lacks, beside packages.

    What it shows: `figures` and `advice` are for the report; `summaries` is what it knows of
    models, by the names of `columns`, which the report joins with what other stages know of them.
    """

    uses: str
    summary: str
    options: type[O]
    measure: Callable[[Job[O]], Measured]
    metrics: tuple[Metric, ...]
    judged: tuple[str, ...]
    outputs: Mapping[str, str] = field(default_factory=dict)
    best_effort: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    exclusive: Callable[[O], bool] = lambda _: False
    hardware: bool = False
    adaptive: bool = False
    looks_again: bool = False
    deploys: bool = False
    gpu: Callable[[O], bool] = lambda _: False
    ci: Callable[[O], Grants] = lambda _: Grants()
    installs: Callable[[O], Installs] = lambda _: Installs()
    doctor: Callable[[], Iterator[CheckRow]] = lambda: iter(())
    uncacheable: Callable[[O], str | None] = lambda _: None
    conflicts: Callable[[O], Iterator[tuple[tuple[str | int, ...], str, str | None]]] = lambda _: (
        iter(())
    )
    figures: Callable[[Evidence], tuple[Figure, ...]] = lambda _: ()
    advice: Callable[[Evidence], tuple[Advice, ...]] = lambda _: ()
    columns: tuple[Column, ...] = ()
    summaries: Callable[[Evidence], tuple[ModelSummary, ...]] = lambda _: ()


def inputs_of(options: Options) -> Iterator[tuple[tuple[str | int, ...], Input]]:
    """Every `Input` within a stage's options, and its path there, in the order as declared."""
    return _parts(options, Input, ())


def secrets_of(options: Options) -> tuple[str, ...]:
    """Names of the environment variables that hold a stage's secrets."""
    return tuple(name.env for _, name in _parts(options, EnvironmentName, ()))


def _parts(
    value: object, kind: type[T], path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], T]]:
    """Every value of a kind within a value, outermost first, and where it is."""
    if isinstance(value, kind):
        yield path, value
    if isinstance(value, Frozen):
        for name, info in type(value).model_fields.items():
            item = getattr(value, name)
            if isinstance(item, Frozen | tuple | dict) and item:  # most values are plain
                yield from _parts(item, kind, (*path, info.alias or name))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _parts(item, kind, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _parts(item, kind, (*path, key))
