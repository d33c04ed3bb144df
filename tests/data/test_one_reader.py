"""What one stage reads, every other reads: rows, names, types and values, whatever the file."""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from mlgate.data.feeds import input_bindings
from mlgate.data.rows import open_rows
from mlgate.data.session import Port
from mlgate.data.table import connect, open_table
from mlgate.errors import StageError
from mlgate.stage import Columns, DataInput, Dataset, Located
from mlgate.stages.benchmark import inputs
from mlgate.stages.benchmark.session import Port as BenchmarkPort

LINES = ["site,x,label", *(f"{i:03d},{i / 7:.4f},{i % 2}" for i in range(1, 301))]
TEXT = "\n".join(LINES) + "\n"
TABLE = pa.table(
    {
        "site": [f"{i:03d}" for i in range(1, 301)],
        "x": [round(i / 7, 4) for i in range(1, 301)],
        "label": [i % 2 for i in range(1, 301)],
    }
)


def _json_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in TABLE.to_pylist()))


def _folders(path: Path) -> None:
    for label in (0, 1):
        part = path / f"label={label}"
        part.mkdir(parents=True)
        rows = [row for row in TABLE.to_pylist() if row["label"] == label]
        parquet.write_table(pa.Table.from_pylist(rows).drop(["label"]), part / "0.parquet")


