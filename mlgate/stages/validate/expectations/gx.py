"""The one door to Great Expectations (GX): imported fast, silent and offline.

Everything of GX that this stage uses is imported here and nowhere else. scipy.stats and altair
take 40 % of GX's import time and are used by two expectations; they stay lazy. GX's own log
messages quote values of the data, so its loggers are shut.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import io
import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import ModuleType
from typing import Final

_LAZY: Final = ("altair", "scipy.stats")


class _LazyFinder(importlib.abc.MetaPathFinder):
    """Loads the modules of `_LAZY` when something in them is first used."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _LAZY:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


@contextmanager
def _lazily() -> Iterator[None]:
    finder = _LazyFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@contextmanager
def _without_sockets() -> Iterator[None]:
    """urllib3, which GX imports, binds a socket to learn of IPv6; a local check opens none."""
    known = socket.has_ipv6
    socket.has_ipv6 = False
    try:
        yield
    finally:
        socket.has_ipv6 = known
        tried = sys.modules.get("urllib3.util.connection")
        if tried is not None:
            vars(tried)["HAS_IPV6"] = known


os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
logging.getLogger("great_expectations").setLevel(logging.CRITICAL + 1)

with _lazily(), _without_sockets():
    import great_expectations
    from great_expectations.compatibility.pyspark import functions as spark_functions
    from great_expectations.core.batch import Batch
    from great_expectations.core.metric_domain_types import MetricDomainTypes
    from great_expectations.core.metric_function_types import MetricPartialFunctionTypes
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.execution_engine import (
        ExecutionEngine,
        PandasExecutionEngine,
        SparkDFExecutionEngine,
        SqlAlchemyExecutionEngine,
    )
    from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
    from great_expectations.expectations.expectation import (
        ColumnMapExpectation,
        ColumnPairMapExpectation,
        Expectation,
        MulticolumnMapExpectation,
    )
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.metrics.column_aggregate_metrics.column_median import (
        ColumnMedian,
    )
    from great_expectations.expectations.metrics.column_aggregate_metrics.column_quantile_values import (
        ColumnQuantileValues,
    )
    from great_expectations.expectations.metrics.map_metric_provider import (
        ColumnMapMetricProvider,
        ColumnPairMapMetricProvider,
        MulticolumnMapMetricProvider,
        column_condition_partial,
        column_pair_condition_partial,
        multicolumn_condition_partial,
    )
    from great_expectations.expectations.metrics.metric_provider import (
        metric_partial,
        metric_value,
    )
    from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        get_metric_kwargs,
        list_registered_expectation_implementations,
    )
    from great_expectations.validator.metric_configuration import MetricConfiguration
    from great_expectations.validator.validator import Validator


@contextmanager
def quietly() -> Iterator[None]:
    """No progress bars, no warnings: GX writes them to whatever stderr is at that moment."""
    with (
        redirect_stderr(io.StringIO()),
        redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


__all__ = [
    "Batch",
    "ColumnMapExpectation",
    "ColumnMapMetricProvider",
    "ColumnMedian",
    "ColumnPairMapExpectation",
    "ColumnPairMapMetricProvider",
    "ColumnQuantileValues",
    "ExecutionEngine",
    "Expectation",
    "ExpectationConfiguration",
    "GreatExpectationsError",
    "MetricConfiguration",
    "MetricDomainTypes",
    "MetricPartialFunctionTypes",
    "MulticolumnMapExpectation",
    "MulticolumnMapMetricProvider",
    "PandasExecutionEngine",
    "SparkDFExecutionEngine",
    "SqlAlchemyBatchData",
    "SqlAlchemyExecutionEngine",
    "TableMetricProvider",
    "Validator",
    "column_condition_partial",
    "column_pair_condition_partial",
    "get_expectation_impl",
    "get_metric_kwargs",
    "great_expectations",
    "list_registered_expectation_implementations",
    "metric_partial",
    "metric_value",
    "multicolumn_condition_partial",
    "quietly",
    "spark_functions",
]
