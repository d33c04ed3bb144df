"""Queries from rows, files and seeds; what does not fit the model is an error with a hint."""

from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper
from pyarrow import csv, parquet

from mlgate.errors import StageError
from mlgate.stage import Columns, DataInput, Dataset, FileInput, Input, Located, Npz, Synthetic
from mlgate.stages.benchmark import inputs
from mlgate.stages.benchmark.session import Array, Port
from mlgate.stages.benchmark.vocabulary import vocabulary

F32 = np.dtype(np.float32)
IMAGE = Port("image", F32, ("N", 1, 2, 2))
IDS = Port("ids", np.dtype(np.int64), ("N", "seq"))


def _rows(tmp_path: Path, suffix: str = ".parquet", rows: int = 5) -> Dataset:
    names = [f"pixel_{i}" for i in range(4)]
    table = pa.table({**{n: np.arange(rows) + i for i, n in enumerate(names)}, "digit": [1] * rows})
    path = tmp_path / f"rows{suffix}"
    if suffix == ".csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path)
    return Dataset(dataset=DataInput(path=str(path)), label="digit")


def _read(
    port: Port, source: Columns | Npz, dataset: Dataset | None, path: Path
) -> dict[str, Array]:
    located: dict[Input, Located] = {}
    if dataset is not None:
        located[dataset.dataset] = Located(dataset.dataset.path or "", None)
    if isinstance(source, Npz):
        located[source.npz] = Located(str(path), None)
    return inputs.read_tables([port], {port.name: source}, dataset, located)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_columns_of_rows_become_an_input(tmp_path: Path, suffix: str) -> None:
    source = Columns(columns="pixel_*", shape=(1, 2, 2))
    tables = _read(IMAGE, source, _rows(tmp_path, suffix), tmp_path)
    feeds = inputs.make_feeds([IMAGE], {"image": source}, tables, {}, batch=3)
    assert len(feeds) == inputs.QUERIES
    assert feeds[0]["image"].shape == (3, 1, 2, 2)
    assert feeds[0]["image"].dtype == F32
    assert feeds[0]["image"][1].ravel().tolist() == [1, 2, 3, 4]
    assert feeds[1]["image"][2, 0, 0, 0] == 0  # row 5 of 5 is row 0 again


def test_no_rows_and_no_column_are_errors(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="has no rows"):
        _read(IMAGE, Columns(columns="pixel_*"), _rows(tmp_path, rows=0), tmp_path)
    with pytest.raises(StageError, match="matches 'depth'") as caught:
        _read(IMAGE, Columns(columns="depth"), _rows(tmp_path), tmp_path)
    assert "pixel_0" in (caught.value.hint or "")
    with pytest.raises(StageError, match="matches 'digit'"):  # the label is no input
        _read(IMAGE, Columns(columns="digit"), _rows(tmp_path), tmp_path)
    with pytest.raises(StageError, match=r"shape gives|numbers a row"):
        _read(IMAGE, Columns(columns="pixel_*", shape=(3, 3)), _rows(tmp_path), tmp_path)
    with pytest.raises(StageError, match="there is no dataset"):
        _read(IMAGE, Columns(columns="pixel_*"), None, tmp_path)


def test_an_npz_file_must_hold_the_array_with_the_models_dtype(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, image=np.ones((7, 1, 2, 2), dtype=np.float64))
    source = Npz(npz=FileInput(path=str(path)))
    tables = _read(IMAGE, source, None, path)
    with pytest.raises(StageError, match="wants float32, and is given float64"):
        inputs.make_feeds([IMAGE], {"image": source}, tables, {})
    with pytest.raises(StageError, match="has no array depth"):
        _read(IMAGE, Npz(npz=FileInput(path=str(path)), array="depth"), None, path)
    path.write_bytes(b"nothing")
    with pytest.raises(StageError, match=r"not a readable \.npz"):
        _read(IMAGE, source, None, path)


def test_a_pickle_in_an_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, image=np.asarray([{"a": 1}], dtype=object))
    with pytest.raises(StageError, match=r"not a readable \.npz"):
        _read(IMAGE, Npz(npz=FileInput(path=str(path))), None, path)


