"""Rows of every kind of place and format; what holds none is an error that names it."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, feather, parquet

from mlgate.data.rows import Array, open_rows
from mlgate.errors import StageError


def read(location: object, column: str) -> Array:
    """One column of all rows."""
    batches = open_rows(str(location)).batches([column], 2)
    return np.concatenate([batch[column] for batch in batches])


TABLE = pa.table({"a": [1.0, 2.0, 3.0], "v": [[1, 2], [3, 4], [5, 6]]})
FLAT = TABLE.select(["a"])


def _jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in TABLE.to_pylist()))


def _tsv(path: Path) -> None:
    csv.write_csv(FLAT, path, csv.WriteOptions(delimiter="\t"))


def _gz(path: Path) -> None:
    path.write_bytes(gzip.compress(b"a\n1\n2\n3\n"))


WRITERS: dict[str, Callable[[Path], object]] = {
    ".parquet": lambda path: parquet.write_table(TABLE, path),
    ".arrow": lambda path: feather.write_feather(TABLE, str(path), compression="uncompressed"),
    ".jsonl": _jsonl,
    ".npz": lambda path: np.savez(path, a=[1.0, 2.0, 3.0], v=np.arange(1, 7).reshape(3, 2)),
    ".csv": lambda path: csv.write_csv(FLAT, path),
    ".tsv": _tsv,
    ".csv.gz": _gz,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_columns(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    WRITERS[suffix](path)
    assert read(path, "a").tolist() == [1, 2, 3]
    if "v" in open_rows(str(path)).names:
        assert read(path, "v").tolist() == [[1, 2], [3, 4], [5, 6]]


def test_a_folder_and_a_pattern_are_all_their_files_in_order(tmp_path: Path) -> None:
    for name, start in (("b", 3), ("a", 0), ("sub/c", 6), ("_temporary/e", 90), (".cache/d", 90)):
        path = tmp_path / "data" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table({"a": np.arange(start, start + 3)}), path)
    (tmp_path / "data" / "README.md").write_text("no rows")
    assert read(tmp_path / "data", "a").tolist() == list(range(9))
    assert read(tmp_path / "data" / "[ab].parquet", "a").tolist() == list(range(6))


def test_urls_that_fsspec_knows_are_read() -> None:
    memory = fsspec.filesystem("memory")
    with memory.open("/bench/rows.csv", "wb") as file:
        file.write(b"a\n4\n5\n")
    assert read("memory://bench/rows.csv", "a").tolist() == [4, 5]
    assert read("memory://bench/*.csv", "a").tolist() == [4, 5]
    with pytest.raises(StageError, match="memory://bench/none matched no file"):
        open_rows("memory://bench/none")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.parquet", b"nothing", "x.parquet is not a whole Parquet file"),
        ("x.csv", b"", "x.csv is empty"),
        ("x.jsonl", b"{", "x.jsonl, line 2: not JSON"),
        ("x.npz", b"nothing", "x.npz is not a readable .npz file"),
        ("x.txt", b"a", "the ending does not say"),
    ],
)
def test_what_holds_no_rows_is_an_error(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StageError, match=says):
        open_rows(str(tmp_path / name))


def test_places_that_hold_nothing_or_a_mixture_are_errors(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="does not exist"):
        open_rows(str(tmp_path / "none.parquet"))
    with pytest.raises(StageError, match="without data files"):
        open_rows(str(tmp_path))
    (tmp_path / "a.csv").write_text("a\n1\n")
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(StageError, match="files of two formats"):
        open_rows(str(tmp_path))
    np.savez(tmp_path / "uneven.npz", a=[1, 2], b=[1])
    with pytest.raises(StageError, match="differ in length \\(a: 2, b: 1\\)"):
        open_rows(str(tmp_path / "uneven.npz"))
    with pytest.raises(StageError, match="does not exist"):
        open_rows(str(tmp_path / "none.npz"))


def test_passwords_of_urls_are_never_told() -> None:
    for url in ("nowhere://me:secret@host/x.csv?key=secret", "s3n://me:secret@host/*.csv"):
        with pytest.raises(StageError) as caught:
            open_rows(url)
        assert "secret" not in str(caught.value) + str(caught.value.hint)
    with pytest.raises(StageError, match=r"https://host/x\.npz is not a local file"):
        open_rows("https://me:secret@host/x.npz")


@pytest.mark.parametrize("name", ["_2024/b.parquet", ".2024/b.parquet", "_b.parquet", "x/.b.csv"])
def test_r28_nothing_of_a_folder_is_left_out_in_silence(tmp_path: Path, name: str) -> None:
    for file in ("a.parquet", name):
        path = tmp_path / "data" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(FLAT, path)
    with pytest.raises(StageError, match="would be left out"):
        open_rows(str(tmp_path / "data"))


def test_a_link_to_a_folder_of_data_is_not_left_out_in_silence(tmp_path: Path) -> None:
    for name in ("data", "more"):
        (tmp_path / name).mkdir()
        parquet.write_table(FLAT, tmp_path / name / "a.parquet")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "more")
    with pytest.raises(StageError, match="a link to a folder"):
        open_rows(str(tmp_path / "data"))


def test_d15_a_table_with_a_log_is_not_read_as_loose_files(tmp_path: Path) -> None:
    for mark in ("delta/_delta_log/0.json", "iceberg/metadata/v1.metadata.json"):
        path = tmp_path / mark
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        parquet.write_table(FLAT, path.parent.parent / "part-0.parquet")
    for name, kind in (("delta", "Delta"), ("iceberg", "Iceberg")):
        with pytest.raises(StageError, match=f"is a {kind} table"):
            open_rows(str(tmp_path / name))
