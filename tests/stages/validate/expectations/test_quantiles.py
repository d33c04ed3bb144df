"""Exact quantiles without all values in memory, against sorting."""

import datetime
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate.data.table import connect
from mlgate.stages.validate.expectations import quantiles
from mlgate.stages.validate.expectations.quantiles import Source

SHARES = [0.0, 0.001, 0.07, 0.25, 0.5, 0.9, 0.999, 1.0]


@pytest.fixture
def small_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bins so small that a table of a test goes through every step."""
    monkeypatch.setattr(quantiles, "_SMALL", 50)
    monkeypatch.setattr(quantiles, "_BINS", 16)


def sorted_quantiles(values: list[Any], shares: list[float]) -> list[Any]:
    ordered = sorted(values)
    return [ordered[max(1, math.ceil(round(p * len(ordered), 9))) - 1] for p in shares]


DAY = datetime.datetime(2026, 1, 1)  # noqa: DTZ001 - naive on purpose
COLUMNS: dict[str, tuple[list[Any], pa.DataType]] = {
    "int": ([(i * 7919) % 2003 for i in range(2000)], pa.int64()),
    "huge": ([i * 2**50 for i in range(2000)], pa.int64()),
    "float": ([math.sin(i) * 1e-300 for i in range(2000)], pa.float64()),
    "float32": ([float(i % 97) / 8 for i in range(2000)], pa.float32()),
    "ties": ([5] * 1900 + list(range(100)), pa.int32()),
    "nearly constant": ([5] * 1990 + list(range(-4, 6)), pa.int32()),
    "constant": ([7] * 2000, pa.int8()),
    "decimal": ([Decimal(i % 900) / 100 for i in range(2000)], pa.decimal128(10, 2)),
    "wide": ([Decimal(10**20 + i) / 100 for i in range(2000)], pa.decimal128(30, 2)),
    "date": ([DAY.date() + datetime.timedelta(i % 700) for i in range(2000)], pa.date32()),
    "time": ([DAY + datetime.timedelta(seconds=i * 37 % 5000) for i in range(2000)],
             pa.timestamp("us")),
    "nanos": ([DAY + datetime.timedelta(microseconds=i) for i in range(2000)], pa.timestamp("ns")),
    "seconds": ([DAY + datetime.timedelta(seconds=i // 3) for i in range(2000)],
                pa.timestamp("s")),
}  # fmt: skip


@pytest.mark.usefixtures("small_bins")
@pytest.mark.parametrize("name", COLUMNS)
def test_every_type(name: str) -> None:
    values, type_ = COLUMNS[name]
    with duckdb.connect() as connection:
        connection.register("t", pa.table({"v": pa.array([*values, None], type=type_)}))
        found = quantiles.quantiles(connection, Source("v", type_, "t"), SHARES)
    assert found == sorted_quantiles(values, SHARES)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(-5, 5) | st.integers(), min_size=1, max_size=300),
    share=st.floats(0, 1),
)
def test_against_sorting(values: list[int], share: float) -> None:
    values = [max(-(2**62), min(2**62, v)) for v in values]
    with pytest.MonkeyPatch.context() as patch, duckdb.connect() as connection:
        patch.setattr(quantiles, "_SMALL", 10)
        patch.setattr(quantiles, "_BINS", 8)
        connection.register("t", pa.table({"v": pa.array(values, type=pa.int64())}))
        found = quantiles.quantiles(connection, Source("v", pa.int64(), "t"), [share])
    assert found == sorted_quantiles(values, [share])


def test_no_values() -> None:
    with duckdb.connect() as connection:
        connection.register("t", pa.table({"v": pa.nulls(3, pa.float64())}))
        source = Source("v", pa.float64(), "t")
        assert quantiles.quantiles(connection, source, [0.5]) is None
        assert quantiles.of_ranks(connection, source, [1]) is None


@pytest.mark.usefixtures("small_bins")
def test_parameters_of_the_relation() -> None:
    with duckdb.connect() as connection:
        connection.register("t", pa.table({"v": list(range(1000))}))
        source = Source("v", pa.int64(), "(select v from t where v >= $1)", (500,))
        assert quantiles.quantiles(connection, source, [0, 0.5, 1]) == [500, 749, 999]


def test_under_a_memory_limit(tmp_path: Path) -> None:
    values = "(select hash(i) / 1e9 as v from range(2000000) r(i))"
    with connect(memory=30_000_000, threads=2, spill=tmp_path) as connection:
        source = Source("v", pa.float64(), values)
        (median,) = quantiles.quantiles(connection, source, [0.5]) or [None]
        below = connection.execute(f"select count(*) from {values} where v <= ?", [median])
        assert below.fetchone() == (1_000_000,)
