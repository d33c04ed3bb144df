"""A data contract: the columns that readers rely on, and the files it is written in."""

import json
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, NoReturn, Self

import pyarrow as pa
from pydantic import Field, JsonValue, ValidationError, ValidationInfo, field_validator

from mlgate import document
from mlgate.data import arrow_types
from mlgate.errors import MlgateError, StageError
from mlgate.evidence import Frozen
from mlgate.stages.validate.contracts import odcs

SCHEMA: Final = "mlgate/contract/v1"
_LISTED = 20

Value = str | bool | int | float
Problem = tuple[tuple[str | int, ...], str]
"""Where in the document (a path of keys and indices), and what is wrong there."""


@lru_cache(maxsize=4096)
def _parsed(text: str) -> pa.DataType:
    return arrow_types.parse(text)


class Column(Frozen):
    """One column, as its readers rely on it."""

    name: str = Field(min_length=1)
    type: str
    """An Arrow type as `str(pa.DataType)` prints it."""
    required: bool = False
    """Present in every row: no nulls (NaN is null)."""
    unique: bool = False
    enum: tuple[Value, ...] | None = None
    """The only values it may have; in order, where the type is an ordered dictionary."""
    pii: bool = False
    """Personal data: values never leave the machine, not even as quantiles or frequent values."""
    was: tuple[str, ...] = ()
    """Former names."""
    default: JsonValue = None
    """What a reader takes where the column is missing; counts only if it is written."""
    read_by_model: bool = False
    description: str | None = None

    @property
    def arrow(self) -> pa.DataType:
        return _parsed(self.type)

    @property
    def has_default(self) -> bool:
        return "default" in self.model_fields_set

    @field_validator("type")
    @classmethod
    def _known_type(cls, text: str) -> str:
        return str(_parsed(text))

    @field_validator("enum")
    @classmethod
    def _values_of_the_type(
        cls, values: tuple[Value, ...] | None, info: ValidationInfo
    ) -> tuple[Value, ...] | None:
        if values is None or "type" not in info.data:
            return values
        if not values:
            raise ValueError("an enum must have a value")
        if len({(type(v), v) for v in values}) != len(values):
            raise ValueError("a value is given twice")
        fitting = _python_types(_parsed(info.data["type"]))
        wrong = [v for v in values if type(v) not in fitting]
        if wrong:
            raise ValueError(f"{json.dumps(wrong[0])} is not a value of type {info.data['type']}")
        return values


