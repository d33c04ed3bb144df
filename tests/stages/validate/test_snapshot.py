import datetime as dt
import decimal
import hashlib
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate.data import row_digest
from mlgate.stages.validate.snapshot import snapshot
from tests.stages.validate.tables import Tables

DATA = pa.table({"a": [1, 2, 3, 4], "s": ["x", "y", None, "z"], "f": [0.5, 1.5, 2.5, float("nan")]})


def of(tmp_path: Path, location: Path, **options: bool) -> dict[str, Any]:
    with Tables(tmp_path) as tables:
        return snapshot(tables.at(location), **options)


def test_the_manifest_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(DATA, path, row_group_size=2)
    found = of(tmp_path, path)
    (entry,) = found["files"]
    assert entry["path"] == "."
    assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (entry["size"], entry["rows"], len(entry["row_groups"])) == (path.stat().st_size, 4, 2)
    assert found == of(tmp_path, path)


def test_the_same_file_elsewhere_is_the_same_dataset(tmp_path: Path) -> None:
    pq.write_table(DATA, tmp_path / "d.parquet")
    (tmp_path / "other.parquet").write_bytes((tmp_path / "d.parquet").read_bytes())
    one, other = (of(tmp_path, tmp_path / n)["dataset"] for n in ("d.parquet", "other.parquet"))
    assert one == other


def test_only_the_new_row_groups_differ_after_an_append(tmp_path: Path) -> None:
    pq.write_table(DATA, tmp_path / "a.parquet", row_group_size=2)
    more = pa.concat_tables([DATA, DATA.slice(0, 1)])
    pq.write_table(more, tmp_path / "b.parquet", row_group_size=2)
    old, new = (
        of(tmp_path, tmp_path / n)["files"][0]["row_groups"] for n in ("a.parquet", "b.parquet")
    )
    assert new[:2] == old
    assert len(new) == 3


def test_paths_count_below_the_root_only(tmp_path: Path) -> None:
    ids = set()
    for root, key in (("one", "k=1"), ("two", "k=1"), ("three", "k=2")):
        folder = tmp_path / root / key
        folder.mkdir(parents=True)
        pq.write_table(DATA, folder / "d.parquet")
        found = of(tmp_path, tmp_path / root)
        assert [f["path"] for f in found["files"]] == [f"{key}/d.parquet"]
        assert of(tmp_path, tmp_path / root / "*" / "*.parquet")["dataset"] == found["dataset"]
        ids.add(found["dataset"])
    assert len(ids) == 2


def test_what_writers_add_is_no_difference_of_columns(tmp_path: Path) -> None:
    pq.write_table(DATA, tmp_path / "a.parquet")
    marked = DATA.replace_schema_metadata({"pandas": "whatever"})
    pq.write_table(marked, tmp_path / "b.parquet")
    one, other = (of(tmp_path, tmp_path / n) for n in ("a.parquet", "b.parquet"))
    assert one["columns"] == other["columns"]
    assert one["dataset"] != other["dataset"]


