"""The rows that expectations run on: one Great Expectations batch per engine, NaN as missing.

No data context, data source or asset of GX is made: a validator needs an execution engine and a
batch, and neither writes files, opens sockets or prints.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
import sqlalchemy as sa

import mlgate.stages.validate.expectations.duckdb_text_metrics  # noqa: F401 - installs its providers
from mlgate.data.table import ROW, Table
from mlgate.errors import MissingPackage, StageError
from mlgate.stages.validate.expectations.duckdb_engine import (
    DuckDBExecutionEngine,
    SqlExecutionEngine,
)
from mlgate.stages.validate.expectations.gx import Batch as GXBatch
from mlgate.stages.validate.expectations.gx import (
    MetricConfiguration,
    SqlAlchemyBatchData,
    Validator,
    quietly,
)
from mlgate.stages.validate.expectations.missing_values import SparkExecutionEngine
from mlgate.stages.validate.expectations.pandas_metrics import FrameExecutionEngine

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Engine = Literal["duckdb", "pandas", "spark", "sql"]

_SPARK_READERS: Final = {"parquet": "parquet", "csv": "csv", "jsonl": "json"}


@dataclass(frozen=True)
class Batch:
    """Rows behind a GX validator."""

    engine: Engine
    validator: Validator
    columns: tuple[str, ...]
    types: Mapping[str, pa.DataType] | None
    """Arrow types of the columns; None for databases, whose types GX compares itself."""
    table: Table | None
    numbered: Validator | None = field(default=None, repr=False)
    """DuckDB only: the same rows with the column `ROW`, to find where unexpected values are."""


def open_batch(table: Table, engine: Literal["auto", "duckdb", "pandas", "spark"]) -> Batch:
    """The rows of `table` for one engine; `auto` is DuckDB. Raises `StageError`."""
    match engine:
        case "auto" | "duckdb":
            return _duckdb(table)
        case "pandas":
            return _pandas(table)
        case "spark":
            return _spark(table)


def _duckdb(table: Table) -> Batch:
    types = {f.name: f.type for f in table.schema}
    made: dict[str, str] = {}
    return Batch(
        engine="duckdb",
        validator=_duckdb_validator(table, table.view, types, made),
        columns=tuple(types),
        types=types,
        table=table,
        numbered=_duckdb_validator(table, table.numbered_view, {**types, ROW: pa.int64()}, made),
    )


def _duckdb_validator(
    table: Table, view: str, types: Mapping[str, pa.DataType], made: dict[str, str]
) -> Validator:
    engine = DuckDBExecutionEngine(table, columns=types, made=made)
    data = SqlAlchemyBatchData(execution_engine=engine, table_name=view, create_temp_table=False)
    return Validator(execution_engine=engine, batches=[GXBatch(data=data)])


def _pandas(table: Table) -> Batch:
    arrow = table.connection.execute(f"select * from {table.numbered_view}").to_arrow_table()
    frame = arrow.to_pandas().set_index(ROW)
    frame.index.name = None
    batch = GXBatch(data=frame)
    types = {f.name: f.type for f in table.schema}
    validator = Validator(execution_engine=FrameExecutionEngine(), batches=[batch])
    return Batch("pandas", validator, tuple(types), types, table)


def has_value(batch: Batch, column: str, selection: Mapping[str, Any]) -> bool:
    """Whether any row that `selection` (GX's `row_condition`) takes has a value in `column`."""
    domain = {"column": column, **selection}
    engine = batch.validator.execution_engine
    if not isinstance(engine, SqlExecutionEngine):
        metric = MetricConfiguration("column_values.nonnull.count", domain)
        return bool(batch.validator.get_metric(metric))
    records = engine.get_domain_records(domain)
    source = records.subquery() if isinstance(records, sa.Select) else records
    value = sa.column(column)
    query = sa.select(value).select_from(source).where(value.is_not(None)).limit(1)
    return bool(engine.execute_query(query).fetchall())


def spark_session() -> "SparkSession":
    """The running Spark session, or a quiet local one. Raises `StageError` without Spark or Java."""
    try:
        from pyspark.sql import SparkSession  # noqa: PLC0415 - optional: only engine `spark`
    except ImportError:
        raise MissingPackage("pyspark") from None
    try:
        session = (
            SparkSession.builder.appName("mlgate")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.sql.session.timeZone", "UTC")
            .getOrCreate()
        )
    except Exception:  # noqa: BLE001 - py4j, Java and Spark each raise their own
        raise StageError(
            "Spark did not start", hint="it needs Java 17 or later: is JAVA_HOME set?"
        ) from None
    context = session.sparkContext
    context.setLogLevel("OFF")
    if context.master.startswith("local") and "PYSPARK_PYTHON" not in os.environ:
        # Spark would start whatever python3 is on the path, which may be of another version.
        context.pythonExec = sys.executable
    return session


def _spark(table: Table) -> Batch:
    reader = _SPARK_READERS.get(table.format)
    if reader is None:
        raise StageError(
            f"{table.location}: Spark does not read {table.format} files",
            hint="use `engine: duckdb`, or write the dataset as Parquet",
        )
    session = spark_session()
    try:
        frame = _spark_frame(session, table, reader)
    except Exception as error:  # noqa: BLE001 - py4j and Spark each raise their own
        raise StageError(
            f"{table.location} cannot be read by Spark ({type(error).__name__})",
            hint="does `engine: duckdb` read it? then its types or its filter are not Spark's",
        ) from None
    engine = SparkExecutionEngine()
    validator = Validator(execution_engine=engine, batches=[GXBatch(data=frame)])
    types = {f.name: f.type for f in table.schema}
    return Batch("spark", validator, tuple(types), types, table)


def _spark_frame(session: "SparkSession", table: Table, reader: str) -> "DataFrame":
    from pyspark.sql import functions as F  # noqa: PLC0415 - optional: only engine `spark`
    from pyspark.sql.pandas.types import from_arrow_schema  # noqa: PLC0415 - the same

    source = session.read
    if table.partitions:
        source = source.option("basePath", table.root)
    if reader == "csv":
        source = source.option("header", "true").option("quote", '"').option("escape", '"')
    if reader != "parquet":
        source = source.schema(from_arrow_schema(table.schema))
    frame = (
        source.format(reader)
        .load(list(table.files))
        .select(*(F.col(quoted_for_spark(f.name)) for f in table.schema))
    )
    floating = [f.name for f in table.schema if pa.types.is_floating(f.type)]
    for name in floating:
        column = F.col(quoted_for_spark(name))
        frame = frame.withColumn(name, F.when(~F.isnan(column), column))
    return frame if table.filter is None else frame.where(table.filter)


def quoted_for_spark(name: str) -> str:
    """`name` as a Spark SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def open_sql(url: str, *, table: str | None = None, query: str | None = None) -> Batch:
    """The rows of a `table` (`name` or `schema.name`) or `query` of the database at `url`.

    GX's own dialects decide what a database can check. Raises `StageError`, without the URL: it may
    hold a password.
    """
    if (table is None) == (query is None):
        raise ValueError("either a table or a query")
    what = f"table {table!r}" if table is not None else "the query"
    try:
        engine = SqlExecutionEngine(engine=_connected(url), create_temp_table=False)
        schema, _, name = (table or "").rpartition(".")
        data = (
            SqlAlchemyBatchData(
                execution_engine=engine,
                table_name=name,
                schema_name=schema or None,
                create_temp_table=False,
            )
            if table is not None
            else SqlAlchemyBatchData(execution_engine=engine, query=query, create_temp_table=False)
        )
        validator = Validator(execution_engine=engine, batches=[GXBatch(data=data)])
        with quietly():
            columns = validator.get_metric(MetricConfiguration("table.columns", {}))
    except (sa.exc.SQLAlchemyError, LookupError, ValueError) as error:
        raise StageError(
            f"{what} cannot be read from the database ({type(error).__name__})",
            hint="is the name right, and may this user read it?",
        ) from None
    if not columns:
        raise StageError(f"{what} has no columns in that database", hint="is the name right?")
    return Batch("sql", validator, tuple(str(c) for c in columns), None, None)


def _connected(url: str) -> sa.Engine:
    try:
        with quietly():
            engine = sa.create_engine(url)
            with engine.connect():
                return engine
    except ModuleNotFoundError as error:
        raise MissingPackage(str(error.name)) from None
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise StageError(
            f"the database cannot be reached ({type(error).__name__})",
            hint="is the URL of the form dialect://user:password@host/database?",
        ) from None
