"""The metrics that Great Expectations lacks on DuckDB, or computes there with other semantics.

What counts as unexpected follows GX on pandas: a comparison with a missing value does not hold.
GX finds a provider by the name of the metric and of the engine's class, so importing this module
is what installs them.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from mlgate.stages.validate import quantiles
from mlgate.stages.validate.duckdb_engine import DuckDBExecutionEngine
from mlgate.stages.validate.gx import (
    ColumnMapMetricProvider,
    ColumnMedian,
    ColumnQuantileValues,
    MetricDomainTypes,
    MetricPartialFunctionTypes,
    MulticolumnMapMetricProvider,
    TableMetricProvider,
    column_condition_partial,
    metric_partial,
    metric_value,
    multicolumn_condition_partial,
)
from mlgate.stages.validate.table import quoted
from mlgate.stages.validate.text_checks import (
    is_date,
    is_json,
    matches_format,
    matches_json_schema,
    matches_regex,
)

Condition = sa.ColumnElement[bool]


class _ColumnTypes(TableMetricProvider):
    """Names and Arrow types of the columns, as the table knows them: nothing is reflected."""

    metric_name = "table.column_types"
    value_keys = ("include_nested",)

    @metric_value(engine=DuckDBExecutionEngine)
    def _duckdb(cls, execution_engine: DuckDBExecutionEngine, **_: Any) -> list[dict[str, Any]]:
        return [{"name": n, "type": t} for n, t in execution_engine.columns.items()]


class _Between(ColumnMapMetricProvider):
    """Text compares with text only, in the order of code points; GX's SQL refuses text at all."""

    condition_metric_name = "column_values.between"
    condition_value_keys = ("min_value", "max_value", "strict_min", "strict_max")

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls,
        column: Any,
        min_value: Any = None,
        max_value: Any = None,
        strict_min: bool | None = None,
        strict_max: bool | None = None,
        **given: Any,
    ) -> Condition:
        type_ = given["_execution_engine"].columns[column.name]
        bounds = [bound for bound in (min_value, max_value) if bound is not None]
        if len(bounds) == 2 and min_value > max_value:
            raise ValueError("min_value is greater than max_value")
        for bound in bounds:
            text = isinstance(bound, str)
            if text != pa.types.is_string(type_) and (not text or _is_number(type_)):
                raise TypeError(f"a column of {type_} is compared with a {type(bound).__name__}")
        conditions = []
        if min_value is not None:
            conditions.append(column > min_value if strict_min else column >= min_value)
        if max_value is not None:
            conditions.append(column < max_value if strict_max else column <= max_value)
        return sa.and_(*conditions)


class _InSet(ColumnMapMetricProvider):
    """DuckDB would cast '1' to match the number 1; a value of another kind is in no set."""

    condition_metric_name = "column_values.in_set"
    condition_value_keys = ("value_set",)

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls, column: Any, value_set: Any, _execution_engine: DuckDBExecutionEngine, **_: Any
    ) -> Condition:
        if value_set is None:
            return sa.true()
        return column.in_(_comparable(_execution_engine.columns[column.name], value_set))


class _NotInSet(ColumnMapMetricProvider):
    condition_metric_name = "column_values.not_in_set"
    condition_value_keys = ("value_set",)

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls, column: Any, value_set: Any, _execution_engine: DuckDBExecutionEngine, **_: Any
    ) -> Condition:
        values = _comparable(_execution_engine.columns[column.name], value_set or ())
        return column.not_in(values) if values else sa.true()


def _comparable(type_: pa.DataType, values: Sequence[Any]) -> list[Any]:
    if pa.types.is_string(type_):
        return [v for v in values if isinstance(v, str)]
    if pa.types.is_boolean(type_) or _is_number(type_):
        return [v for v in values if v is not None and not isinstance(v, str) and v == v]
    return [v for v in values if v is not None]


def _is_number(type_: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_integer(type_) or t.is_floating(type_) or t.is_decimal(type_))


class _Unique(ColumnMapMetricProvider):
    """A hash aggregate that keeps the repeated values only; GX's window keeps every row."""

    condition_metric_name = "column_values.unique"

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(cls, column: Any, _table: Any, **_: Any) -> Condition:
        value = sa.column(column.name)
        repeated = (
            sa.select(value)
            .select_from(_from(_table))
            .where(value.is_not(None))
            .group_by(value)
            .having(sa.func.count() > 1)
        )
        return column.not_in(repeated)


class _CompoundUnique(MulticolumnMapMetricProvider):
    """The same for several columns; missing values are equal to one another, as in pandas."""

    condition_metric_name = "compound_columns.unique"
    condition_domain_keys = (
        "batch_id", "table", "column_list", "row_condition", "condition_parser", "ignore_row_if",
    )  # fmt: skip

    @multicolumn_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls, column_list: Any, _table: Any, _metrics: dict[str, Any], **_: Any
    ) -> Condition:
        # For this metric GX leaves out the FROM clause, so the columns bring their own.
        names = [c.name for c in column_list]
        everything = [sa.column(name) for name in _metrics["table.columns"]]
        rows = sa.select(*everything).select_from(_from(_table)).subquery("records")
        values = [sa.column(name) for name in names]
        repeated = (
            sa.select(sa.func.row(*values))
            .select_from(_from(_table))
            .group_by(*values)
            .having(sa.func.count() > 1)
        )
        return sa.func.row(*(rows.c[name] for name in names)).not_in(repeated)


def _from(table: Any) -> Any:
    return table.subquery() if isinstance(table, sa.Select) else table