def test_made_up_numbers_follow_the_seed_and_the_dtype() -> None:
    one = inputs.make_feeds([IMAGE], {}, {}, {})
    two = inputs.make_feeds([IMAGE], {}, {}, {})
    assert np.array_equal(one[3]["image"], two[3]["image"])
    assert not np.array_equal(one[0]["image"], one[1]["image"])
    ids = inputs.make_feeds([IDS], {}, {}, {"seq": 5})[0]["ids"]
    assert ids.dtype == np.int64
    assert ids.shape == (1, 5)
    assert not ids.any()
    normal = Synthetic(synthetic="normal", shape=(1, 5))
    with pytest.raises(StageError, match="normal numbers do not fill"):
        inputs.make_feeds([IDS], {"ids": normal}, {}, {})


def test_a_dynamic_axis_without_a_size_is_an_error_with_the_line_to_add() -> None:
    with pytest.raises(StageError, match="dynamic axis seq without a size") as caught:
        inputs.make_feeds([IDS], {}, {}, {})
    assert caught.value.hint == "add dims: {seq: 128}"
    with pytest.raises(StageError, match="without a name"):
        inputs.make_feeds([Port("x", F32, (1, None))], {}, {}, {})


def test_a_fixed_batch_is_not_changed() -> None:
    with pytest.raises(StageError, match="fixed first axis of 1"):
        inputs.make_feeds([Port("x", F32, (1, 4))], {}, {}, {}, batch=8)


def test_a_source_for_no_input_is_an_error() -> None:
    with pytest.raises(StageError, match="has no input typo"):
        inputs.make_feeds([IMAGE], {"typo": Synthetic(synthetic="zeros", shape=(1,))}, {}, {})


def test_a_wrong_shape_is_an_error() -> None:
    made = Synthetic(synthetic="zeros", shape=(1, 1, 3, 3))
    with pytest.raises(StageError, match="wants shape"):
        inputs.make_feeds([IMAGE], {"image": made}, {}, {})


def tokens(path: Path, *, cast: bool = False) -> Path:
    """Token numbers looked up in a table of 50 rows, and a mask that is added."""
    nodes = [helper.make_node("Cast", ["ids"], ["wide"], to=TensorProto.INT64)] if cast else []
    nodes += [
        helper.make_node("Gather", ["table", "wide" if cast else "ids"], ["e"]),
        helper.make_node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["e", "m"], ["y"]),
    ]
    kind = TensorProto.INT32 if cast else TensorProto.INT64
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("ids", kind, [1, 8]),
            helper.make_tensor_value_info("mask", TensorProto.INT64, [1, 8, 1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones((50, 4), dtype=np.float32), "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("cast", [False, True])
def test_b16_token_numbers_are_drawn_below_the_tables_height(tmp_path: Path, cast: bool) -> None:
    path = tokens(tmp_path / "m.onnx", cast=cast)
    heights = vocabulary(path)
    assert heights == {"ids": 50}
    ports = [
        Port("ids", np.dtype("int32" if cast else "int64"), (1, 8)),
        Port("mask", np.dtype("int64"), (1, 8, 1)),
    ]
    feeds = inputs.make_feeds(ports, {}, {}, {}, heights=heights)
    drawn = np.concatenate([feed["ids"] for feed in feeds])
    assert drawn.min() >= 0
    assert 30 < drawn.max() < 50
    assert all((feed["mask"] == 1).all() for feed in feeds)


def test_b16_what_is_no_model_has_no_tables(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    assert vocabulary(tmp_path / "m.onnx") == {}


def test_b3_a_scalar_input_has_no_dimensions() -> None:
    port = Port("sr", np.dtype("int64"), ())
    for source in ({}, {"sr": Synthetic(synthetic="zeros", shape=())}):
        feeds = inputs.make_feeds([port], source, {}, {})
        assert {feed["sr"].shape for feed in feeds} == {()}
    for stored in (np.array(16_000), np.array([16_000, 8_000])):
        feeds = inputs.make_feeds([port], {"sr": Npz(npz=FileInput(path="f"))}, {"sr": stored}, {})
        assert {feed["sr"].shape for feed in feeds} == {()}
        assert feeds[0]["sr"] == 16_000
