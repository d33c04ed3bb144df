"""What pydantic complains of, as problems that people can act on: a code, a place, a hint.

pydantic names what a model wanted; a reader of mlgate.yaml wants to know what they wrote, where, and
what they may have meant.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mlgate import document
from mlgate.errors import Problem
from mlgate.stage import Input


def own_items(node: document.Mapping) -> dict[str, document.Node]:
    """The items of a map that mean something here: without `x-…` keys."""
    return {key: value for key, value in node.items.items() if not key.startswith("x-")}


def explained(
    errors: list[ErrorDetails],
    model: type[BaseModel],
    root: document.Node,
    prefix: tuple[str | int, ...],
) -> list[Problem]:
    """pydantic's errors of the block at `prefix`, each once, as problems with places."""
    found: list[Problem] = []
    node = document.find(root, prefix)
    told: list[tuple[str | int, ...]] = []
    # A union reports every member's complaint: the deepest one meant what was written, and
    # a key that some member knows is the last thing to complain of.
    places = [(_written(node, error["loc"]), _misplaced(error, model)) for error in errors]
    order = sorted(range(len(errors)), key=lambda i: (-len(places[i][0]), places[i][1]))
    for error, (path, misplaced) in ((errors[i], places[i]) for i in order):
        beyond = error["loc"][len(path) :]
        of_union = len(beyond) > (error["type"] == "missing" or beyond == ("[key]",))
        around = path[:-1] if misplaced else path
        if of_union and any(other[: len(around)] == around for other in told):
            continue
        if error["type"] == "too_short" and any(
            len(other) > len(path) and other[: len(path)] == path for other in told
        ):
            continue  # items that are wrong are not counted: nobody wrote too few
        told.append(path)
        found.append(_problem(error, model, node, root, prefix))
    return found


def validated(model: type[BaseModel], value: document.Plain) -> Any:
    """The validated model, or pydantic's list of errors.

    Validation is of JSON, in strict mode: what the JSON Schema accepts is what this accepts.
    """
    try:
        return model.model_validate_json(json.dumps(value))
    except ValidationError as error:
        return error.errors(include_url=False)


def unwritable(
    node: document.Node, here: set[Any], path: tuple[str | int, ...]
) -> Iterator[Problem]:
    """What the models take from Python code and nobody may write: a key without a value (a
    question that was meant to be asked), and `path:` where a path stands for itself.
    """
    if isinstance(node, document.Scalar) and node.value is None and type(None) in here:
        hint = "give it one, or leave the key out"
        yield Problem("MG105", f"{path[-1]} has no value", node.position, hint)
    if isinstance(node, document.Sequence):
        for index, item in enumerate(node.items):
            inner = {m for annotation in here for m in _inner(annotation, index)}
            yield from unwritable(item, inner, (*path, index))
    if isinstance(node, document.Mapping):
        for key, item in own_items(node).items():
            inner = {m for annotation in here for m in _inner(annotation, key)}
            if not inner:  # a map that stands for one of its own fields: dataset: {sql: …}
                fields = [f.annotation for model in _models(here) for f in _fields(model)]
                within = {m for annotation in fields for m in _members(annotation)}
                inner = {m for annotation in within for m in _inner(annotation, key)}
                here = here | within
            if key == "path" and any(issubclass(model, Input) for model in _models(here)):
                hint = "write the path itself"
                yield Problem("MG104", "unknown key 'path'", node.keys[key], hint)
            yield from unwritable(item, inner, (*path, key))


def _models(annotations: set[Any]) -> list[type[BaseModel]]:
    return [a for a in annotations if isinstance(a, type) and issubclass(a, BaseModel)]


def _fields(model: type[BaseModel]) -> Iterable[FieldInfo]:
    return model.model_fields.values()


def _misplaced(error: ErrorDetails, model: type[BaseModel]) -> bool:
    """Whether a key is unknown to one member of a union, and known to another."""
    loc = error["loc"]
    return error["type"] == "extra_forbidden" and str(loc[-1]) in _fields_at(model, loc[:-1])


