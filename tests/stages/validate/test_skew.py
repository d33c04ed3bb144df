from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate.errors import StageError
from mlgate.stages.validate.skew import skew
from tests.stages.validate.tables import Tables


def test_it_is_what_pandas_says(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:

        @settings(max_examples=30, deadline=None)
        @given(st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=40))
        def agree(keys: list[int | None]) -> None:
            found = skew(tables.of(pa.table({"k": pa.array(keys, pa.int64())})), "k")
            counts = pd.Series(keys, dtype="Int64").value_counts(dropna=False)
            assert found.value == pytest.approx(counts.max() / counts.mean())
            assert (found.n, found.keys, found.largest) == (len(keys), len(counts), counts.max())

        agree()


def test_what_has_no_skew(tmp_path: Path) -> None:
    data = pa.table({"key": [1, 2]})
    with Tables(tmp_path) as tables:
        with pytest.raises(StageError) as caught:
            skew(tables.of(data), "kye")
        assert caught.value.hint == "did you mean 'key'?"
        with pytest.raises(StageError, match="no rows"):
            skew(tables.of(data, where="key > 5"), "key")