class _InOrder(ColumnMapMetricProvider):
    """Each value against the one before it, in the order of the files; missing values are left out.

    `lag` over an empty window streams the rows in their order: nothing is sorted or kept.
    """

    @classmethod
    def ordered(
        cls,
        engine: DuckDBExecutionEngine,
        domain: dict[str, Any],
        wrong: Callable[[Any, Any], Condition],
    ) -> tuple[Condition, dict[str, Any], dict[str, Any]]:
        domain = engine.add_column_row_condition(domain, filter_null=True)
        _, compute, accessor = engine.get_compute_domain(domain, MetricDomainTypes.COLUMN)
        value = sa.column(accessor["column"])
        before = sa.func.lag(value).over()
        return sa.func.coalesce(wrong(value, before), sa.false()), compute, accessor


class _Increasing(_InOrder):
    condition_metric_name = "column_values.increasing"
    condition_value_keys = ("strictly",)
    default_kwarg_values = {"strictly": False}  # noqa: RUF012 - GX declares it this way

    @metric_partial(
        engine=DuckDBExecutionEngine,
        partial_fn_type=MetricPartialFunctionTypes.WINDOW_CONDITION_FN,
        domain_type=MetricDomainTypes.COLUMN,
    )
    def _duckdb(
        cls,
        execution_engine: DuckDBExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> tuple[Condition, dict[str, Any], dict[str, Any]]:
        strictly = metric_value_kwargs.get("strictly")
        return cls.ordered(
            execution_engine,
            metric_domain_kwargs,
            lambda value, before: value <= before if strictly else value < before,
        )


class _Decreasing(_InOrder):
    condition_metric_name = "column_values.decreasing"
    condition_value_keys = ("strictly",)
    default_kwarg_values = {"strictly": False}  # noqa: RUF012 - GX declares it this way

    @metric_partial(
        engine=DuckDBExecutionEngine,
        partial_fn_type=MetricPartialFunctionTypes.WINDOW_CONDITION_FN,
        domain_type=MetricDomainTypes.COLUMN,
    )
    def _duckdb(
        cls,
        execution_engine: DuckDBExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> tuple[Condition, dict[str, Any], dict[str, Any]]:
        strictly = metric_value_kwargs.get("strictly")
        return cls.ordered(
            execution_engine,
            metric_domain_kwargs,
            lambda value, before: value >= before if strictly else value > before,
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
    default_kwarg_values = {"match_on": "any"}  # noqa: RUF012 - GX declares it this way

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

    `regexp_matches`, not `~`: that is a full match in some versions of DuckDB. What its engine
    (RE2) refuses, look-around and back-references, is matched by Python over the distinct values.
    """
    try:
        _execution_engine.duckdb.execute("select regexp_matches('', ?)", [regex]).fetchone()
    except duckdb.Error:
        pattern = re.compile(regex)  # raises re.error when Python refuses it as well
        return _checked(column, matches_regex(pattern), _execution_engine, _table)
    return sa.func.regexp_matches(sa.cast(column, sa.VARCHAR), regex)


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
        return _checked(column, matches_format(strftime_format), _execution_engine, _table)


class _IsJson(ColumnMapMetricProvider):
    condition_metric_name = "column_values.json_parseable"

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls, column: Any, _execution_engine: DuckDBExecutionEngine, _table: Any, **_: Any
    ) -> Condition:
        return _checked(column, is_json, _execution_engine, _table)


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
        return _checked(column, matches_json_schema(json_schema), _execution_engine, _table)


class _IsDate(ColumnMapMetricProvider):
    condition_metric_name = "column_values.dateutil_parseable"

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls, column: Any, _execution_engine: DuckDBExecutionEngine, _table: Any, **_: Any
    ) -> Condition:
        return _checked(column, is_date, _execution_engine, _table)


def _checked(
    column: Any, holds: Callable[[Any], bool], engine: DuckDBExecutionEngine, table: Any
) -> Condition:
    """True where `holds(value)`: Python looks at each distinct value once, in batches."""
    value = sa.column(column.name)
    distinct = sa.select(value).select_from(_from(table)).where(value.is_not(None)).distinct()
    wrong = [
        found
        for batch in engine.batches_of(distinct)
        for found in batch.column(0).to_pylist()
        if not holds(found)
    ]
    if not wrong:
        return sa.true()
    values = engine.register(wrong, engine.columns[column.name])
    return column.not_in(sa.select(values.c.value))


class _Quantiles(ColumnQuantileValues):  # type: ignore[misc]
    """`percentile_disc`, within the memory limit (see `quantiles`)."""

    @metric_value(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls,
        execution_engine: DuckDBExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> list[Any]:
        source = _source(execution_engine, metric_domain_kwargs)
        shares = metric_value_kwargs["quantiles"]
        found = quantiles.quantiles(execution_engine.duckdb, source, shares)
        return [None] * len(shares) if found is None else found


class _Median(ColumnMedian):  # type: ignore[misc]
    """The middle value, or the mean of the two middle ones."""

    @metric_value(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls,
        execution_engine: DuckDBExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metrics: dict[str, Any],
        **_: Any,
    ) -> Any:
        count = metrics["column_values.nonnull.count"]
        middle = ((count + 1) // 2, count // 2 + 1)
        source = _source(execution_engine, metric_domain_kwargs)
        found = quantiles.of_ranks(execution_engine.duckdb, source, middle)
        if found is None:
            return None
        low, high = found[middle[0]], found[middle[1]]
        return low if low == high else low + (high - low) / 2


def _source(engine: DuckDBExecutionEngine, domain: dict[str, Any]) -> quantiles.Source:
    table, _, accessor = engine.get_compute_domain(domain, MetricDomainTypes.COLUMN)
    name = accessor["column"]
    text, parameters = engine.compiled(sa.select(sa.column(name)).select_from(_from(table)))
    return quantiles.Source(quoted(name), engine.columns[name], f"({text})", tuple(parameters))
