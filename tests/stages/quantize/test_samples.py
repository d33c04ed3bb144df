"""Rows become model inputs of the right shape and type, and parts share nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate.data.rows import open_rows
from mlgate.data.session import Port
from mlgate.errors import StageError
from mlgate.stage import Dataset
from mlgate.stages.quantize.samples import Samples, overlap, read_samples, split

IMAGE = Port("image", "float32", (None, 1, 2, 2))


def read(
    path: Path, ports: tuple[Port, ...] = (IMAGE,), *, limit: int | None = None, **dataset: Any
) -> Samples:
    parsed = Dataset.model_validate({"dataset": str(path), **dataset}, strict=False)
    rows = open_rows(str(path), None)
    return read_samples(rows, parsed, ports, {}, role="evaluation", limit=limit)


@pytest.fixture
def pixels(tmp_path: Path) -> Path:
    columns = {f"p_{i}": np.arange(20, dtype=np.float32) * 4 + i for i in range(4)}
    table = pa.table({**columns, "p_label": np.arange(20) % 2, "site": ["a", "b"] * 10})
    pq.write_table(table, tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def test_a_pattern_takes_columns_in_file_order_and_never_the_label(pixels: Path) -> None:
    samples = read(pixels, label="p_label", inputs={"image": {"columns": "p_*"}})
    (batch, *_) = samples.batches(2)
    assert batch["image"].tolist()[1] == [[[4, 5], [6, 7]]]
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1] * 10


def test_the_column_of_the_inputs_name_is_the_default(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", image=np.ones((3, 1, 2, 2), np.float32))
    assert len(read(tmp_path / "t.npz")) == 3
    with pytest.raises(StageError, match="no column named as the model's input 'other'"):
        read(tmp_path / "t.npz", (Port("other", "float32", (None, 1)),))


def test_batches_are_equal_whether_kept_or_read_again(pixels: Path) -> None:
    kept = read(pixels, inputs={"image": {"columns": "p_[0-9]"}}, limit=11)
    again = Samples(kept.rows, kept.bindings, kept.chosen, kept.hashes)
    for size in (1, 4, 11, 64):
        pairs = list(zip(kept.batches(size), again.batches(size), strict=True))
        assert [len(a["image"]) for a, _ in pairs] == [len(b["image"]) for _, b in pairs]
        assert all(np.array_equal(a["image"], b["image"]) for a, b in pairs)


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ({"inputs": {"picture": {"columns": "p_*"}}}, "which the model does not have"),
        ({"inputs": {"image": {"columns": "q_*"}}}, "no column of evaluation matches"),
        ({"inputs": {"image": {"columns": ["p_0", "nope"]}}}, "has no column 'nope'"),
        ({"inputs": {"image": {"columns": ["p_0"]}}}, "the columns give 1"),
        ({"inputs": {"image": {"columns": "p_[0-9]", "shape": [4]}}}, r"wants \[N, 1, 2, 2\]"),
        ({"inputs": {"image": {"columns": "p_[0-9]", "dtype": "int64"}}}, "takes float32"),
        ({"inputs": {"image": {"columns": "p_[0-9]", "dtype": "flaot"}}}, "dtype 'flaot'"),
        ({"inputs": {"image": {"columns": ["site"] * 4}}}, "the column holds"),
        ({"inputs": {"image": {"columns": "p_[0-9]"}}, "label": "lable"}, "has no column 'lable'"),
        ({"inputs": {"image": {"synthetic": "normal", "shape": [3, 1, 2, 2]}}}, "has 3 rows"),
    ],
)
def test_what_does_not_fit_says_so(pixels: Path, dataset: dict[str, Any], said: str) -> None:
    with pytest.raises(StageError, match=said):
        read(pixels, **dataset)


def test_nan_and_fractions_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", image=np.full((3, 1, 2, 2), np.nan), ids=np.array([0.5, 1, 2]))
    with pytest.raises(StageError, match="would get NaN"):
        read(tmp_path / "t.npz")
    with pytest.raises(StageError, match="holds fractions"):
        read(tmp_path / "t.npz", (Port("ids", "int64", (None,)),))


def test_no_rows_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", image=np.ones((0, 1, 2, 2), np.float32))
    with pytest.raises(StageError, match="no rows"):
        read(tmp_path / "t.npz")


def of(values: np.ndarray, labels: np.ndarray, folder: Path) -> Samples:
    np.savez(folder / "v.npz", v=values.astype(np.float32)[:, None], y=labels)
    return read(folder / "v.npz", (Port("v", "float32", (None, 1)),), label="y")


@given(
    seed=st.integers(0, 1000),
    share=st.floats(0.1, 0.9),
    order=st.integers(0, 1000),
    distinct=st.integers(5, 60),
)
@settings(max_examples=30, deadline=None)
def test_a_split_is_disjoint_and_independent_of_the_order_of_rows(
    tmp_path_factory: pytest.TempPathFactory, seed: int, share: float, order: int, distinct: int
) -> None:
    folder = tmp_path_factory.mktemp("split")
    values = np.arange(120) % distinct
    rest, taken = split(of(values, values % 3, folder), share, seed)
    assert overlap(rest, taken) == 0
    assert len(rest) + len(taken) == 120
    shuffled = np.random.default_rng(order).permutation(120)
    _, again = split(of(values[shuffled], values[shuffled] % 3, folder), share, seed)
    assert taken.digest() == again.digest()


def test_a_split_keeps_every_label(tmp_path: Path) -> None:
    values = np.arange(100)
    rest, taken = split(of(values, values // 90, tmp_path), 0.7, 0)
    assert taken.labels is not None
    assert np.bincount(taken.labels).tolist() == [63, 7]
    assert len(rest) == 30
