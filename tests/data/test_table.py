"""Datasets: what is opened, and everything that keeps one from being opened."""

import datetime
import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from mlgate.data.table import ROW, Table, connect, open_table, reading
from mlgate.errors import StageError

NAN = float("nan")
ROWS = pa.table({"a": [1, 2, 3], "b": [1.5, NAN, None], "s": ["x", "y", None]})


@pytest.fixture
def connection(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    return connect(memory=200_000_000, threads=2, spill=tmp_path / "spill")


def rows(table: Table, view: str | None = None) -> list[tuple[object, ...]]:
    return table.connection.execute(f"select * from {view or table.view}").fetchall()


def refused(connection: duckdb.DuckDBPyConnection, location: object, **more: str) -> StageError:
    with pytest.raises(StageError) as caught:
        open_table(connection, str(location), view="t", **more)
    assert caught.value.hint
    return caught.value


def written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".parquet":
            pq.write_table(ROWS, path)
        case ".csv":
            pa.csv.write_csv(ROWS, path)
        case ".jsonl":
            path.write_text('{"a": 1, "b": 1.5, "s": "x"}\n{"a": 2, "s": "y"}\n{"a": 3}\n')
        case ".feather":
            pa.feather.write_feather(ROWS, path)
        case ".arrows":
            with pa.ipc.new_stream(str(path), ROWS.schema) as stream:
                stream.write_table(ROWS)
        case _:
            raise ValueError(path)
    return path


@pytest.mark.parametrize("name", ["r.parquet", "r.csv", "r.jsonl", "r.feather", "r.arrows"])
def test_every_format_gives_the_same_rows(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, name: str
) -> None:
    table = open_table(connection, str(written(tmp_path / name)), view="t")
    assert [(f.name, str(f.type)) for f in table.schema] == [
        ("a", "int64"), ("b", "double"), ("s", "string"),
    ]  # fmt: skip
    assert [r[:2] for r in rows(table)] == [(1, 1.5), (2, None), (3, None)]
    assert table.files == (str(tmp_path / name),)


def test_nan_is_null_but_for_the_raw_view(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    table = open_table(connection, str(written(tmp_path / "r.parquet")), view="t")
    counted = "count(b), count(*) filter (where isnan(b))"
    assert connection.execute(f"select {counted} from {table.view}").fetchone() == (1, 0)
    assert connection.execute(f"select {counted} from {table.raw_view}").fetchone() == (2, 1)


def test_a_filter_sees_nan_as_null_in_every_view(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    table = open_table(connection, str(written(tmp_path / "r.parquet")), view="t", filter="b > 0")
    assert len(rows(table)) == len(rows(table, table.raw_view)) == 1
    others = open_table(connection, str(tmp_path / "r.parquet"), view="u", filter="b is null")
    assert [r[-1] for r in rows(others, others.numbered_view)] == [1, 2]


def test_a_folder_with_partitions(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for day in ("2026-01-02", "2026-01-01"):
        written(tmp_path / "year=1999" / "rows" / f"day={day}" / "part.parquet")
    (tmp_path / "year=1999" / "rows" / "_SUCCESS").write_text("")
    table = open_table(connection, str(tmp_path / "year=1999" / "rows"), view="t")
    assert table.partitions == ("day",)
    assert table.schema.names == ["a", "b", "s", "day"]
    assert rows(table)[0][-1] == datetime.date(2026, 1, 1)
    assert len(rows(table)) == 6


def test_row_numbers_run_over_the_files_in_order(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    for name, first in (("b", 100), ("a", 0)):
        numbers = pa.table({"a": range(first, first + 100)})
        pq.write_table(numbers, tmp_path / f"{name}.parquet", row_group_size=7)
    table = open_table(connection, str(tmp_path / "*.parquet"), view="t", filter="a % 2 = 1")
    assert table.files == (str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet"))
    number = f'select a = "{ROW}" from {table.numbered_view}'
    assert connection.execute(number).fetchall() == [(True,)] * 100
    single = open_table(connection, str(tmp_path / "b.parquet"), view="u")
    assert rows(single, single.numbered_view)[0] == (100, 0)


def test_who_wrote_the_file_does_not_matter(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    for name, type_ in [("a", pa.large_string()), ("b", pa.dictionary(pa.int8(), pa.string()))]:
        pq.write_table(pa.table({"s": pa.array(["x"], type=type_)}), tmp_path / f"{name}.parquet")
    table = open_table(connection, str(tmp_path), view="t")
    assert table.schema.equals(pa.schema([("s", pa.string())]))


def test_urls_go_through_fsspec(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/mlgate/r.parquet", written(tmp_path / "r.parquet").read_bytes())
    for location in ("memory://mlgate/r.parquet", "memory://mlgate/*.parquet", "memory://mlgate"):
        table = open_table(connection, location, view="t")
        assert len(rows(table)) == 3
    assert len(rows(open_table(connection, f"file://{tmp_path}/r.parquet", view="t"))) == 3
    assert "matched no file" in refused(connection, "memory://mlgate/none.csv").message
    assert "nosuch://" in refused(connection, "nosuch://mlgate/r.csv?").message


def test_passwords_stay_out_of_messages(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(StageError) as caught:
        open_table(connection, "nosuch://me:secret@host/r.csv?token=secret", view="t")
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"


class TestNothingToOpen:
    def test_missing(self, connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
        written(tmp_path / "train.parquet")
        error = refused(connection, tmp_path / "trian.parquet")
        assert "does not exist" in error.message
        assert "train.parquet" in str(error.hint)

    def test_glob_without_match(
        self, connection: duckdb.DuckDBPyConnection, tmp_path: Path
    ) -> None:
        assert "matched no file" in refused(connection, tmp_path / "*.parquet").message

    def test_folder_without_data(
        self, connection: duckdb.DuckDBPyConnection, tmp_path: Path
    ) -> None:
        (tmp_path / "notes.txt").write_text("x")
        assert "without data files" in refused(connection, tmp_path).message

    def test_unknown_ending(self, connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
        (tmp_path / "r.xlsx").write_text("x")
        assert "ending" in refused(connection, tmp_path / "r.xlsx").message

    def test_two_formats(self, connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
        written(tmp_path / "r.parquet")
        written(tmp_path / "r.csv")
        assert "two formats" in refused(connection, tmp_path).message

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_no_permission(self, connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
        written(tmp_path / "r.parquet").chmod(0)
        assert "may not be read" in refused(connection, tmp_path / "r.parquet").message


class TestDamaged:
    @pytest.mark.parametrize("name", ["r.parquet", "r.csv", "r.jsonl", "r.feather", "r.arrows"])
    def test_empty(self, connection: duckdb.DuckDBPyConnection, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"")
        assert "empty" in refused(connection, tmp_path / name).message

    @pytest.mark.parametrize("name", ["r.parquet", "r.feather", "r.arrows"])
    def test_cut_short(
        self, connection: duckdb.DuckDBPyConnection, tmp_path: Path, name: str
    ) -> None:
        whole = written(tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        error = refused(connection, tmp_path)
        assert name in error.message
        assert "whole" in error.message

    def test_broken_page(self, connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
        whole = bytearray(written(tmp_path / "r.parquet").read_bytes())
        whole[4:40] = b"\xff" * 36
        (tmp_path / "r.parquet").write_bytes(whole)
        table = open_table(connection, str(tmp_path), view="t")
        with pytest.raises(StageError, match="cannot be read"), reading(table.location):
            rows(table)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("a,b\n1,é\n".encode("latin-1"), "not UTF-8"),
            ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
            (b"a,b\n1,2\n3,4,5\n", "columns of the header"),
            (b"a,a\n1,2\n", "told apart"),
            (b"\n\n", "no header"),
            (b"a,A\n1,2\n", "told apart"),
        ],
    )
    def test_csv(
        self, connection: duckdb.DuckDBPyConnection, tmp_path: Path, content: bytes, message: str
    ) -> None:
        (tmp_path / "r.csv").write_bytes(content)
        assert message in refused(connection, tmp_path / "r.csv").message

    @pytest.mark.parametrize(
        ("content", "message"), [('{"a": 1}\n{"a":\n', "not JSON"), ("[1]\n2\n", "JSON objects")]
    )
    def test_json_lines(
        self, connection: duckdb.DuckDBPyConnection, tmp_path: Path, content: str, message: str
    ) -> None:
        (tmp_path / "r.jsonl").write_text(content)
        assert message in refused(connection, tmp_path / "r.jsonl").message

    def test_messages_do_not_quote_rows(
        self, connection: duckdb.DuckDBPyConnection, tmp_path: Path
    ) -> None:
        (tmp_path / "r.csv").write_text("a,b\n1,secret\n2,secret,secret\n")
        error = refused(connection, tmp_path)
        assert "secret" not in f"{error.message}{error.hint}"

    def test_no_columns(self, connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
        pq.write_table(pa.table({}), tmp_path / "r.parquet")
        refused(connection, tmp_path)


class TestTwoSchemas:
    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (ROWS.drop(["b"]), "without b"),
            (ROWS.append_column("z", pa.nulls(3, pa.int8())), "with z"),
            (ROWS.set_column(0, "a", pa.array([1.0, 2.0, 3.0])), "a (int64 and double)"),
            (ROWS.select(["b", "a", "s"]), "another order"),
        ],
    )
    def test_parquet_names_both_files(
        self, connection: duckdb.DuckDBPyConnection, tmp_path: Path, other: pa.Table, message: str
    ) -> None:
        written(tmp_path / "a.parquet")
        pq.write_table(other, tmp_path / "b.parquet")
        error = refused(connection, tmp_path)
        assert message in error.message
        assert "a.parquet" in error.message
        assert "b.parquet" in error.message

    @pytest.mark.parametrize("ending", ["csv", "jsonl"])
    def test_text(self, connection: duckdb.DuckDBPyConnection, tmp_path: Path, ending: str) -> None:
        texts = {"csv": ("a,b\n1,2\n", "a,c\n1,2\n"), "jsonl": ('{"a":1,"b":2}', '{"a":1,"c":2}')}
        for name, text in zip("xy", texts[ending], strict=True):
            (tmp_path / f"{name}.{ending}").write_text(text)
        assert "without b and with c" in refused(connection, tmp_path).message

    def test_csv_types_are_those_that_hold_all_files(
        self, connection: duckdb.DuckDBPyConnection, tmp_path: Path
    ) -> None:
        (tmp_path / "x.csv").write_text("a\n1\n")
        (tmp_path / "y.csv").write_text("a\n1.5\n")
        assert rows(open_table(connection, str(tmp_path), view="t")) == [(1.0,), (1.5,)]


@pytest.mark.parametrize(
    "text",
    [
        "a in (select 1)",
        "a in (select 1 from read_text('/etc/passwd'))",
        "exists (from '/etc/passwd')",
        "a = 1) union (select 1",
        "a = 1); attach 'x.db'; select (1",
        "a = 1) limit (2",
        "getvariable('x') = 1",
        "current_setting('temp_directory') = ''",
        "json_serialize_plan('select * from read_text(''/etc/passwd'')') is null",
        "now() > timestamp '2026-01-01'",
        "current_date > date '2026-01-01'",
        "random() > 0.5",
        "count(*) > 1",
        "row_number() over () = 1",
        "query('select 1') = 1",
        "system.main.lower(s) = 'x'",
        "#1 = 1",
        "? = 1",
        "a = ",
        "",
        "s > 2 and a",
    ],
)
def test_a_filter_is_one_condition_over_the_columns(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, text: str
) -> None:
    refused(connection, written(tmp_path / "r.parquet"), filter=text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a >= 2", 2),
        ("A between 1 and 2 and lower(s) = 'x'", 1),
        ("s like 'x%' or s in ('y') -- both", 2),
        ("case when a = 1 then true else false end", 1),
        ("cast(a as double) / 2 = 1 and nullif(a, 5) is not null", 1),
        ("a = 1) or (a = 3", 2),
        ("regexp_matches(s, '[xy]') and coalesce(b, 0) = 0", 1),
    ],
)
def test_filters(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, text: str, count: int
) -> None:
    location = str(written(tmp_path / "r.parquet"))
    assert len(rows(open_table(connection, location, view="t", filter=text))) == count


def test_an_unknown_column_in_a_filter(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"country": ["DE"]}), tmp_path / "r.parquet")
    error = refused(connection, tmp_path, filter="contry = 'DE'")
    assert "'contry'" in error.message
    assert error.hint == "did you mean 'country'?"


def test_spilling_stays_in_its_folder(tmp_path: Path) -> None:
    with connect(memory=60_000_000, threads=2, spill=tmp_path / "spill") as connection:
        query = (
            "select count(*) from (select i, md5(i::varchar) m from range(900000) r(i) order by m)"
        )
        assert connection.execute(query).fetchone() == (900_000,)
        settings = "select current_setting('memory_limit'), current_setting('temp_directory')"
        assert connection.execute(settings).fetchone() == ("57.2 MiB", str(tmp_path / "spill"))
        with pytest.raises(duckdb.Error):
            connection.execute("install spatial")