def _written(node: document.Node, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The parts of `loc` that are in the document; the others name a union's members."""
    path = []
    for part in loc:
        inner = document.find(node, (part,))
        if inner is not node:
            node = inner
            path.append(part)
    return tuple(path)


def _problem(
    error: ErrorDetails,
    model: type[BaseModel],
    node: document.Node,
    root: document.Node,
    prefix: tuple[str | int, ...],
) -> Problem:
    loc = error["loc"]
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    key = str(loc[-1]) if loc else ""
    at = document.find(node, loc).position
    match error["type"]:
        case "extra_forbidden":
            at = document.key_position(root, (*prefix, *loc))
            known = _fields_at(model, loc[:-1])
            if key in known:
                return Problem("MG107", f"{key!r} does not go with the other keys here", at)
            hint = near(key, known) or f"known keys: {', '.join(sorted(known))}"
            return Problem("MG104", f"unknown key {key!r}", at, hint)
        case "missing":
            parent = loc[:-1]
            at = document.key_position(root, (*prefix, *parent)) if prefix or parent else at
            return Problem("MG105", f"{key} is missing", at)
        case "literal_error" | "enum":
            expected = error.get("ctx", {}).get("expected", "")
            choices = re.findall(r"'([^']*)'", str(expected)) or [str(expected)]
            given = document.plain(document.find(node, loc))
            hint = _choice(str(given), choices)
            return Problem("MG107", f"{_field(loc)}{given!r} is not known", at, hint)
        case "union_tag_invalid":
            name, tag = str(error["ctx"]["discriminator"]).strip("'"), str(error["ctx"]["tag"])
            choices = re.findall(r"'([^']*)'", str(error["ctx"]["expected_tags"]))
            at = document.find(node, (*loc, name)).position
            hint = near(tag, choices) or f"one of: {', '.join(choices)}"
            return Problem("MG107", f"{name}: {tag!r} is not known", at, hint)
        case "union_tag_not_found":
            name = str(error["ctx"]["discriminator"]).strip("'")
            return Problem("MG105", f"{name} is missing", at)
        case "too_short":
            least, there = error["ctx"]["min_length"], error["ctx"]["actual_length"]
            said = f"{_field(loc)}at least {least} must be here, not {there}"
            return Problem("MG107", said, at)
        case "string_pattern_mismatch" if key == "from":
            return Problem("MG107", "from: write STAGE.OUTPUT, for example int8.model", at)
        case "string_pattern_mismatch" if loc and loc[-1] == "[key]":
            at = document.key_position(root, (*prefix, *loc[:-1]))
            hint = "letters, digits, - and _, beginning with a letter"
            return Problem("MG107", f"{loc[-2]!r} cannot be a name here", at, hint)
        case "value_error" | "assertion_error":
            return Problem("MG107", message, at)
        case kind if kind.endswith("_type") or kind in ("is_instance_of", "int_from_float"):
            value = document.plain(document.find(node, loc))
            given = "nothing" if value is None else f"{_short(value)}"
            return Problem("MG106", f"{_field(loc)}{_lower(message)}, not {given}", at)
        case _:
            return Problem("MG107", f"{_field(loc)}{_lower(message)}", at)


def _field(loc: tuple[str | int, ...]) -> str:
    types = ("str", "int", "float", "bool")
    names = [part for part in loc if isinstance(part, str) and re.fullmatch(r"[a-z_]+", part)]
    names = [name for name in names if name not in types]
    return f"{names[-1]}: " if names else ""


def _lower(message: str) -> str:
    return re.sub(r"^(Input|String|Value) should", "should", message)


def _short(value: document.Plain) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def in_order(problems: Iterable[Problem], file: str) -> tuple[Problem, ...]:
    """As they stand in the files: first those of `file`, then those of what it extends."""

    def place(problem: Problem) -> tuple[bool, str, int, int]:
        at = problem.position
        return (at.file != file, at.file, at.line, at.column)

    return tuple(sorted(problems, key=place))


def _choice(word: str, choices: Sequence[str]) -> str:
    """Which of a few choices was meant.

    One letter makes another word of a short one (gpu is no misspelt cpu): then all are listed.
    """
    begun = [choice for choice in choices if choice.startswith(word)]
    if len(word) > 3 or begun:
        close = near(word, choices)
        if close is not None:
            return close
    return f"one of: {', '.join(choices)}"


def near(word: str, known: Iterable[str]) -> str | None:
    """A hint that names the closest known word, if one is close."""
    match = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {match[0]!r}?" if match else None


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> set[str]:
    """The keys that may stand at `loc` within a model's document."""
    here: set[Any] = {model}
    for part in loc:
        tagged = {one for one in _models(here) if part in _tags(one)} if len(here) > 1 else None
        inner: set[Any] = set()
        for annotation in here:
            inner |= _inner(annotation, part)
        here = tagged or inner or here
    return {
        info.alias or name
        for annotation in here
        if isinstance(annotation, type) and issubclass(annotation, BaseModel)
        for name, info in annotation.model_fields.items()
    } - {"path"}


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    """Values by which a union knows this member: those of fields that can have one only."""
    choices = [
        get_args(f.annotation) for f in _fields(model) if get_origin(f.annotation) is Literal
    ]
    return tuple(str(values[0]) for values in choices if len(values) == 1)


def _inner(annotation: Any, part: str | int) -> set[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, info in annotation.model_fields.items():
            if part == (info.alias or name):
                return _members(info.annotation)
        return set()
    if get_origin(annotation) in (tuple, list, dict) and not (
        get_origin(annotation) is not dict and isinstance(part, str)
    ):
        return _members(get_args(annotation)[1 if get_origin(annotation) is dict else 0])
    return set()


def _members(annotation: Any) -> set[Any]:
    if get_origin(annotation) in (Union, UnionType):
        return {m for arg in get_args(annotation) for m in _members(arg)}
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    return {annotation}
