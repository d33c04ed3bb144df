"""Parameters of a spec: how they are declared, and what text from outside means for them."""

import math
import re
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field

from mlgate import document
from mlgate.errors import UsageError
from mlgate.evidence import Frozen

Value = str | int | float | bool


_DEFAULT_OF_ITS_TYPE: Final[dict[str, Any]] = {
    "if": {"required": ["type"]},
    "then": {
        "allOf": [
            {
                "if": {"properties": {"type": {"const": kind}}},
                "then": {"properties": {"default": {"type": kind}}},
            }
            for kind in ("string", "integer", "number", "boolean")
        ]
    },
    "else": {"properties": {"default": {"type": "string"}}},
}


class Param(Frozen):
    """A value that `--set NAME=VALUE` or `MLGATE_PARAM_NAME` may give."""

    type: Literal["string", "integer", "number", "boolean"] = "string"
    default: Value | None = Field(None, description="Without a default the value must be given.")
    description: str = ""

    model_config = ConfigDict(json_schema_extra=_DEFAULT_OF_ITS_TYPE)


def typed(name: str, text: str, param: Param) -> Value:
    """What a text from the command line or the environment means. Raises `UsageError`."""
    try:
        match param.type:
            case "string":
                return text_of(name, text)
            case "integer" if re.fullmatch(r"[-+]?[0-9]{1,16}", text):
                value: int | float = int(text)
            case "number" if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text, re.ASCII):
                value = float(text)
            case "boolean":
                return {"true": True, "false": False}[text.lower()]
            case _:
                raise ValueError
        if not math.isfinite(value) or (
            isinstance(value, int) and abs(value) > document.MAX_INTEGER
        ):
            raise ValueError
        return value
    except (ValueError, KeyError):
        given = text if len(text) <= 60 else text[:57] + "…"
        raise UsageError(f"parameter {name!r} must be {TYPES[param.type]}, not {given!r}") from None


def text_of(name: str, text: str) -> str:
    """Text from the environment or the command line, which may hold bytes of any encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the value of {name} is not UTF-8", hint="is it text at all?") from None
    return text


def fits(default: Value | None, param: Param) -> bool:
    """Whether a default is of its parameter's own type; none at all always is."""
    match param.type:
        case "string":
            return default is None or isinstance(default, str)
        case "boolean":
            return default is None or isinstance(default, bool)
        case "integer":
            kinds: tuple[type, ...] = (int,)
        case "number":
            kinds = (int, float)
    return default is None or (isinstance(default, kinds) and not isinstance(default, bool))


TYPES: Final = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
}
