"""Ways in which a suite could pass without a check, and what is said instead."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlgate.data.table import connect, open_table
from mlgate.errors import StageError
from mlgate.stages.validate.expectations.batches import Batch, open_batch, open_sql
from mlgate.stages.validate.expectations.outcomes import ExpectationResult, run_suite
from mlgate.stages.validate.expectations.plain_values import plain
from mlgate.stages.validate.expectations.suites import load_suite
from tests.stages.validate.expectations.gx_cases import case

ROWS = pa.table(
    {
        "id": [1, 2, 2, 4],
        "age": [30.0, float("nan"), None, 200.0],
        "name": ["ann", "bob", "bob", None],
        "empty": pa.nulls(4, pa.string()),
    }
)


@pytest.fixture
def connection(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    return connect(memory=None, threads=2, spill=tmp_path / "spill")


@pytest.fixture(params=["duckdb", "pandas"])
def batch(
    request: pytest.FixtureRequest, connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> Batch:
    pq.write_table(ROWS, tmp_path / "rows.parquet")
    table = open_table(connection, str(tmp_path / "rows.parquet"), view="data")
    return open_batch(table, request.param)


def one(batch: Batch, name: str, **kwargs: Any) -> ExpectationResult:
    (result,) = run_suite(load_suite([case(name, **kwargs)]), batch)
    return result


def test_nan_is_missing(batch: Batch) -> None:
    found = one(batch, "column_values_to_be_between", column="age", max_value=250)
    assert (found.outcome, found.element_count, found.missing_count) == ("pass", 4, 2)
    assert one(batch, "column_mean_to_be_between", column="age", min_value=0).observed == 115.0


@pytest.mark.parametrize(
    "case_",
    [
        case("column_values_to_be_unique", column="empty"),
        case("column_values_to_match_regex", column="empty", regex="a"),
        case("column_values_to_be_in_set", column="empty", value_set=["a"]),
        case("column_value_lengths_to_be_between", column="empty", min_value=1),
        case("column_distinct_values_to_be_in_set", column="empty", value_set=["a"]),
        case("column_unique_value_count_to_be_between", column="empty", max_value=4),
        case("column_max_to_be_between", column="empty", max_value=4),
        case("column_pair_values_to_be_equal", column_A="empty", column_B="name"),
        case("compound_columns_to_be_unique", column_list=["id", "empty"]),
    ],
)
def test_a_column_without_values_is_an_error(batch: Batch, case_: dict[str, Any]) -> None:
    (found,) = run_suite(load_suite([case_]), batch)
    assert (found.outcome, found.rows, found.values) == ("error", (), ())


@pytest.mark.parametrize(
    ("case_", "outcome"),
    [
        (case("column_values_to_be_null", column="empty"), "pass"),
        (case("column_values_to_not_be_null", column="empty"), "fail"),
        (case("column_to_exist", column="empty"), "pass"),
        (case("column_to_exist", column="none"), "fail"),
        (case("column_values_to_be_of_type", column="empty", type_="VARCHAR"), "pass"),
        (case("column_proportion_of_non_null_values_to_be_between", column="empty", max_value=0.5),
         "pass"),
    ],
)  # fmt: skip
def test_what_a_column_without_values_can_answer(
    batch: Batch, case_: dict[str, Any], outcome: str
) -> None:
    assert run_suite(load_suite([case_]), batch)[0].outcome == outcome


def test_a_row_condition_that_selects_nothing_is_an_error(batch: Batch) -> None:
    where = {"row_condition": 'col("id") > 99', "condition_parser": "great_expectations"}
    for name, limit in (
        ("column_values_to_be_between", {"max_value": 1}),
        ("column_mean_to_be_between", {"max_value": 1}),
        ("column_values_to_not_be_null", {}),
    ):
        assert one(batch, name, column="age", **limit, **where).outcome == "error"


def test_a_missing_column_is_told_once(batch: Batch) -> None:
    suite = load_suite(
        [
            case("column_values_to_not_be_null", column="nmae"),
            case("column_values_to_be_unique", column="nmae"),
            case("column_values_to_be_unique", column="name"),
            case("column_pair_values_to_be_equal", column_A="id", column_B="ID"),
        ]
    )
    found = run_suite(suite, batch)
    assert [f.outcome for f in found] == ["error", "error", "fail", "error"]
    assert "did you mean 'name'?" in found[0].message
    assert "see expectation 1" in found[1].message
    assert "did you mean 'id'?" in found[3].message


def test_results_come_in_the_order_of_the_suite_with_their_own_severity(batch: Batch) -> None:
    written = [
        case("column_values_to_be_unique", column="name") | {"severity": "warning"},
        case("column_mean_to_be_between", column="name", max_value=1),  # raises: text has no mean
        case("column_values_to_be_unique", column="id") | {"severity": "info"},
        case("column_values_to_not_be_null", column="id"),
    ]
    found = run_suite(load_suite(written), batch)
    assert [(f.index, f.outcome) for f in found] == [
        (0, "fail"), (1, "error"), (2, "fail"), (3, "pass"),
    ]  # fmt: skip
    assert [f.severity for f in found] == ["warning", "critical", "info", "critical"]


def test_one_exception_does_not_spoil_the_others(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    pq.write_table(ROWS, tmp_path / "rows.parquet")
    batch = open_batch(open_table(connection, str(tmp_path), view="data"), "duckdb")
    written = [
        case("column_values_to_be_between", column="age", max_value=100),
        # DuckDB refuses this comparison when the query is bundled with the others.
        case("column_value_lengths_to_equal", column="id", value=1),
        case("column_values_to_be_unique", column="id"),
    ]
    found = run_suite(load_suite(written), batch)
    assert [f.outcome for f in found] == ["fail", "error", "fail"]


def test_rows_and_values(batch: Batch) -> None:
    suite = load_suite([case("column_values_to_be_unique", column="name")])
    shown = {
        v: run_suite(suite, batch, values=v, keys=["id"])[0] for v in ("redacted", "keys", "raw")
    }
    assert {v: f.rows for v, f in shown.items()} == dict.fromkeys(shown, (1, 2))
    assert {v: f.values for v, f in shown.items()} == {
        "redacted": (), "keys": (2, 2), "raw": ("bob", "bob"),
    }  # fmt: skip
    assert shown["redacted"].message == (
        "name: column values to be unique: 2 of 3 unexpected (66.6667%), none allowed"
    )
    with pytest.raises(StageError, match="'idd' is not there"):
        run_suite(suite, batch, values="keys", keys=["idd"])


def test_redacted_results_hold_no_value_of_a_row(batch: Batch) -> None:
    written = [
        case("column_distinct_values_to_be_in_set", column="name", value_set=["x"]),
        case("column_most_common_value_to_be_in_set", column="name", value_set=["x"]),
        case("column_values_to_match_regex", column="name", regex="^x"),
        case("column_values_to_match_strftime_format", column="name", strftime_format="%Y"),
        case("column_values_to_be_dateutil_parseable", column="name"),
        case("column_sum_to_be_between", column="name", min_value=0),
    ]
    found = run_suite(load_suite(written), batch)
    assert "bob" not in repr(found)
    assert "bob" in repr(run_suite(load_suite(written), batch, values="raw"))


def test_too_few_rows(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    pq.write_table(ROWS, tmp_path / "rows.parquet")
    suite = load_suite([case("column_to_exist", column="id")])
    for engine in ("duckdb", "pandas"):
        none = open_table(connection, str(tmp_path), view="none", filter="id > 99")
        with pytest.raises(StageError, match="has no rows"):
            run_suite(suite, open_batch(none, engine))
        four = open_table(connection, str(tmp_path), view="four")
        with pytest.raises(StageError, match="has 4 rows, and at least 5"):
            run_suite(suite, open_batch(four, engine), min_rows=5)


def test_what_only_some_engines_can_do(batch: Batch, tmp_path: Path) -> None:
    query = {"unexpected_rows_query": "select * from {batch} where id > 3"}
    written = [
        {"type": "unexpected_rows_expectation", "kwargs": query},
        case("column_values_to_be_increasing", column="id"),
    ]
    found = run_suite(load_suite(written), batch)
    assert [f.outcome for f in found] == ["error", "pass"]
    database = f"sqlite:///{tmp_path / 'rows.db'}"
    with pytest.raises(StageError, match="table 'rows' cannot be read"):
        open_sql(database, table="rows")


def test_databases(tmp_path: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(tmp_path / "rows.db")
    ROWS.to_pandas().to_sql("rows", connection, index=False)
    connection.close()
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    written = [
        case("column_values_to_be_unique", column="id"),
        case("column_values_to_be_increasing", column="id"),
        case("column_values_to_be_unique", column="empty"),
    ]
    for batch in (open_sql(url, table="rows"), open_sql(url, query="select * from rows")):
        found = run_suite(load_suite(written), batch)
        assert [f.outcome for f in found] == ["fail", "error", "error"]
        assert "have no order" in found[1].message


def test_an_unreachable_database_keeps_its_password(tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        open_sql(f"sqlite:///{tmp_path}/none/secret.db?x=secret", table="t")
    assert "secret" not in f"{caught.value.message}{caught.value.hint}"


def test_more_rows_than_memory(tmp_path: Path) -> None:
    with connect(memory=80_000_000, threads=2, spill=tmp_path / "spill") as connection:
        connection.execute(
            "copy (select i as id, hash(i) / 1e9 as x, md5(i::varchar) as s from range(1000000) r(i))"
            f" to '{tmp_path}/rows.parquet'"
        )
        written = [
            case("column_values_to_be_unique", column="id"),
            case("column_values_to_be_increasing", column="id", strictly=True),
            case("column_median_to_be_between", column="x", min_value=0),
            case("column_quantile_values_to_be_between", column="x", quantile_ranges={
                "quantiles": [0.01, 0.99], "value_ranges": [[0, None], [0, None]]}),
        ]  # fmt: skip
        batch = open_batch(open_table(connection, f"{tmp_path}/rows.parquet", view="data"), "auto")
        assert [f.outcome for f in run_suite(load_suite(written), batch)] == ["pass"] * 4


def test_results_are_the_same_bytes_each_time(batch: Batch) -> None:
    suite = load_suite([case("column_mean_to_be_between", column="id", max_value=2),
                        case("column_values_to_be_unique", column="id")])  # fmt: skip
    runs = {json.dumps([vars(f) for f in run_suite(suite, batch, values="raw")]) for _ in range(3)}
    assert len(runs) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (math.inf, "inf"),
        (0.1 + 0.2, 0.3),
        (2**60, str(2**60)),
        (True, True),
        (b"\x01", "01"),
        ({"b": 1, "a": (1.0, None)}, {"a": [1.0, None], "b": 1}),
    ],
)
def test_plain(value: object, expected: object) -> None:
    assert plain(value) == expected


QUIET = """
import sys
calls = []
watched = {"socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"}
sys.addaudithook(lambda event, args: calls.append(event) if event in watched else None)
from pathlib import Path
from mlgate.stages.validate.expectations.batches import open_batch
from mlgate.stages.validate.expectations.outcomes import run_suite
from mlgate.stages.validate.expectations.suites import load_suite
from mlgate.data.table import connect, open_table
from tests.stages.validate.expectations.gx_cases import CASES, SHARES
written = [one for one in CASES if "kl_divergence" not in one["type"]]
with connect(memory=None, threads=2, spill=Path(sys.argv[1])) as connection:
    table = open_table(connection, sys.argv[1], view="data")
    found = run_suite(load_suite(written), open_batch(table, "duckdb"))
assert len(found) == 52, len(found)
assert not calls, calls
assert "altair.vegalite" not in sys.modules and "scipy.stats._stats_py" not in sys.modules
"""


def test_a_run_prints_nothing_opens_no_socket_and_loads_neither_scipy_nor_altair(
    tmp_path: Path,
) -> None:
    from tests.stages.validate.expectations import gx_cases

    gx_cases.write(tmp_path, gx_cases.table())
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", QUIET, str(tmp_path)],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
