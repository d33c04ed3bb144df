"""The metrics that Great Expectations lacks on DuckDB, or computes there with other semantics.

What counts as unexpected follows GX on pandas: a comparison with a missing value does not hold.
GX finds a provider by the name of the metric and of the engine's class, so importing this module
is what installs them.
"""

# GX and its decorators have no types that hold.
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from mlgate.data.table import quoted
from mlgate.stages.validate.expectations import quantiles
from mlgate.stages.validate.expectations.duckdb_engine import DuckDBExecutionEngine
from mlgate.stages.validate.expectations.gx import (
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

Condition = Any
"""What SQLAlchemy builds; its own types are too narrow for columns without a known type."""


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
        return [v for v in values if v is not None and not isinstance(v, str) and not math.isnan(v)]
    return [v for v in values if v is not None]


def _is_number(type_: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_integer(type_) or t.is_floating(type_) or t.is_decimal(type_))


class _Unique(ColumnMapMetricProvider):
    """A hash aggregate that keeps the repeated values only; GX's window keeps every row."""

    condition_metric_name = "column_values.unique"

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls, column: Any, _table: Any, _execution_engine: DuckDBExecutionEngine, **_: Any
    ) -> Condition:
        value = sa.column(column.name)
        query = (
            sa.select(value)
            .select_from(source_of(_table))
            .where(value.is_not(None))
            .group_by(value)
            .having(sa.func.count() > 1)
        )
        repeated = _execution_engine.once(
            query, "repeated", lambda: _execution_engine.stored(query)
        )
        return column.not_in(sa.select(repeated.c.value))


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
        rows = sa.select(*everything).select_from(source_of(_table)).subquery("records")
        values = [sa.column(name) for name in names]
        repeated = (
            sa.select(sa.func.row(*values))
            .select_from(source_of(_table))
            .group_by(*values)
            .having(sa.func.count() > 1)
        )
        return sa.func.row(*(rows.c[name] for name in names)).not_in(repeated)


def source_of(table: Any) -> Any:
    """What GX gives as the table, in a form that can stand after FROM."""
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
    default_kwarg_values = {"strictly": False}

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
    default_kwarg_values = {"strictly": False}

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


class _Quantiles(ColumnQuantileValues):
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


class _Median(ColumnMedian):
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
        middle_value = low if low == high else low + (high - low) / 2
        # Great Expectations makes a float of the bound: 0.20 is not below 0.2.
        return float(middle_value) if isinstance(middle_value, Decimal) else middle_value


def _source(engine: DuckDBExecutionEngine, domain: dict[str, Any]) -> quantiles.Source:
    table, _, accessor = engine.get_compute_domain(domain, MetricDomainTypes.COLUMN)
    name = accessor["column"]
    text, parameters = engine.compiled(sa.select(sa.column(name)).select_from(source_of(table)))
    return quantiles.Source(quoted(name), engine.columns[name], f"({text})", tuple(parameters))
