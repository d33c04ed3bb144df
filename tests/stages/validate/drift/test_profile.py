import decimal
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate.errors import StageError
from mlgate.stages.validate.drift import profiling
from mlgate.stages.validate.drift.profile import (
    Categorical,
    Ordered,
    Profile,
    Withheld,
    load,
    merge,
    parse,
    single_values,
)
from tests.stages.validate.tables import Tables

ROWS = 3000
NUMBERS = st.floats(-1e300, 1e300) | st.just(float("nan"))


def every_type(seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, 10**6, ROWS)
    return pa.table(
        {
            "normal": rng.normal(size=ROWS),
            "single": rng.normal(size=ROWS).astype("f4"),
            "with_nan": np.where(rng.random(ROWS) < 0.1, np.nan, rng.random(ROWS)),
            "with_infinity": np.where(rng.random(ROWS) < 0.01, -np.inf, rng.random(ROWS)),
            "mostly_zero": np.where(rng.random(ROWS) < 0.6, 0, rng.exponential(size=ROWS)),
            "few": rng.integers(0, 5, ROWS) * 10,
            "huge": rng.integers(-(2**62), 2**62, ROWS),
            "unsigned": rng.integers(0, 2**63, ROWS).astype("u8") * np.uint64(2),
            "constant": np.full(ROWS, 5.5),
            "nothing": pa.array([None] * ROWS, pa.float64()),
            "text": rng.choice(["a", "", "c", "d'x", "ü"], ROWS),
            "id": [f"user {i}" for i in range(ROWS)],
            "long": ["x" * 3000 + str(i % 3) for i in range(ROWS)],
            "yes": pa.array(rng.random(ROWS) < 0.3),
            "maybe": pa.array([True, None, False] * (ROWS // 3)),
            "at": pa.array(rng.integers(0, 3600 * 10**6, ROWS), pa.timestamp("us")),
            "at_zone": pa.array(rng.integers(0, 10**9, ROWS), pa.timestamp("ms", "UTC")),
            "at_fine": pa.array(rng.integers(0, 10**18, ROWS), pa.timestamp("ns")),
            "day": pa.array(rng.integers(0, 300, ROWS).astype("i4"), pa.date32()),
            "hour": pa.array(rng.integers(0, 86400 * 10**6, ROWS), pa.time64("us")),
            "price": pa.array([decimal.Decimal(int(x)) / 100 for x in whole], pa.decimal128(10, 2)),
            "mail": [f"{i}@example.com" for i in range(ROWS)],
            "nested": [[1, 2]] * ROWS,
            "bytes": [b"x"] * ROWS,
        }
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, Profile, pa.Table]:
    with Tables(tmp_path_factory.mktemp("profile")) as tables:
        table = tables.of(every_type())
        profile = profiling.build(table, pii=["mail"])
        assert profiling.build(table, pii=["mail"]).canonical() == profile.canonical()
        other = tables.of(every_type(1))
        follower = profiling.build(other, pii=["mail"], edges_from=profile)
        return profile, follower, every_type()


def test_every_column_is_profiled_or_listed(built: tuple[Profile, Profile, pa.Table]) -> None:
    profile, follower, data = built
    assert [s.name for s in profile.skipped] == ["nested", "bytes"]
    assert "list have no profile" in profile.skipped[0].reason
    names = [c.name for c in profile.columns] + ["nested", "bytes"]
    assert names == data.column_names
    assert [c.name for c in follower.columns] == [c.name for c in profile.columns]


def test_a_column_takes_5_kb_at_most(built: tuple[Profile, Profile, pa.Table]) -> None:
    for profile in built[:2]:
        sizes = {c.name: len(c.canonical()) for c in profile.columns}
        assert max(sizes.values()) <= 5_000, sizes


def test_it_is_what_was_written(built: tuple[Profile, Profile, pa.Table], tmp_path: Path) -> None:
    for profile in built[:2]:
        path = tmp_path / "p.json"
        path.write_bytes(profile.canonical())
        assert load(path) == profile


def test_counts_are_those_of_numpy(built: tuple[Profile, Profile, pa.Table]) -> None:
    profile, _, data = built
    for name in ("normal", "single", "with_nan", "with_infinity", "mostly_zero", "few", "huge"):
        column = profile.column(name)
        assert isinstance(column, Ordered)
        values = data[name].to_numpy().astype(float)
        values = values[~np.isnan(values)]
        at = np.searchsorted(column.edges, values, side="left")
        assert list(column.counts) == np.bincount(at, minlength=len(column.edges) + 1).tolist()
        finite = values[np.isfinite(values)]
        assert (column.low, column.high) == (finite.min(), finite.max())


def test_the_bins_are_even_and_the_ends_empty(built: tuple[Profile, Profile, pa.Table]) -> None:
    column = built[0].column("normal")
    assert isinstance(column, Ordered)
    assert len(column.edges) == 257
    assert column.counts[0] == column.counts[-1] == 0
    assert max(column.counts) <= 2 * ROWS / 256
    infinite = built[0].column("with_infinity")
    assert isinstance(infinite, Ordered)
    assert infinite.counts[0] > 0  # −∞ lies below the range


def test_special_columns(built: tuple[Profile, Profile, pa.Table]) -> None:
    profile, _, data = built
    by_name = {c.name: c for c in profile.columns}
    assert by_name["mail"] == Withheld(name="mail", type="string", nulls=0, count=ROWS)
    text = by_name["text"]
    assert isinstance(text, Categorical)
    assert dict(text.top) == pd.Series(data["text"].to_pylist()).value_counts().to_dict()
    assert [n for _, n in text.top] == sorted((n for _, n in text.top), reverse=True)
    assert text.other == 0
    assert isinstance(by_name["id"], Categorical)
    assert by_name["id"].other == ROWS
    with_nan, nothing, few = (by_name[n] for n in ("with_nan", "nothing", "few"))
    assert isinstance(with_nan, Ordered)
    assert with_nan.nans == with_nan.nulls > 0
    assert isinstance(nothing, Ordered)
    assert (nothing.nulls, nothing.edges, nothing.counts) == (ROWS, (), (0,))
    assert isinstance(few, Ordered)
    assert few.edges == (-1, 0, 9, 10, 19, 20, 29, 30, 39, 40)
    assert list(single_values(few)) == [False, *[True, False] * 4, True, False]
    constant = by_name["constant"]
    assert isinstance(constant, Ordered)
    assert constant.counts == (0, ROWS, 0)


def test_what_is_not_in_the_reference(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:
        before = profiling.build(tables.of(pa.table({"a": [1, 2], "b": [1, 2], "c": ["x", "y"]})))
        data = pa.table({"a": [7, 8], "b": ["u", "v"], "d": [1, 2], "c": ["x", "z"]})
        after = profiling.build(tables.of(data), edges_from=before, ignore=["d"])
        assert [c.name for c in after.columns] == ["a", "c"]
        a, c = after.columns
        assert isinstance(a, Ordered)
        assert a.counts[-1] == 2
        assert isinstance(c, Categorical)
        assert c.top == (("x", 1), ("y", 0))
        assert c.other == 1
        reasons = {s.name: (s.type, s.reason) for s in after.skipped}
        assert reasons["d"] == ("int64", "ignored")
        assert reasons["b"][0] == "string"


def test_numbers_beyond_the_precision_of_doubles(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:
        values = [2**60, 2**60 + 1, 2**62, -(2**63), 2**63 - 1, 0, 1]
        (column,) = profiling.build(tables.of(pa.table({"x": values}))).columns
        assert column.count == len(values)


def test_units_are_counted(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:
        table = tables.of(pa.table({"user": [1, 1, 2, None], "x": [1.0, 2.0, 3.0, 4.0]}))
        profile = profiling.build(table, unit="user")
        assert profile.units is not None
        assert (profile.units.column, profile.units.count) == ("user", 2)
        with pytest.raises(StageError, match="no column 'usr'"):
            profiling.build(table, unit="usr")


def test_no_rows_are_an_error(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:
        table = tables.of(pa.table({"x": [1.0, 2.0]}), where="x > 5")
        with pytest.raises(StageError, match="no rows"):
            profiling.build(table)


def test_a_large_table_is_sampled_for_its_bins_and_counted_whole(tmp_path: Path) -> None:
    rows = 300_000
    rng = np.random.default_rng(3)
    data = pa.table({"x": rng.normal(size=rows), "k": rng.integers(0, 4, rows)})
    with Tables(tmp_path) as tables:
        table = tables.of(data)
        profile = profiling.build(table)
        assert profile.canonical() == profiling.build(table).canonical()
        x = profile.column("x")
        assert isinstance(x, Ordered)
        assert sum(x.counts) == rows
        assert max(x.counts) < 1.5 * rows / 256
        assert (x.low, x.high) == (data["x"].to_numpy().min(), data["x"].to_numpy().max())


def test_parts_that_were_binned_alike_merge(tmp_path: Path) -> None:
    data = every_type()
    with Tables(tmp_path) as tables:
        whole = profiling.build(tables.of(data), pii=["mail"])
        parts = [
            profiling.build(tables.of(data.slice(at, ROWS // 3)), pii=["mail"], edges_from=whole)
            for at in range(0, ROWS, ROWS // 3)
        ]
    merged = merge(parts)
    assert merged.rows == whole.rows
    assert merged.columns == whole.columns
    other = parts[0].model_copy(update={"columns": parts[0].columns[1:]})
    with pytest.raises(StageError, match="not binned alike"):
        merge([parts[0], other])


def test_any_numbers_fit_in_their_bins(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:

        @settings(max_examples=40, deadline=None)
        @given(st.lists(st.none() | NUMBERS, min_size=1, max_size=80), st.integers(2, 20))
        def fit(values: list[float | None], bins: int) -> None:
            table = tables.of(pa.table({"x": pa.array(values, pa.float64())}))
            profile = profiling.build(table, bins=bins)
            (column,) = profile.columns
            assert isinstance(column, Ordered)
            known = [v for v in values if v is not None and not np.isnan(v)]
            assert column.count == len(known)
            if known:
                assert (column.low, column.high) == (min(known), max(known))
                at = np.searchsorted(column.edges, known, side="left")
                assert list(column.counts) == np.bincount(at, minlength=len(column.counts)).tolist()
                assert column.counts[0] == column.counts[-1] == 0
            assert profiling.build(table, edges_from=profile).columns == profile.columns

        fit()


COLUMNS: list[dict[str, object]] = [
    {"kind": "numeric", "name": "x", "type": "double", "nulls": 0, "low": 1, "high": 2,
     "edges": [1, 2], "counts": [1, 2, 0]},
    {"kind": "categorical", "name": "c", "type": "string", "nulls": 1, "top": [["a", 1]],
     "other": 1},
]  # fmt: skip
GOOD = {
    "schema": "mlgate/profile/v1",
    "engine": "duckdb 1.5.6",
    "rows": 3,
    "columns": COLUMNS,
}


def damaged(column: int, **change: object) -> str:
    columns = [dict(c) for c in COLUMNS]
    columns[column] |= change
    return json.dumps(GOOD | {"columns": columns})


def test_the_good_one_is_good() -> None:
    assert parse(json.dumps(GOOD), "p").rows == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "p:1: not a profile"),
        ("[" * 10**5, "not a profile"),
        ("[]", "p is not a profile"),
        ('{"a": 1}', "not a profile"),
        (json.dumps(GOOD | {"schema": "mlgate/profile/v2"}), "another version"),
        (json.dumps(GOOD | {"rows": 4}), "do not add up to 4 rows"),
        (json.dumps(GOOD | {"rows": -1}), "damaged: rows"),
        (json.dumps(GOOD | {"more": 1}), "damaged: more"),
        (json.dumps(GOOD | {"columns": COLUMNS * 2}), "listed twice"),
        (damaged(0, edges=[2, 1]), "do not rise"),
        (damaged(0, edges=[1]), "make one bin more"),
        (damaged(0, counts=[1, "2", 0]), "damaged"),
        (damaged(0, edges=[1, float("nan")]), "damaged"),
        (damaged(1, top=[["a", 1], ["a", 1]], other=0), "listed twice"),
        (damaged(1, kind="free"), "damaged"),
    ],
)
def test_a_file_that_is_no_profile(text: str, message: str) -> None:
    with pytest.raises(StageError, match=message) as caught:
        parse(text, "p")
    assert caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="does not exist"):
        load(tmp_path / "none.json")
