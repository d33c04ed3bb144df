from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate.errors import StageError
from mlgate.stages.validate import overlap
from tests.stages.validate.tables import Tables

TRAIN = pa.table({"id": [1, 2, 3, 4], "x": [0.5, 1.5, None, 2.5], "s": ["a", "b", "c", None]})


def test_rows_that_both_have(tmp_path: Path) -> None:
    holdout = pa.table({"id": [2, 3, 4, 9], "x": [1.5, None, 9.9, 2.5], "s": ["b", "c", None, "z"]})
    with Tables(tmp_path) as tables:
        train, other = tables.of(TRAIN), tables.of(holdout)
        found = overlap.rows(train, other)
        assert (found.rows, found.n) == (2, 4)
        assert found.columns == ("id", "x", "s")
        assert (found.only_here, found.only_there, found.incomparable) == ((), (), ())
        assert overlap.rows(other, train).rows == 2
        assert overlap.rows(train, train).rows == 4


def test_a_repeated_row_counts_each_time(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:
        twice = tables.of(pa.concat_tables([TRAIN.slice(0, 1)] * 3))
        assert overlap.rows(tables.of(TRAIN), twice).rows == 3


def test_types_differ_and_values_do_not(tmp_path: Path) -> None:
    here = pa.table(
        {
            "i": pa.array([1, 2], pa.int32()),
            "f": pa.array([0.1, 0.25], pa.float32()),
            "n": pa.array([1, 2], pa.int64()),
            "t": pa.array([0, 1], pa.timestamp("s")),
            "d": pa.array(["a", "b"]).dictionary_encode(),
            "k": ["1", "2"],
        }
    )
    there = pa.table(
        {
            "i": pa.array([1, 7], pa.uint64()),
            "f": pa.array([0.1, 1e300], pa.float64()),
            "n": pa.array([1.0, 2.5]),
            "t": pa.array([0, 1], pa.timestamp("us")),
            "d": pa.array(["a", "b"], pa.large_string()),
            "k": [1, 2],
            "more": [1, 2],
        }
    )
    with Tables(tmp_path) as tables:
        found = overlap.rows(tables.of(here), tables.of(there))
        assert found.rows == 1
        assert found.columns == ("i", "f", "n", "t", "d")
        assert found.incomparable == ("k",)
        assert found.only_there == ("more",)


def test_what_cannot_overlap(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:
        train = tables.of(TRAIN)
        with pytest.raises(StageError, match="no column in common"):
            overlap.rows(train, tables.of(pa.table({"other": [1]})))
        with pytest.raises(StageError, match="has no rows"):
            overlap.rows(train, tables.of(TRAIN, where="id > 9"))
        with Tables(tmp_path / "else") as elsewhere, pytest.raises(ValueError, match="connection"):
            overlap.rows(train, elsewhere.at(tmp_path / "0.parquet"))


def test_entities_that_both_have(tmp_path: Path) -> None:
    users = pa.table({"user": [1, 1, 2, 3, None], "x": range(5)})
    others = pa.table({"user": pa.array([1, 1, 1, 3, 4, None, None], pa.int32()), "y": range(7)})
    with Tables(tmp_path) as tables:
        here, there = tables.of(users), tables.of(others)
        found = overlap.keys(here, there, ["user"])
        assert (found.keys, found.n, found.rows, found.without_key) == (2, 3, 4, 2)
        with pytest.raises(StageError) as caught:
            overlap.keys(here, there, ["usr"])
        assert caught.value.hint == "did you mean 'user'?"
        text = tables.of(pa.table({"user": ["1"]}))
        with pytest.raises(StageError, match="no value can be equal"):
            overlap.keys(here, text, ["user"])
        nobody = tables.of(pa.table({"user": pa.array([None], pa.int64())}))
        with pytest.raises(StageError, match="no row with user"):
            overlap.keys(here, nobody, ["user"])


def test_keys_of_several_columns(tmp_path: Path) -> None:
    here = pa.table({"a": [1, 1, 2], "b": ["x", "y", "x"]})
    there = pa.table({"a": [1, 2, 2], "b": ["x", "y", None]})
    with Tables(tmp_path) as tables:
        found = overlap.keys(tables.of(here), tables.of(there), ["a", "b"])
        assert (found.keys, found.n, found.rows, found.without_key) == (1, 2, 1, 1)


def test_rows_from_the_time_of_the_holdout(tmp_path: Path) -> None:
    here = pa.table({"at": pa.array([1, 2, 5, 6, None], pa.timestamp("s"))})
    there = pa.table({"at": pa.array([9, 5], pa.timestamp("ms")), "x": [1, 2]})
    there = there.set_column(0, "at", pa.array([9000, 5000], pa.timestamp("ms")))
    with Tables(tmp_path) as tables:
        a, b = tables.of(here), tables.of(there)
        assert overlap.later_rows(a, b, "at") == 2
        with pytest.raises(StageError, match="no column 'x'"):
            overlap.later_rows(a, b, "x")


def test_it_is_what_pandas_says(tmp_path: Path) -> None:
    cell = st.none() | st.integers(0, 2)
    rows = st.lists(st.tuples(cell, cell), min_size=1, max_size=12)
    with Tables(tmp_path) as tables:

        @settings(max_examples=30, deadline=None)
        @given(rows, rows)
        def agree(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
            schema = pa.schema([("a", pa.int64()), ("b", pa.int64())])
            here, there = (
                tables.of(pa.table([[r[0] for r in side], [r[1] for r in side]], schema=schema))
                for side in (one, other)
            )
            assert overlap.rows(here, there).rows == sum(r in one for r in other)
            keyed = [r for r in other if None not in r]
            if keyed:
                left = pd.DataFrame(keyed).drop_duplicates()
                found = overlap.keys(here, there, ["a", "b"])
                assert found.n == len(left)
                assert found.keys == sum(tuple(r) in one for r in left.itertuples(index=False))
                assert found.rows == sum(r in one for r in keyed)
                assert found.without_key == len(other) - len(keyed)

        agree()
