"""Rows of every format read alike; what cannot be read says why, without secrets."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from mlgate.data.location import shown
from mlgate.data.rows import open_rows
from mlgate.errors import StageError

TABLE = pa.table(
    {
        "a": pa.array(np.arange(10, dtype=np.float32)),
        "pair": pa.array([[i, i + 1] for i in range(10)], pa.list_(pa.int64())),
        "kind": pa.array(["even", "odd"] * 5),
    }
)


def whole(location: object, column: str, row_filter: str | None = None) -> np.ndarray:
    rows = open_rows(str(location), row_filter)
    return np.concatenate([batch[column] for batch in rows.batches([column], 3)])


def test_parquet_with_lists_and_text(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet")
    assert whole(tmp_path / "t.parquet", "a").tolist() == list(range(10))
    assert whole(tmp_path / "t.parquet", "pair").shape == (10, 2)
    assert whole(tmp_path / "t.parquet", "kind")[1] == "odd"


def test_csv_npz_and_folders_in_name_order(tmp_path: Path) -> None:
    pyarrow.csv.write_csv(TABLE.select(["a", "kind"]), tmp_path / "t.csv")
    np.savez(tmp_path / "t.npz", a=np.arange(10.0))
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(TABLE.slice(5), folder / "b.parquet")
    pq.write_table(TABLE.slice(0, 5), folder / "a.parquet")
    (folder / "_temporary").mkdir()
    for hidden in ("._c.parquet", "_temporary/c.parquet"):  # no digest covers them
        pq.write_table(TABLE, folder / hidden)
    for location in (tmp_path / "t.csv", tmp_path / "t.npz", folder, folder / "[ab].parquet"):
        assert whole(location, "a").tolist() == list(range(10)), location
        assert open_rows(str(location), None).count == 10


def test_a_filter_keeps_rows_and_counts_them(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet")
    assert whole(tmp_path / "t.parquet", "a", "kind = 'odd'").tolist() == [1, 3, 5, 7, 9]
    assert open_rows(str(tmp_path / "t.parquet"), "a > 6").count == 3


@pytest.mark.parametrize(
    "condition",
    ["nothing = 1", "a >", "true); drop table data; --", "a in (select a from 'other.csv')"],
)
def test_a_filter_can_do_nothing_else(tmp_path: Path, condition: str) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet")
    with pytest.raises(StageError, match="filter"):
        whole(tmp_path / "t.parquet", "a", condition)


def test_nulls_in_numbers_are_nan_and_elsewhere_refused(tmp_path: Path) -> None:
    table = pa.table({"f": pa.array([1.0, None]), "i": pa.array([1, None])})
    pq.write_table(table, tmp_path / "t.parquet")
    assert np.isnan(whole(tmp_path / "t.parquet", "f")).tolist() == [False, True]
    with pytest.raises(StageError, match="column i holds nulls"):
        whole(tmp_path / "t.parquet", "i")


def test_lists_of_different_lengths_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"l": pa.array([[1, 2], [3]])}), tmp_path / "t.parquet")
    with pytest.raises(StageError, match="different lengths"):
        whole(tmp_path / "t.parquet", "l")


def test_what_is_not_there_or_not_data(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    (tmp_path / "t.txt").write_text("x")
    np.savez(tmp_path / "ragged.npz", a=np.zeros(3), b=np.zeros(4))
    for name, said in (
        ("none.parquet", "does not exist"),
        ("none.npz", "does not exist"),
        ("bad.parquet", "is not a whole Parquet file"),
        ("bad.npz", "not a readable .npz"),
        ("t.txt", "the ending does not say"),
        ("ragged.npz", "differ in length"),
    ):
        with pytest.raises(StageError, match=said):
            open_rows(str(tmp_path / name), None)


def test_an_npz_is_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "o.npz", a=np.array([{}], dtype=object))
    with pytest.raises(StageError, match="not a readable"):
        open_rows(str(tmp_path / "o.npz"), None)


def test_a_url_is_shown_without_its_secrets() -> None:
    assert shown("s3://user:secret@bucket/a.parquet?token=x") == "s3://bucket/a.parquet"
