"""Great Expectations on DuckDB: an execution engine of its own.

GX's stock SQLAlchemy engine reads results after it has closed their connection, which DuckDB does
not forgive. This engine lets SQLAlchemy write the SQL and runs it on the connection of a `Table`;
no DuckDB dialect package, connection pool, transaction or reflection is involved.
"""

# GX and its decorators have no types that hold.
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import duckdb
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGDialect, PGIdentifierPreparer, PGTypeCompiler
from sqlalchemy.engine import Engine, IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.pool import NullPool

from mlgate.data.table import Table
from mlgate.stages.validate.expectations.gx import MetricConfiguration, SqlAlchemyExecutionEngine

_NUMBERS: Final = itertools.count()
# GX asks for lists of unexpected values even when nothing is wrong, and takes them in any order.
# They are read in file order, and only when needed, by `unexpected_rows`.
_NOT_ASKED: Final = (".unexpected_values", ".unexpected_index_list", ".unexpected_index_query")


class _Types(PGTypeCompiler):
    """DuckDB's FLOAT has 4 bytes and its bare NUMERIC three decimal places; GX means neither."""

    def visit_FLOAT(self, type_: sa.Float[Any], **kw: Any) -> str:
        return "DOUBLE"

    def visit_NUMERIC(self, type_: sa.Numeric[Any], **kw: Any) -> str:
        return "DOUBLE" if type_.precision is None else super().visit_NUMERIC(type_, **kw)


class _Names(PGIdentifierPreparer):
    """DuckDB reserves words that PostgreSQL does not, such as `at`: every name is quoted."""

    def _requires_quotes(self, value: str) -> bool:
        return True


class DuckDBDialect(PGDialect):
    """How SQLAlchemy writes SQL for DuckDB: as for PostgreSQL, with `/` as true division."""

    name = "duckdb"
    type_compiler_cls = _Types
    preparer = _Names
    div_is_floordiv = False
    supports_statement_cache = True
    supports_native_decimal = True
    paramstyle: ClassVar[str] = "numeric_dollar"

    def __init__(self) -> None:
        super().__init__(paramstyle="numeric_dollar")


class SqlExecutionEngine(SqlAlchemyExecutionEngine):
    """GX's engine for databases, under a name that `sql_metrics` can give providers for."""


class DuckDBExecutionEngine(SqlExecutionEngine):
    """GX metrics on one view of a `Table`. Metrics that this class has no provider for are the
    SQLAlchemy engine's. Errors of DuckDB come out as `duckdb.Error`."""

    def __init__(
        self, table: Table, *, columns: Mapping[str, pa.DataType], made: dict[str, str]
    ) -> None:
        engine = Engine(
            NullPool(_never_connect), DuckDBDialect(), sa.make_url("duckdb://"), echo=False
        )
        super().__init__(engine=engine, create_temp_table=False)
        self.duckdb: duckdb.DuckDBPyConnection = table.connection
        self.columns = dict(columns)
        self.table = table
        self._made = made

    def compiled(self, query: sa.ClauseElement) -> tuple[str, list[Any]]:
        """The SQL text of `query` with `$n` parameters, and their values."""
        compiled = query.compile(
            dialect=self.engine.dialect, compile_kwargs={"render_postcompile": True}
        )
        values = compiled.construct_params()
        return str(compiled), [values[name] for name in compiled.positiontup or ()]

    def execute_query(self, query: sa.ClauseElement) -> IteratorResult[Any]:
        """Run `query`; the whole result is fetched, so it outlives the next query."""
        text, values = self.compiled(query)
        cursor = self.duckdb.execute(text, values)
        names = [column[0] for column in cursor.description or ()]
        return IteratorResult(SimpleResultMetaData(names), iter(cursor.fetchall()))

    execute_query_in_transaction = execute_query

    @contextmanager
    def get_connection(self) -> Iterator[Any]:
        """Refused: GX would use it to reflect, which this engine never needs."""
        raise NotImplementedError("this engine runs queries, it has no SQLAlchemy connection")
        yield  # pragma: no cover - makes this a generator

    def resolve_metrics(
        self,
        metrics_to_resolve: Iterable[MetricConfiguration],
        metrics: dict[Any, Any] | None = None,
        runtime_configuration: dict[str, Any] | None = None,
    ) -> dict[Any, Any]:
        """As GX does, but lists of unexpected values are left empty (see `unexpected_rows`)."""
        asked = list(metrics_to_resolve)
        skipped: dict[Any, list[Any]] = {
            m.id: [] for m in asked if m.metric_name.endswith(_NOT_ASKED)
        }
        found = super().resolve_metrics(
            metrics_to_resolve=[m for m in asked if m.id not in skipped],
            metrics=metrics,
            runtime_configuration=runtime_configuration,
        )
        return {**found, **skipped}

    def batches_of(self, values: sa.Select[Any]) -> Iterator[pa.RecordBatch]:
        """The rows of `values` in Arrow batches, so that memory stays bounded."""
        text, parameters = self.compiled(values)
        yield from self.duckdb.execute(text, parameters).to_arrow_reader(100_000)

    def once(self, query: sa.Select[Any], what: str, make: Callable[[], str]) -> sa.TableClause:
        """The table whose name `make` gives, made once for this `query` and purpose `what`.

        A verdict and the search for its rows need the same table, though on two views.
        """
        text, values = self.compiled(query)
        key = f"{what} {values} {text.replace(self.table.numbered_view, self.table.view)}"
        if key not in self._made:
            self._made[key] = make()
        return sa.table(self._made[key], sa.column("value"))

    def stored(self, query: sa.Select[Any]) -> str:
        """The name of a temporary table with the rows of `query`: one column, `value`."""
        name = f"mlgate_values_{next(_NUMBERS)}"
        text, values = self.compiled(query)
        self.duckdb.execute(f"create temp table {name}(value) as {text}", values)
        return name

    def registered(self, values: Collection[Any], type_: pa.DataType) -> str:
        """The name of a table with one column, `value`, that holds `values`."""
        name = f"mlgate_values_{next(_NUMBERS)}"
        self.duckdb.register(name, pa.table({"value": pa.array(values, type=type_)}))
        return name


def _never_connect() -> Any:
    raise NotImplementedError("the DuckDB engine does not connect through SQLAlchemy")
