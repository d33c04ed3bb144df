"""Checks of one value that no SQL engine makes as Great Expectations does on pandas."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import jsonschema
from dateutil import parser as dateutil

Check = Callable[[Any], bool]


def matches_regex(pattern: re.Pattern[str]) -> Check:
    """Whether `pattern` is found anywhere in the value as text."""
    return lambda value: pattern.search(str(value)) is not None


def is_json(value: Any) -> bool:
    """Whether Python's `json` reads the text."""
    try:
        json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def matches_json_schema(schema: dict[str, Any]) -> Check:
    """Whether the text is JSON that fits `schema`; raises `jsonschema.SchemaError` for a bad one."""
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    validator = kind(schema)

    def check(value: Any) -> bool:
        try:
            return bool(validator.is_valid(json.loads(value)))
        except (TypeError, ValueError, RecursionError):
            return False

    return check


def is_date(value: Any) -> bool:
    """Whether dateutil reads the text as a date; raises `TypeError` for what is not text."""
    if not isinstance(value, str):
        raise TypeError("the column must hold text; a column of dates needs no such check")
    try:
        dateutil.parse(value)
    except (ValueError, OverflowError):
        return False
    return True


def matches_format(strftime_format: str) -> Check:
    """Whether `datetime.strptime` reads the text; raises `TypeError` for what is not text."""

    def check(value: Any) -> bool:
        if not isinstance(value, str):
            raise TypeError("the column must hold text; a column of dates needs no such check")
        try:
            datetime.strptime(value, strftime_format)  # noqa: DTZ007 - only whether it can be read
        except ValueError:
            return False
        return True

    return check
