"""Comparisons between columns where a value is missing: on every engine as in pandas.

A comparison with a missing value does not hold, so the row is unexpected, unless `ignore_row_if`
takes it out before. GX's own SQL and Spark providers leave such rows uncounted. Importing this
module is what installs the providers.
"""

# GX and its decorators have no types that hold.
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import sqlalchemy as sa

from mlgate.stages.validate.expectations.duckdb_engine import SqlExecutionEngine
from mlgate.stages.validate.expectations.gx import (
    ColumnPairMapMetricProvider,
    MulticolumnMapMetricProvider,
    SparkDFExecutionEngine,
    column_pair_condition_partial,
    multicolumn_condition_partial,
)
from mlgate.stages.validate.expectations.gx import spark_functions as F

_DOMAIN = ("batch_id", "table", "row_condition", "condition_parser", "ignore_row_if")


class SparkExecutionEngine(SparkDFExecutionEngine):
    """GX's engine for Spark, under a name that this module can give providers for."""


class _PairGreater(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.a_greater_than_b"
    condition_domain_keys = (*_DOMAIN, "column_A", "column_B")
    condition_value_keys = ("or_equal",)

    @column_pair_condition_partial(engine=SqlExecutionEngine)
    def _sql(cls, column_A: Any, column_B: Any, or_equal: Any = None, **_: Any) -> Any:
        holds = column_A >= column_B if or_equal else column_A > column_B
        return sa.and_(holds, *_present(column_A, column_B))

    @column_pair_condition_partial(engine=SparkExecutionEngine)
    def _spark_rows(cls, column_A: Any, column_B: Any, or_equal: Any = None, **_: Any) -> Any:
        return _holds(column_A >= column_B if or_equal else column_A > column_B)


class _PairEqual(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.equal"
    condition_domain_keys = (*_DOMAIN, "column_A", "column_B")
    condition_value_keys = ()

    @column_pair_condition_partial(engine=SqlExecutionEngine)
    def _sql(cls, column_A: Any, column_B: Any, **_: Any) -> Any:
        return sa.and_(column_A == column_B, *_present(column_A, column_B))

    @column_pair_condition_partial(engine=SparkExecutionEngine)
    def _spark_rows(cls, column_A: Any, column_B: Any, **_: Any) -> Any:
        return _holds(column_A == column_B)


class _PairInSet(ColumnPairMapMetricProvider):
    """Here a missing value may be named in the set: it is equal to the set's None."""

    condition_metric_name = "column_pair_values.in_set"
    condition_domain_keys = (*_DOMAIN, "column_A", "column_B")
    condition_value_keys = ("value_pairs_set",)

    @column_pair_condition_partial(engine=SqlExecutionEngine)
    def _sql(
        cls,
        column_A: Any,
        column_B: Any,
        value_pairs_set: Sequence[tuple[Any, Any]] | None = None,
        **_: Any,
    ) -> Any:
        if value_pairs_set is None:
            return sa.true()
        pairs = [sa.and_(_is(column_A, a), _is(column_B, b)) for a, b in value_pairs_set]
        return sa.or_(sa.false(), *pairs)


class _SumEqual(MulticolumnMapMetricProvider):
    condition_metric_name = "multicolumn_sum.equal"
    condition_domain_keys = (*_DOMAIN, "column_list")
    condition_value_keys = ("sum_total",)

    @multicolumn_condition_partial(engine=SqlExecutionEngine)
    def _sql(cls, column_list: Sequence[Any], sum_total: float, **_: Any) -> Any:
        return sa.and_(reduce(add, column_list) == sum_total, *_present(*column_list))

    @multicolumn_condition_partial(engine=SparkExecutionEngine)
    def _spark_rows(cls, column_list: Any, sum_total: float, **_: Any) -> Any:
        columns = [F.col(f"`{name}`") for name in column_list.columns]
        return _holds(reduce(add, columns) == F.lit(sum_total))


def _present(*columns: Any) -> list[Any]:
    return [column.is_not(None) for column in columns]


def _is(column: Any, value: Any) -> Any:
    """Never NULL itself, so that its negation counts the row."""
    return column.is_(None) if value is None else sa.and_(column == value, column.is_not(None))


def _holds(condition: Any) -> Any:
    return F.coalesce(condition, F.lit(False))
