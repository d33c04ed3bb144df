"""The metrics that Great Expectations lacks on pandas, as on the other engines.

Importing this module is what installs the providers.
"""

# GX and its decorators have no types that hold.
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from mlgate.stages.validate.expectations.gx import (
    ColumnMapMetricProvider,
    PandasExecutionEngine,
    column_condition_partial,
)
from mlgate.stages.validate.expectations.text_checks import matches_json_schema, matches_regex


class FrameExecutionEngine(PandasExecutionEngine):
    """GX's engine for pandas, under a name that this module can give providers for."""


class _MatchRegex(ColumnMapMetricProvider):
    """Python's `re`: what pandas itself uses depends on how the text is stored."""

    condition_metric_name = "column_values.match_regex"
    condition_value_keys = ("regex",)

    @column_condition_partial(engine=FrameExecutionEngine)
    def _frame(cls, column: Any, regex: str, **_: Any) -> Any:
        return _found(column, [regex]).all(axis=1)


class _NotMatchRegex(ColumnMapMetricProvider):
    condition_metric_name = "column_values.not_match_regex"
    condition_value_keys = ("regex",)

    @column_condition_partial(engine=FrameExecutionEngine)
    def _frame(cls, column: Any, regex: str, **_: Any) -> Any:
        return ~_found(column, [regex]).any(axis=1)


class _MatchRegexList(ColumnMapMetricProvider):
    condition_metric_name = "column_values.match_regex_list"
    condition_value_keys = ("regex_list", "match_on")
    default_kwarg_values = {"match_on": "any"}

    @column_condition_partial(engine=FrameExecutionEngine)
    def _frame(
        cls, column: Any, regex_list: Sequence[str], match_on: str | None = None, **_: Any
    ) -> Any:
        found = _found(column, regex_list)
        return found.all(axis=1) if match_on == "all" else found.any(axis=1)


class _NotMatchRegexList(ColumnMapMetricProvider):
    condition_metric_name = "column_values.not_match_regex_list"
    condition_value_keys = ("regex_list",)

    @column_condition_partial(engine=FrameExecutionEngine)
    def _frame(cls, column: Any, regex_list: Sequence[str], **_: Any) -> Any:
        return ~_found(column, regex_list).any(axis=1)


def _found(column: Any, patterns: Sequence[str]) -> pd.DataFrame:
    """One boolean column per pattern: is it found anywhere in the value?"""
    if not patterns:
        raise ValueError("regex_list is empty")
    checks = [matches_regex(re.compile(pattern)) for pattern in patterns]
    matches = {i: [check(value) for value in column] for i, check in enumerate(checks)}
    return pd.DataFrame(matches, index=column.index, dtype=bool)


class _MatchLike(ColumnMapMetricProvider):
    condition_metric_name = "column_values.match_like_pattern"
    condition_value_keys = ("like_pattern", "escape")

    @column_condition_partial(engine=FrameExecutionEngine)
    def _frame(cls, column: Any, like_pattern: str, escape: str | None = None, **_: Any) -> Any:
        return _like(column, [like_pattern], escape).all(axis=1)


class _NotMatchLike(ColumnMapMetricProvider):
    condition_metric_name = "column_values.not_match_like_pattern"
    condition_value_keys = ("like_pattern", "escape")

    @column_condition_partial(engine=FrameExecutionEngine)
    def _frame(cls, column: Any, like_pattern: str, escape: str | None = None, **_: Any) -> Any:
        return ~_like(column, [like_pattern], escape).any(axis=1)


class _MatchLikeList(ColumnMapMetricProvider):
    condition_metric_name = "column_values.match_like_pattern_list"
    condition_value_keys = ("like_pattern_list", "match_on", "escape")

    @column_condition_partial(engine=FrameExecutionEngine)
    def _frame(
        cls,
        column: Any,
        like_pattern_list: Sequence[str],
        match_on: str | None = None,
        escape: str | None = None,
        **_: Any,
    ) -> Any:
        found = _like(column, like_pattern_list, escape)
        return found.all(axis=1) if match_on == "all" else found.any(axis=1)


class _NotMatchLikeList(ColumnMapMetricProvider):
    condition_metric_name = "column_values.not_match_like_pattern_list"
    condition_value_keys = ("like_pattern_list", "escape")

    @column_condition_partial(engine=FrameExecutionEngine)
    def _frame(
        cls, column: Any, like_pattern_list: Sequence[str], escape: str | None = None, **_: Any
    ) -> Any:
        return ~_like(column, like_pattern_list, escape).any(axis=1)


def _like(column: Any, patterns: Sequence[str], escape: str | None) -> pd.DataFrame:
    """One boolean column per pattern; `%` is any text, `_` any character, all else itself."""
    if not patterns:
        raise ValueError("like_pattern_list is empty")
    compiled = [re.compile(_as_regex(pattern, escape), re.DOTALL) for pattern in patterns]
    matches = {
        i: [regex.fullmatch(value) is not None for value in column]
        for i, regex in enumerate(compiled)
    }
    return pd.DataFrame(matches, index=column.index, dtype=bool)


def _as_regex(pattern: str, escape: str | None) -> str:
    parts, literal = [], False
    for character in pattern:
        if character == escape and not literal:
            literal = True
            continue
        wild = {"%": ".*", "_": "."}.get(character) if not literal else None
        parts.append(wild or re.escape(character))
        literal = False
    return "".join(parts)


class _MatchJsonSchema(ColumnMapMetricProvider):
    """A value that is not JSON is unexpected; GX itself breaks off there."""

    condition_metric_name = "column_values.match_json_schema"
    condition_value_keys = ("json_schema",)

    @column_condition_partial(engine=FrameExecutionEngine)
    def _frame(cls, column: Any, json_schema: dict[str, Any], **_: Any) -> Any:
        return column.map(matches_json_schema(json_schema)).astype(bool)
