"""Metrics about text on DuckDB: patterns in SQL, the rest in Python over the distinct values.

Importing this module is what installs the providers.
"""

# GX and its decorators have no types that hold.
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from mlgate.stages.validate.expectations.duckdb_engine import DuckDBExecutionEngine
from mlgate.stages.validate.expectations.duckdb_metrics import Condition, source_of
from mlgate.stages.validate.expectations.gx import ColumnMapMetricProvider, column_condition_partial
from mlgate.stages.validate.expectations.text_checks import (
    is_date,
    is_json,
    matches_format,
    matches_json_schema,
    matches_regex,
)


class _MatchRegex(ColumnMapMetricProvider):
    condition_metric_name = "column_values.match_regex"
    condition_value_keys = ("regex",)

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(cls, column: Any, regex: str, **given: Any) -> Condition:
        return _regex(column, regex, **given)


class _NotMatchRegex(ColumnMapMetricProvider):
    condition_metric_name = "column_values.not_match_regex"
    condition_value_keys = ("regex",)

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(cls, column: Any, regex: str, **given: Any) -> Condition:
        return sa.not_(_regex(column, regex, **given))


class _MatchRegexList(ColumnMapMetricProvider):
    condition_metric_name = "column_values.match_regex_list"
    condition_value_keys = ("regex_list", "match_on")
    default_kwarg_values = {"match_on": "any"}

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls, column: Any, regex_list: Sequence[str], match_on: str | None = None, **given: Any
    ) -> Condition:
        found = [_regex(column, regex, **given) for regex in _some(regex_list, "regex_list")]
        return sa.and_(*found) if match_on == "all" else sa.or_(*found)


class _NotMatchRegexList(ColumnMapMetricProvider):
    condition_metric_name = "column_values.not_match_regex_list"
    condition_value_keys = ("regex_list",)

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(cls, column: Any, regex_list: Sequence[str], **given: Any) -> Condition:
        return sa.and_(
            *(sa.not_(_regex(column, regex, **given)) for regex in _some(regex_list, "regex_list"))
        )


def _regex(
    column: Any, regex: str, *, _execution_engine: DuckDBExecutionEngine, _table: Any, **_: Any
) -> Condition:
    """True where `regex` matches anywhere in the value.

    `regexp_matches`, not `~`: that is a full match in some versions of DuckDB. Its engine (RE2) is
    asked where the pattern means the same to it as to Python: of plain ASCII text, for patterns
    without what the two languages read differently. Else Python looks at the distinct values.
    """
    pattern = re.compile(regex)  # raises re.error when Python refuses it
    if _means_the_same(regex, _execution_engine) and _is_plain(column, _execution_engine, _table):
        return sa.func.regexp_matches(sa.cast(column, sa.VARCHAR), regex)
    return _checked(column, matches_regex(pattern), f"regex {regex}", _execution_engine, _table)


# Literals, classes, groups and repetitions that RE2 and Python read alike in printable ASCII.
_COMMON: Final = re.compile(
    r"""(?: \\[wWdDsSbB] | \\[^A-Za-z0-9] | [^\\\[\](){}*+?]
          | \[\^? (?: \\[wWdDsS] | \\[^A-Za-z0-9] | [^\\\[\]&~|] )+ \]
          | \((?:\?:)? | \)
          | [*+?]\?? | \{\d{1,3}(?:,\d{0,3})?\}\??
        )*""",
    re.VERBOSE,
)


def _means_the_same(regex: str, engine: DuckDBExecutionEngine) -> bool:
    if not regex.isascii() or not _COMMON.fullmatch(regex):
        return False
    try:
        engine.duckdb.execute("select regexp_matches('', ?)", [regex]).fetchone()
    except duckdb.Error:
        return False
    return True


def _is_plain(column: Any, engine: DuckDBExecutionEngine, table: Any) -> bool:
    """Whether all values are printable ASCII: beyond it `\\s`, `\\w` and `$` differ."""
    if not pa.types.is_string(engine.columns[column.name]):
        return True
    text = sa.column(column.name)
    odd = sa.not_(sa.func.regexp_full_match(text, "[ -~]*"))
    query = sa.select(text).select_from(source_of(table)).where(odd).limit(1)
    return not engine.execute_query(query).fetchall()


