"""Where unexpected values are: the first few rows, in the order of the files.

GX's own lists come in whatever order an engine finds them, so two runs would differ.
"""

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from mlgate.data.table import ROW
from mlgate.stages.validate.expectations.batches import Batch
from mlgate.stages.validate.expectations.gx import MetricConfiguration, get_metric_kwargs
from mlgate.stages.validate.expectations.suites import SuiteEntry

LIMIT: Final = 20
# GX leaves the FROM clause of this condition to the condition itself.
_OWN_FROM: Final = "compound_columns.unique"


@dataclass(frozen=True)
class UnexpectedRows:
    """Zero-based row numbers over all files, before the filter, and columns of these rows."""

    rows: tuple[int, ...]
    values: tuple[tuple[Any, ...], ...]


def unexpected_rows(batch: Batch, entry: SuiteEntry, columns: tuple[str, ...]) -> UnexpectedRows:
    """The first `LIMIT` rows that `entry` does not hold for, with their values of `columns`.

    Empty for expectations about a whole column, and for engines whose rows have no order.
    """
    metric = getattr(entry.expectation, "map_metric", None)
    if not metric:
        return UnexpectedRows((), ())
    match batch.engine:
        case "duckdb":
            return _in_duckdb(batch, entry, metric, columns)
        case "pandas":
            return _in_pandas(batch, entry, metric, columns)
        case "spark" | "sql":
            return UnexpectedRows((), ())


def _in_duckdb(
    batch: Batch, entry: SuiteEntry, metric: str, columns: tuple[str, ...]
) -> UnexpectedRows:
    validator = batch.numbered
    if validator is None:
        return UnexpectedRows((), ())
    engine = validator.execution_engine
    wrong, compute, accessor = validator.get_metric(_metric(f"{metric}.condition", entry))
    number, shown = sa.column(ROW), [sa.column(name) for name in columns]
    marked = sa.select(number, *shown, wrong.label("mlgate wrong"))
    if metric != _OWN_FROM:
        records = engine.get_domain_records({**compute, **accessor})
        marked = marked.select_from(
            records.subquery() if isinstance(records, sa.Select) else records
        )
    # The connection keeps the rows' order, so the first ones end the scan: ORDER BY would read all.
    found = engine.execute_query(
        sa.select(number, *shown)
        .select_from(marked.subquery())
        .where(sa.column("mlgate wrong"))
        .limit(LIMIT)
    ).fetchall()
    found = sorted(found, key=lambda row: row[0])
    return UnexpectedRows(tuple(row[0] for row in found), tuple(tuple(row[1:]) for row in found))


def _in_pandas(
    batch: Batch, entry: SuiteEntry, metric: str, columns: tuple[str, ...]
) -> UnexpectedRows:
    found = batch.validator.get_metric(_metric(f"{metric}.unexpected_index_list", entry))
    rows = [int(label) for label in found or ()][:LIMIT]
    frame = batch.validator.active_batch_data.dataframe
    values = frame.loc[rows, list(columns)].itertuples(index=False, name=None)
    return UnexpectedRows(tuple(rows), tuple(values))


def _metric(name: str, entry: SuiteEntry) -> MetricConfiguration:
    kwargs = get_metric_kwargs(
        name,
        configuration=entry.configuration,
        runtime_configuration={
            "result_format": {"result_format": "SUMMARY", "partial_unexpected_count": LIMIT}
        },
    )
    return MetricConfiguration(name, kwargs["metric_domain_kwargs"], kwargs["metric_value_kwargs"])
