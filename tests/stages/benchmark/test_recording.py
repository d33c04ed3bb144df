"""The file of latencies: what goes in comes out, small, and damage is an error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.errors import StageError
from mlgate.stages.benchmark.recording import Recording, decode

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.lists(INT64, max_size=40), max_size=4))
def test_what_goes_in_comes_out(series: dict[str, list[int]]) -> None:
    given_ = {name: np.asarray(values, dtype=np.int64) for name, values in series.items()}
    back = decode(Recording({"a": [1, 2.5]}, given_).encode())
    assert back.facts == {"a": [1, 2.5]}
    assert {name: values.tolist() for name, values in back.series.items()} == series


def test_latencies_take_about_two_bytes_each() -> None:
    latencies = np.random.default_rng(0).normal(200_000, 3_000, 50_000).astype(np.int64)
    assert len(Recording({}, {"x": latencies}).encode()) < 2.3 * len(latencies)


def test_equal_recordings_have_equal_bytes() -> None:
    a, b = np.arange(9), np.arange(5)
    assert Recording({}, {"a": a, "b": b}).encode() == Recording({}, {"b": b, "a": a}).encode()


@pytest.mark.parametrize("cut", [0, 5, 19, 25, 60, -3])
def test_damage_is_an_error(cut: int) -> None:
    data = Recording({"some": "fact"}, {"x": np.arange(1000)}).encode()
    with pytest.raises(StageError, match="not a file of latencies"):
        decode(data[:cut])