def _some(values: Sequence[str], what: str) -> Sequence[str]:
    if not values:
        raise ValueError(f"{what} is empty")
    return values


class _MatchLike(ColumnMapMetricProvider):
    condition_metric_name = "column_values.match_like_pattern"
    condition_value_keys = ("like_pattern", "escape")

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls, column: Any, like_pattern: str, escape: str | None = None, **_: Any
    ) -> Condition:
        return column.like(like_pattern, escape=escape)


class _NotMatchLike(ColumnMapMetricProvider):
    condition_metric_name = "column_values.not_match_like_pattern"
    condition_value_keys = ("like_pattern", "escape")

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls, column: Any, like_pattern: str, escape: str | None = None, **_: Any
    ) -> Condition:
        return column.not_like(like_pattern, escape=escape)


class _MatchLikeList(ColumnMapMetricProvider):
    condition_metric_name = "column_values.match_like_pattern_list"
    condition_value_keys = ("like_pattern_list", "match_on", "escape")

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls,
        column: Any,
        like_pattern_list: Sequence[str],
        match_on: str | None = None,
        escape: str | None = None,
        **_: Any,
    ) -> Condition:
        patterns = _some(like_pattern_list, "like_pattern_list")
        found = [column.like(pattern, escape=escape) for pattern in patterns]
        return sa.and_(*found) if match_on == "all" else sa.or_(*found)


class _NotMatchLikeList(ColumnMapMetricProvider):
    condition_metric_name = "column_values.not_match_like_pattern_list"
    condition_value_keys = ("like_pattern_list", "escape")

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls,
        column: Any,
        like_pattern_list: Sequence[str],
        escape: str | None = None,
        **_: Any,
    ) -> Condition:
        patterns = _some(like_pattern_list, "like_pattern_list")
        return sa.and_(*(column.not_like(pattern, escape=escape) for pattern in patterns))


class _MatchFormat(ColumnMapMetricProvider):
    condition_metric_name = "column_values.match_strftime_format"
    condition_value_keys = ("strftime_format",)

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls,
        column: Any,
        strftime_format: str,
        _execution_engine: DuckDBExecutionEngine,
        _table: Any,
        **_: Any,
    ) -> Condition:
        return _checked(
            column,
            matches_format(strftime_format),
            f"format {strftime_format}",
            _execution_engine,
            _table,
        )


class _IsJson(ColumnMapMetricProvider):
    condition_metric_name = "column_values.json_parseable"

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls, column: Any, _execution_engine: DuckDBExecutionEngine, _table: Any, **_: Any
    ) -> Condition:
        return _checked(column, is_json, "json", _execution_engine, _table)


class _MatchJsonSchema(ColumnMapMetricProvider):
    """A value that is not JSON is unexpected; GX on pandas breaks off there."""

    condition_metric_name = "column_values.match_json_schema"
    condition_value_keys = ("json_schema",)

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls,
        column: Any,
        json_schema: dict[str, Any],
        _execution_engine: DuckDBExecutionEngine,
        _table: Any,
        **_: Any,
    ) -> Condition:
        return _checked(
            column,
            matches_json_schema(json_schema),
            f"schema {json_schema}",
            _execution_engine,
            _table,
        )


class _IsDate(ColumnMapMetricProvider):
    condition_metric_name = "column_values.dateutil_parseable"

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls, column: Any, _execution_engine: DuckDBExecutionEngine, _table: Any, **_: Any
    ) -> Condition:
        return _checked(column, is_date, "date", _execution_engine, _table)


def _checked(
    column: Any, holds: Callable[[Any], bool], what: str, engine: DuckDBExecutionEngine, table: Any
) -> Condition:
    """True where `holds(value)`: Python looks at each distinct value once, in batches."""
    value = sa.column(column.name)
    distinct = sa.select(value).select_from(source_of(table)).where(value.is_not(None)).distinct()

    def wrong() -> str:
        values = [
            found
            for batch in engine.batches_of(distinct)
            for found in batch.column(0).to_pylist()
            if not holds(found)
        ]
        return engine.registered(values, engine.columns[column.name])

    return column.not_in(sa.select(engine.once(distinct, what, wrong).c.value))