def _odd_files(folder: Path) -> Iterator[Path]:
    texts = {
        "plain.csv": TEXT,
        "UPPER.CSV": TEXT,
        "semicolon.csv": TEXT.replace(",", ";"),
        "tab.tsv": TEXT.replace(",", "\t"),
        "bom.csv": "\ufeff" + TEXT,
        "windows.csv": TEXT.replace("\n", "\r\n"),
    }
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
        yield folder / name
    (folder / "packed.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    for name in ("rows.ndjson", "rows.jsonl"):
        _json_lines(folder / name)
    for name in ("plain.parquet", "plain.parq", "plain.pq"):
        parquet.write_table(TABLE, folder / name)
    feather.write_feather(TABLE, str(folder / "plain.feather"), compression="uncompressed")
    _folders(folder / "hive")
    for name in ("packed.csv.gz", "rows.ndjson", "rows.jsonl", "plain.parquet", "plain.parq"):
        yield folder / name
    yield from (folder / "plain.pq", folder / "plain.feather", folder / "hive")


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(_odd_files(tmp_path_factory.mktemp("odd")))


def validated(location: Path, row_filter: str | None, spill: Path) -> list[dict[str, Any]]:
    """What `validate` approves."""
    connection = connect(memory=1 << 28, threads=1, spill=spill)
    open_table(connection, str(location), view="data", filter=row_filter)
    rows: list[dict[str, Any]] = connection.execute("from data").to_arrow_table().to_pylist()
    return rows


def streamed(location: Path, row_filter: str | None) -> list[dict[str, Any]]:
    """What `quantize` draws its samples from."""
    rows = open_rows(str(location), row_filter)
    found = [
        dict(zip(rows.names, values, strict=True))
        for batch in rows.batches(rows.names, 64)
        for values in zip(*(column.tolist() for column in batch.values()), strict=True)
    ]
    assert rows.count == len(found)
    return found


def digest(rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256(repr([sorted(row.items()) for row in rows]).encode()).hexdigest()


def benchmarked(location: Path, row_filter: str | None) -> list[float]:
    """What `benchmark` feeds to an input `x`."""
    port = BenchmarkPort("x", np.dtype(np.float64), ("N", 1))
    dataset = Dataset(dataset=DataInput(path=str(location)), filter=row_filter)
    located = {dataset.dataset: Located(str(location), None)}
    tables = inputs.read_tables([port], {"x": Columns(columns="x")}, dataset, located)  # type: ignore[arg-type]
    return [float(value) for value in tables["x"].ravel()]


FILTERS = [None, "site >= '2' and length(site) = 3", "x < 3 or x > 40"]


@pytest.mark.parametrize("row_filter", FILTERS)
def test_g4_odd_files_are_the_same_rows_in_every_stage(
    odd_files: list[Path], row_filter: str | None, tmp_path: Path
) -> None:
    kept = {}
    for location in odd_files:
        approved = validated(location, row_filter, tmp_path)
        assert digest(streamed(location, row_filter)) == digest(approved), location
        assert benchmarked(location, row_filter) == [row["x"] for row in approved], location
        kept[location.name] = sorted((row["site"], row["x"], row["label"]) for row in approved)
    assert all(rows == kept["plain.csv"] for rows in kept.values())


def test_g1_one_filter_is_one_set_of_rows(odd_files: list[Path]) -> None:
    for location in odd_files:
        assert open_rows(str(location), "site >= '2'").count == 101  # 200 to 300


def test_g2_a_table_with_semicolons_has_its_columns_everywhere(odd_files: list[Path]) -> None:
    semicolon = next(path for path in odd_files if path.name == "semicolon.csv")
    assert open_rows(str(semicolon)).names == ("site", "x", "label")


def test_g3_a_missing_cell_is_fed_to_no_model(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("x\n1.5\nNA\nnan\n")
    port = Port("x", "float32", (None, 1))
    dataset = Dataset(dataset=DataInput(path=str(tmp_path / "d.csv")))
    rows = open_rows(str(tmp_path / "d.csv"))
    (binding,) = input_bindings(rows, dataset, [port], {}, "evaluation")
    batch = next(rows.batches(["x"], 8))
    with pytest.raises(StageError, match="x is text: 'NA' in 2 of 3 rows"):
        binding.feed(batch, slice(0, 3))
    with pytest.raises(StageError, match="x is text: 'NA' in 2 of 3 rows"):
        benchmarked(tmp_path / "d.csv", None)


def test_g5_a_second_file_with_other_columns_is_the_same_answer_everywhere(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    parquet.write_table(pa.table({"x": [1.0]}), folder / "0.parquet")
    parquet.write_table(pa.table({"x": [2.0], "extra": [3]}), folder / "1.parquet")
    told = set()
    for read in (
        lambda: validated(folder, None, tmp_path),
        lambda: streamed(folder, None),
        lambda: benchmarked(folder, None),
    ):
        with pytest.raises(StageError) as caught:
            read()
        told.add(caught.value.message)
    assert len(told) == 1
    assert "with extra" in told.pop()


CELLS = st.one_of(
    st.sampled_from(["", "007", "NA", "nan", "NaN", "1e5", "true", "2024-01-01", "01/02/2024"]),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=5),
)


@given(
    cells=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8),
    separator=st.sampled_from(",;\t|"),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_file_is_the_same_table_or_the_same_refusal(
    tmp_path: Path, cells: list[tuple[str, str]], separator: str
) -> None:
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"' if set(cell) & set('",;\t|') else cell

    lines = [f"a{separator}b", *(separator.join(map(quoted, pair)) for pair in cells)]
    path = tmp_path / "any.csv"
    path.write_bytes(("\n".join(lines) + "\n").encode())
    answers: list[object] = []
    readers: list[Callable[[], list[dict[str, Any]]]] = [
        partial(validated, path, None, tmp_path),
        partial(streamed, path, None),
    ]
    for read in readers:
        try:
            answers.append(_comparable(read()))
        except StageError as error:
            answers.append(error.message)
    refused = isinstance(answers[1], str) and "holds nulls" in answers[1]  # fed to no model
    assert refused or answers[0] == answers[1]


def _comparable(rows: list[dict[str, Any]]) -> Any:
    """NaN for a missing number, and times and days as text: NumPy has its own of both."""
    plain = []
    for row in rows:
        values = ["nan" if v is None or str(v) == "nan" else str(v)[:10] for v in row.values()]
        plain.append([str(float(v)) if _is_number(v) else v for v in values])
    return plain


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text != "nan"