def test_other_formats_have_whole_files(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("a,b\n1,x\n")
    (entry,) = of(tmp_path, tmp_path / "d.csv")["files"]
    assert set(entry) == {"path", "size", "sha256"}


def rows_of(tmp_path: Path, location: Path) -> str:
    return str(of(tmp_path, location, logical=True)["rows"]["sha256"])


def written(tmp_path: Path, data: pa.Table, name: str, **options: object) -> Path:
    path = tmp_path / name
    pq.write_table(data, path, **options)
    return path


def test_no_layout_changes_the_rows_digest(tmp_path: Path) -> None:
    base = rows_of(tmp_path, written(tmp_path, DATA, "a.parquet"))
    folder = tmp_path / "split"
    folder.mkdir()
    written(folder, DATA.slice(3), "1.parquet", compression="gzip")
    written(folder, DATA.slice(0, 3), "2.parquet", use_dictionary=False)
    same = [
        written(tmp_path, DATA.take([3, 1, 0, 2]), "b.parquet", row_group_size=1),
        written(tmp_path, DATA, "c.parquet", compression="zstd"),
        written(tmp_path, DATA.select(["f", "s", "a"]), "d.parquet"),
        written(tmp_path, DATA.set_column(1, "s", DATA["s"].dictionary_encode()), "e.parquet"),
        folder,
    ]
    assert [rows_of(tmp_path, path) for path in same] == [base] * len(same)


def changed(column: str, values: list[object], type_: pa.DataType | None = None) -> pa.Table:
    i = DATA.column_names.index(column)
    return DATA.set_column(i, column, pa.array(values, type_ or DATA.schema.field(column).type))


def test_each_change_of_the_rows_changes_it(tmp_path: Path) -> None:
    nan = float("nan")
    tables = [
        DATA,
        changed("a", [1, 2, 3, 5]),
        changed("a", [2, 1, 3, 4]),  # the same values, in other rows
        changed("a", [1, 2, 3, None]),
        changed("a", [1, 2, 3, 4], pa.int32()),
        changed("s", ["x", "y", "", "z"]),
        changed("s", ["x", "y", None, "z\0"]),
        changed("f", [0.5, 1.5, 2.5, None]),
        changed("f", [0.5, 1.5, nan, 2.5]),
        pa.concat_tables([DATA, DATA.slice(0, 1)]),
        pa.concat_tables([DATA, DATA.slice(0, 1), DATA.slice(0, 1)]),
        DATA.slice(1),
        DATA.rename_columns(["a", "t", "f"]),
    ]
    found = [rows_of(tmp_path, written(tmp_path, t, f"{i}.parquet")) for i, t in enumerate(tables)]
    assert len(set(found)) == len(tables)


EVERY = pa.table(
    {
        "b": [True, None],
        "u": pa.array([2**64 - 1, 0], pa.uint64()),
        "h": pa.array([1.5, -2.0], pa.float32()),
        "d": pa.array([decimal.Decimal("1.25"), None], pa.decimal128(10, 2)),
        "t": pa.array([1, None], pa.timestamp("us", "UTC")),
        "day": pa.array([dt.date(2026, 1, 2), dt.date(1960, 1, 2)]),
        "time": pa.array([dt.time(1, 2, 3), None]),
        "bin": pa.array([b"\x00\xff", b""]),
        "long": ["x" * 100, "ü" * 40],
        "list": pa.array([[1, None, 3], None], pa.list_(pa.int64())),
        "fixed": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        "deep": pa.array(
            [[{"a": ["x"]}, None], []], pa.list_(pa.struct([("a", pa.list_(pa.string()))]))
        ),
        "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
    }
)


def test_the_definition_does_not_move() -> None:
    """The digest is recorded in evidence: if this fails, old records no longer compare."""
    found = row_digest.of_batches(EVERY.to_batches(), EVERY.schema)
    assert found == "sha256:773a88feccc05458075b629e0ea0062b18f0f6b88e87b16c3a2db2fac2838064"


def test_every_type_is_the_same_through_the_engine(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:
        table = tables.of(EVERY)
        digest, rows = row_digest.of_table(table)
        assert rows == 2
        assert digest == row_digest.of_batches(EVERY.to_batches(), table.schema)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.none() | st.text(max_size=4), st.none() | st.lists(st.integers(-2, 2), max_size=3)),
        min_size=1, max_size=12,
    ),
    st.randoms(),
    st.integers(1, 5),
)  # fmt: skip
def test_no_order_and_no_batches_count(
    rows: list[tuple[str | None, list[int] | None]], random: Random, size: int
) -> None:
    schema = pa.schema([("s", pa.string()), ("l", pa.list_(pa.int64()))])

    def digest(some: list[tuple[str | None, list[int] | None]], chunk: int) -> str:
        data = pa.table([[r[0] for r in some], [r[1] for r in some]], schema=schema)
        return row_digest.of_batches(data.to_batches(max_chunksize=chunk), schema)

    base = digest(rows, 100)
    other = list(rows)
    random.shuffle(other)
    assert digest(other, size) == base
    assert digest([*rows, rows[0]], 100) != base
    assert digest([("more", None), *rows[1:]], 100) != base or rows[0] == ("more", None)


def test_batches_that_are_slices_of_larger_ones() -> None:
    whole = EVERY.to_batches()[0]
    parts = [whole.slice(0, 1), whole.slice(1, 1)]
    assert row_digest.of_batches(parts, EVERY.schema) == row_digest.of_batches(
        [whole], EVERY.schema
    )


def test_zero_has_no_sign_and_there_is_one_nan() -> None:
    def digest(values: list[float]) -> str:
        data = pa.table({"x": pa.array(values, pa.float64())})
        return row_digest.of_batches(data.to_batches(), data.schema)

    assert digest([0.0]) == digest([-0.0])
    assert digest([float("nan")]) == digest([-float("nan")])


def test_types_without_values_of_their_own_are_refused() -> None:
    data = pa.table({"x": pa.array([None], pa.month_day_nano_interval())})
    with pytest.raises(Exception, match="cannot be digested"):
        row_digest.of_batches(data.to_batches(), data.schema)
