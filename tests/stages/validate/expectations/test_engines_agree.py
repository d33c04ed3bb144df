"""One suite, the same answers: DuckDB, pandas, databases and Spark."""

import random
import sqlite3
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgate.data.table import connect, open_table
from mlgate.stages.validate.expectations.batches import open_batch, open_sql, spark_session
from mlgate.stages.validate.expectations.outcomes import ExpectationResult, run_suite
from mlgate.stages.validate.expectations.suites import load_suite
from tests.stages.validate.expectations import gx_cases

# What databases and Spark have no means for: an order of rows, and checks in Python.
ONLY_FILES = {
    "expect_column_values_to_be_dateutil_parseable",
    "expect_column_values_to_be_decreasing",
    "expect_column_values_to_be_increasing",
    "expect_column_values_to_match_json_schema",
}
NO_LIKE = {
    "expect_column_values_to_match_like_pattern",
    "expect_column_values_to_match_like_pattern_list",
    "expect_column_values_to_not_match_like_pattern",
    "expect_column_values_to_not_match_like_pattern_list",
}


def answers(
    written: list[gx_cases.Written], location: str, spill: Path, *engines: str
) -> list[tuple[ExpectationResult, ...]]:
    suite = load_suite(written)
    with connect(memory=None, threads=2, spill=spill) as connection:
        table = open_table(connection, location, view="data")
        return [
            run_suite(suite, open_batch(table, engine), values="raw")  # type: ignore[arg-type]
            for engine in engines
        ]


def verdict(one: ExpectationResult) -> tuple[object, ...]:
    return one.type, one.kwargs, one.outcome, one.unexpected_count


def whole(one: ExpectationResult) -> tuple[object, ...]:
    return *verdict(one), one.element_count, one.missing_count or 0, one.rows, one.values


def test_54_cases_on_duckdb_and_pandas(tmp_path: Path) -> None:
    location = gx_cases.write(tmp_path, gx_cases.table())
    duckdb, pandas = answers(gx_cases.CASES, location, tmp_path, "duckdb", "pandas")
    assert len(duckdb) == 54
    assert [verdict(one) for one in duckdb] == [verdict(one) for one in pandas]
    assert "error" not in {one.outcome for one in duckdb}
    assert {one.outcome for one in duckdb} == {"pass", "fail"}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_random_frames_and_suites(seed: int) -> None:
    choose = random.Random(seed)
    rows, suite = gx_cases.random_table(choose), gx_cases.random_suite(choose)
    with tempfile.TemporaryDirectory() as folder:
        location = gx_cases.write(Path(folder), rows)
        duckdb, pandas = answers(suite, location, Path(folder), "duckdb", "pandas")
    for one, other in zip(duckdb, pandas, strict=True):
        assert whole(one) == whole(other), (one.message, other.message)


def test_row_numbers_follow_the_files_under_a_filter(tmp_path: Path) -> None:
    location = gx_cases.write(tmp_path, gx_cases.table())
    suite = load_suite([gx_cases.case("column_values_to_be_increasing", column="inc")])
    with connect(memory=None, threads=2, spill=tmp_path) as connection:
        table = open_table(connection, location, view="data", filter="i >= 10 and i <> 19")
        found = [run_suite(suite, open_batch(table, e))[0] for e in ("duckdb", "pandas")]
    assert [one.rows for one in found] == [(20,), (20,)]


def test_sqlite_agrees_where_it_can_answer(tmp_path: Path) -> None:
    rows = gx_cases.table()
    database = tmp_path / "rows.db"
    connection = sqlite3.connect(database)
    rows.to_pandas().to_sql("rows", connection, index=False)
    connection.close()
    location = gx_cases.write(tmp_path, rows)
    (duckdb,) = answers(gx_cases.CASES, location, tmp_path, "duckdb")
    sql = run_suite(load_suite(gx_cases.CASES), open_sql(f"sqlite:///{database}", table="rows"))
    unlike = {
        one.type
        for one, other in zip(duckdb, sql, strict=True)
        if other.outcome != "error" and verdict(one) != verdict(other)
    }
    # A database has its own names for types; that is not a difference in the data.
    assert unlike == {
        "expect_column_values_to_be_of_type",
        "expect_column_values_to_be_in_type_list",
    }
    assert {one.type for one in sql if one.outcome == "error"} == {
        *ONLY_FILES,
        "expect_column_values_to_be_json_parseable",
        "expect_column_values_to_match_strftime_format",
    }


@pytest.mark.spark
@pytest.mark.slow
def test_sparks_own_python_is_this_one() -> None:
    assert spark_session().sparkContext.pythonExec == sys.executable


@pytest.mark.spark
@pytest.mark.slow
def test_spark_agrees(tmp_path: Path) -> None:
    location = gx_cases.write(tmp_path, gx_cases.table())
    duckdb, spark = answers(gx_cases.CASES, location, tmp_path, "duckdb", "spark")
    pairs = list(zip(duckdb, spark, strict=True))
    assert {b.type for _, b in pairs if b.outcome == "error"} == {*ONLY_FILES, *NO_LIKE}
    assert [b.message for a, b in pairs if b.outcome != "error" and verdict(a) != verdict(b)] == []


def test_missing_values_in_comparisons_count_on_databases_too(tmp_path: Path) -> None:
    rows = pa.table({"a": [2, None, 1, None], "b": [1, 1, None, None]})
    database = tmp_path / "rows.db"
    connection = sqlite3.connect(database)
    rows.to_pandas().to_sql("rows", connection, index=False)
    connection.close()
    written = [
        gx_cases.case("column_pair_values_a_to_be_greater_than_b", column_A="a", column_B="b"),
        gx_cases.case("multicolumn_sum_to_equal", column_list=["a", "b"], sum_total=3),
        gx_cases.case("column_pair_values_to_be_in_set", column_A="a", column_B="b",
                      value_pairs_set=[[2, 1], [None, 1]]),
    ]  # fmt: skip
    found = answers(written, gx_cases.write(tmp_path, rows), tmp_path, "duckdb", "pandas")
    found.append(run_suite(load_suite(written), open_sql(f"sqlite:///{database}", table="rows")))
    assert [[one.unexpected_count for one in engine] for engine in found] == [[2, 2, 1]] * 3