class Contract(Frozen):
    """The columns of a dataset that its readers rely on."""

    schema_id: Literal["mlgate/contract/v1"] = Field(default=SCHEMA, alias="schema")
    name: str = Field(min_length=1)
    version: str = "1"
    description: str | None = None
    columns: tuple[Column, ...]

    @field_validator("columns")
    @classmethod
    def _not_empty(cls, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        if not columns:
            raise ValueError("columns is empty: a contract needs at least one")
        return columns

    def column(self, name: str) -> Column | None:
        return next((c for c in self.columns if c.name == name), None)

    @classmethod
    def from_schema(cls, schema: pa.Schema, *, name: str, version: str = "1") -> Self:
        """A first contract for data that has none: names, types, and required where not nullable.

        Raises `StageError` for a type that cannot be written as text.
        """
        columns = []
        for field in schema:
            type_ = field.type
            try:
                parsed = _parsed(str(type_))
            except ValueError:
                type_ = getattr(type_, "storage_type", None)
                parsed = type_
            if parsed is None or str(parsed) != str(type_):
                raise StageError(
                    f"column {field.name!r}: its type {field.type} cannot be written in a contract",
                    hint="leave the column out, or store it as a plain type",
                )
            columns.append(Column(name=field.name, type=str(type_), required=not field.nullable))
        return cls(name=name, version=version, columns=tuple(columns))

    def text(self) -> str:
        """The contract as it is written to a file: a line for each column."""
        head = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        columns = head.pop("columns")
        head = {"schema": SCHEMA, "name": self.name, "version": self.version} | head
        lines = ",\n".join("    " + json.dumps(c, ensure_ascii=False) for c in columns)
        start = json.dumps(head, ensure_ascii=False, indent=2).rstrip("}\n")
        return f'{start},\n  "columns": [\n{lines}\n  ]\n}}\n'


def load(path: Path, *, table: str | None = None) -> Contract:
    """The contract in a file: `mlgate/contract/v1` as JSON or YAML, or ODCS version 3.

    `table` names the schema object of an ODCS contract that has several. Raises `StageError` with
    every problem found, each as `file:line: what`.
    """
    name = str(path)
    try:
        text = document.read(path, name)
    except MlgateError as error:
        raise StageError(
            error.message, hint=error.hint or "contract: takes mlgate/contract/v1 or ODCS v3"
        ) from None
    if not text.strip():
        raise StageError(f"{name} is empty", hint="a contract needs at least one column")
    value = _plain(text, name, is_json=path.suffix.lower() == ".json")
    in_columns: tuple[str | int, ...] = ("columns",)
    if isinstance(value, dict) and not {"apiVersion", "kind"}.isdisjoint(value):
        value, in_columns, problems = odcs.read(value, table=table)
    else:
        problems = _foreign(value)
    contract, more = (None, []) if problems else _validated(value)
    if contract is None or more:
        moved = [(in_columns + at[1:] if at[:1] == ("columns",) else at, what) for at, what in more]
        _refuse(text, name, problems + moved)
    return contract


def _validated(value: object) -> tuple[Contract | None, list[Problem]]:
    try:
        contract = Contract.model_validate_json(json.dumps(value))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return None, [_problem(d["loc"], d["msg"], d["type"]) for d in details]
    return contract, list(_conflicts(contract))


def _python_types(type_: pa.DataType) -> tuple[type, ...]:
    """What the values of an Arrow type are in JSON; empty where an enum makes no sense."""
    t = pa.types
    if t.is_dictionary(type_) or t.is_run_end_encoded(type_):
        return _python_types(type_.value_type)
    if t.is_boolean(type_):
        return (bool,)
    if t.is_integer(type_):
        return (int,)
    if t.is_floating(type_) or t.is_decimal(type_):
        return (int, float)
    if t.is_string(type_) or t.is_large_string(type_) or t.is_string_view(type_):
        return (str,)
    return ()


def _plain(text: str, name: str, *, is_json: bool) -> object:
    """The document as plain values. JSON is read by the JSON parser: not all of it is YAML."""
    if is_json:
        try:
            return json.loads(text, object_pairs_hook=_no_key_twice)
        except json.JSONDecodeError as error:
            raise StageError(
                f"{name}:{error.lineno}:{error.colno}: not JSON: {error.msg}",
                hint="a missing comma or quote on this line or the one before?",
            ) from None
        except (_Twice, RecursionError) as error:
            raise StageError(f"{name}: {error}", hint="keep one of the two") from None
    node, problems = document.parse(text, name)
    if problems or node is None:
        first = problems[0] if problems else None
        at = f"{first.position}: {first.message}" if first else f"{name}: not YAML"
        raise StageError(at, hint="a contract is a JSON or YAML object with `columns`")
    return document.plain(node)


class _Twice(Exception):
    """A JSON object has one key two times."""


def _no_key_twice(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    twice = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
    if twice:
        raise _Twice(f"the key {twice[0]!r} is given twice in one object")
    return dict(pairs)


def _foreign(value: object) -> list[Problem]:
    """Why a document is no contract at all, or one of another version."""
    if not isinstance(value, dict):
        return [((), "not an object: a contract is {schema, name, version, columns}")]
    found = value.get("schema")
    if found == SCHEMA:
        return []
    if isinstance(found, str) and found.startswith("mlgate/contract/"):
        return [(("schema",), f"{found} is another version of the format; {SCHEMA} is read")]
    return [(("schema",) if found else (), f'no contract: it must say "schema": "{SCHEMA}"')]


def _problem(at: tuple[str | int, ...], message: str, kind: str) -> Problem:
    known = Column.model_fields if at[:1] == ("columns",) else {"schema", *Contract.model_fields}
    match kind:
        case "extra_forbidden":
            near = get_close_matches(str(at[-1]), known, n=1)
            hint = f": did you mean {near[0]!r}?" if near else ""
            return at, f"unknown key {at[-1]!r}{hint}"
        case "missing":
            return at[:-1], f"{at[-1]!r} is missing"
        case "value_error":
            message = message.removeprefix("Value error, ")
            if at[-1:] == ("type",) and "not an Arrow type" in message:
                word = message.split("'")[1]
                near = get_close_matches(word, arrow_types.known_names(), n=1)
                message += f": did you mean {near[0]!r}?" if near else ""
            return at, message
        case _:
            where = ".".join(str(part) for part in at if not isinstance(part, int))
            return at, f"{where}: {message}"


def _conflicts(contract: Contract) -> Iterator[Problem]:
    """What is wrong between columns: names given twice, `was` naming a column that is there."""
    first: dict[str, int] = {}
    former: dict[str, str] = {}
    names = {column.name for column in contract.columns}
    for i, column in enumerate(contract.columns):
        if column.name in first:
            at = ("columns", i, "name")
            yield (
                at,
                f"column {column.name!r} is there twice (first as number {first[column.name]})",
            )
        first.setdefault(column.name, i + 1)
        for name in column.was:
            at = ("columns", i, "was")
            if name in names:
                yield at, f"{column.name!r} was {name!r}, but there still is a column {name!r}"
            elif name in former:
                yield at, f"both {former[name]!r} and {column.name!r} were {name!r}"
            former.setdefault(name, column.name)


def _refuse(text: str, name: str, problems: list[Problem]) -> NoReturn:
    """Raise all problems as one error, each with its line where the document can say it."""
    node, _ = document.parse(text, name)
    lines = []
    for at, what in problems[:_LISTED]:
        position = document.key_position(node, at) if node is not None else None
        lines.append(f"{name}:{position.line}: {what}" if position else f"{name}: {what}")
    if len(problems) > _LISTED:
        lines.append(f"and {len(problems) - _LISTED} more")
    raise StageError("\n".join(lines), hint="columns need a name and an Arrow type, such as int64")
