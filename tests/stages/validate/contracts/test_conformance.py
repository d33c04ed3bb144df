from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlgate.stages.validate.contracts.compatibility import Change, Mode
from mlgate.stages.validate.contracts.conformance import check_data, check_table, check_values
from mlgate.stages.validate.contracts.contract import Column, Contract
from tests.stages.validate.tables import Tables


def contract(*columns: Column) -> Contract:
    return Contract(name="t", columns=columns)


def breaking(changes: tuple[Change, ...], mode: Mode = "forward") -> list[tuple[str, str]]:
    return [(c.path, c.kind) for c in changes if c.breaking(mode)]


def test_data_that_keep_their_contract() -> None:
    schema = pa.schema(
        [("a", pa.int64()), ("s", pa.string()), ("n", pa.struct([("x", pa.int8())]))]
    )
    given = contract(
        Column(name="a", type="int64", required=True, unique=True, read_by_model=True),
        Column(name="s", type="dictionary<values=string, indices=int8, ordered=1>", enum=("a",)),
        Column(name="n", type="struct<x: int8 not null>", pii=True, default={"x": 1}),
    )
    assert check_data(given, schema) == ()


def test_what_the_schema_breaks() -> None:
    given = contract(
        Column(name="wide", type="int8", read_by_model=True),
        Column(name="gone", type="int8", read_by_model=True),
        Column(name="optional", type="int8"),
        Column(name="needed", type="int8", required=True, was=("old_name",)),
        Column(name="user_id", type="int64", required=True),
        Column(name="e", type="fixed_size_list<item: float>[128]", read_by_model=True),
        Column(name="narrow", type="int64"),
    )
    schema = pa.schema(
        [
            ("wide", pa.int64()),
            ("old_name", pa.int8()),
            ("userid", pa.int64()),
            ("e", pa.list_(pa.float32(), 64)),
            ("narrow", pa.int32()),
            ("new", pa.string()),
        ]
    )
    changes = check_data(given, schema)
    assert breaking(changes) == [
        ("e", "length"),
        ("gone", "dropped"),
        ("needed", "dropped"),
        ("user_id", "dropped"),
        ("wide", "type"),
    ]
    why = {c.path: c.why for c in changes}
    assert "the data has 'old_name' (its former name)" in why["needed"]
    assert "the data has 'userid' (another name?)" in why["user_id"]
    assert why["gone"] == "the model reads it"


def test_data_without_names_are_read_by_position() -> None:
    given = contract(Column(name="a", type="int8"), Column(name="b", type="int8"))
    schema = pa.schema([("b", pa.int8()), ("a", pa.int8())])
    assert breaking(check_data(given, schema)) == []
    assert breaking(check_data(given, schema, named=False)) == [("(columns)", "order")]


GIVEN = contract(
    Column(name="id", type="int64", required=True, unique=True),
    Column(name="x", type="double", required=True),
    Column(name="s", type="string", enum=("a", "b")),
)


def test_what_the_values_break(tmp_path: Path) -> None:
    data = pa.table(
        {
            "id": [1, 1, 2, None, None, 2, 2],
            "x": [0.0, float("nan"), None, 1.0, 1.0, 1.0, 1.0],
            "s": ["a", "b", "c", None, "", "a", "a"],
        }
    )
    with Tables(tmp_path) as tables:
        table = tables.of(data, row_group_size=3)
        found: dict[str, list[str | None]] = {c.path: [] for c in check_values(GIVEN, table)}
        for change in check_values(GIVEN, table):
            found[change.path].append(change.new)
        assert found == {
            "id": ["2 nulls", "3 rows repeat a value"],
            "s": ["2 values outside the enum"],
            "x": ["2 nulls"],
        }
        assert all(c.breaking("backward") for c in check_values(GIVEN, table))
        filtered = tables.at(tmp_path / "0.parquet", where="id = 1")
        assert [c.new for c in check_values(GIVEN, filtered)] == [
            "1 rows repeat a value",
            "1 nulls",
        ]


def test_values_that_keep_it(tmp_path: Path) -> None:
    data = pa.table({"id": [1, 2], "x": [0.0, 1.0], "s": ["a", None]})
    with Tables(tmp_path) as tables:
        assert check_table(GIVEN, tables.of(data)) == ()


def test_nulls_are_counted_without_statistics_too(tmp_path: Path) -> None:
    data = pa.table({"id": [1, None, 3], "x": [0.0, 1.0, 2.0], "s": ["a", "a", "a"]})
    pq.write_table(data, tmp_path / "bare.parquet", write_statistics=False)
    with Tables(tmp_path) as tables:
        (change,) = check_values(GIVEN, tables.at(tmp_path / "bare.parquet"))
        assert (change.path, change.new) == ("id", "1 nulls")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("1,0.5,a\n2,1,b\n", []),
        ("1,1,a\n2,2,b\n", []),  # whole numbers are doubles, too
        ("1.5,1,a\n2,2,b\n", ["1 values do not fit int64"]),
        ("1,zero,a\n2,2,b\n", ["1 values do not fit double"]),
        ("1,1,a\n99999999999999999999,2,b\n", ["1 values do not fit int64"]),
    ],
)
def test_text_files_are_held_to_their_values(
    tmp_path: Path, rows: str, expected: list[str]
) -> None:
    (tmp_path / "d.csv").write_text("id,x,s\n" + rows)
    with Tables(tmp_path) as tables:
        found = check_table(GIVEN, tables.at(tmp_path / "d.csv"))
        assert [c.new for c in found if c.breaking("forward")] == expected


def test_text_files_lack_columns_like_others(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("id,s\n1,a\n")
    with Tables(tmp_path) as tables:
        found = check_table(GIVEN, tables.at(tmp_path / "d.csv"))
        assert breaking(found) == [("x", "dropped")]
