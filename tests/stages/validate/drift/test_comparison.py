from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from mlgate.errors import StageError
from mlgate.stages.validate.drift import profiling
from mlgate.stages.validate.drift.comparison import METRICS, ColumnDrift, Drift, compare
from tests.stages.validate.tables import Tables

RNG = np.random.default_rng(11)


def drift(
    tmp_path: Path,
    before: pa.Table,
    after: pa.Table,
    *,
    unit: str | None = None,
    pii: Sequence[str] = (),
    **options: Any,
) -> Drift:
    with Tables(tmp_path) as tables:
        reference = profiling.build(tables.of(before), unit=unit, pii=pii)
        current = profiling.build(tables.of(after), edges_from=reference, unit=unit, pii=pii)
        return compare(reference, current, **options)


def one(tmp_path: Path, before: object, after: object, **options: Any) -> ColumnDrift:
    (column,) = drift(tmp_path, pa.table({"x": before}), pa.table({"x": after}), **options).columns
    return column


def test_against_the_raw_samples(tmp_path: Path) -> None:
    a, b = RNG.normal(size=20_000), RNG.normal(0.3235, 1, size=20_000)  # PSI 0.10
    found = one(tmp_path, a, b).statistics
    assert set(found) == set(METRICS)
    psi = found["psi"].at(0.99)
    assert psi.low < 0.10 < psi.high
    ks = found["ks"]
    exact = stats.ks_2samp(a, b).statistic
    assert ks.value == pytest.approx(exact, rel=0.02)
    assert found["wasserstein"].value == pytest.approx(
        stats.wasserstein_distance(a, b) / a.std(), rel=0.03
    )
    assert found["null_rate"].value == 0
    assert found["new_values"].value < 0.001


def test_equal_data_do_not_drift(tmp_path: Path) -> None:
    values = RNG.normal(size=5_000)
    for metric, statistic in one(tmp_path, values, values).statistics.items():
        at = statistic.at(0.99)
        assert at.value == 0, metric
        assert at.low <= 0 <= at.high


def test_whole_numbers_that_move_out_of_their_gaps(tmp_path: Path) -> None:
    before, after = [0, 10, 20] * 500, [0, 7, 20] * 500
    found = one(tmp_path, before, after).statistics
    assert found["new_values"].value == pytest.approx(1 / 3)
    assert found["psi"].at(0.95).low > 0.2
    assert found["ks"].value == pytest.approx(1 / 3)


def test_a_constant_that_changes(tmp_path: Path) -> None:
    found = one(tmp_path, [5.5] * 500, [7.5] * 500)
    assert found.statistics["new_values"].value == 1
    assert found.statistics["psi"].at(0.95).low > 1
    assert found.statistics["ks"].value == 1
    assert "no scale" in found.reasons["wasserstein"]


def test_many_ties_keep_the_bracket_narrow(tmp_path: Path) -> None:
    for draw in (RNG.exponential, RNG.normal):  # the ties at an end, and in the middle
        a, b = (np.where(RNG.random(20_000) < 0.6, 0.0, draw(size=20_000)) for _ in range(2))
        at = one(tmp_path, a, b).statistics["ks"].at(0.95)
        assert at.high - at.value < 0.04


def test_all_nulls_on_one_side_are_a_drift(tmp_path: Path) -> None:
    values = RNG.normal(size=1000)
    found = one(tmp_path, values, pa.array([None] * 1000, pa.float64()))
    assert found.statistics["psi"].at(0.95).low > 1
    assert found.statistics["null_rate"].value == 1
    assert "only nulls" in found.reasons["ks"]
    assert "only nulls" in found.reasons["new_values"]
    back = one(tmp_path, pa.array([None] * 1000, pa.float64()), values)
    assert back.statistics["psi"].at(0.95).low > 1
    assert back.statistics["null_rate"].value == -1


def test_categories(tmp_path: Path) -> None:
    before, after = ["a", "b"] * 500, ["a", "b", "b", "c"] * 250
    found = one(tmp_path, before, after)
    assert found.statistics["new_values"].value == 0.25
    assert found.statistics["psi"].at(0.95).low > 0.2
    assert "ks" not in found.statistics
    assert "ks" not in found.reasons


def test_more_categories_than_are_listed(tmp_path: Path) -> None:
    values = [f"c{i}" for i in range(60)] * 20
    found = one(tmp_path, values, values)
    assert found.statistics["psi"].at(0.95).low == 0
    assert "new_values" not in {**found.statistics, **found.reasons}


def test_identifiers_have_only_nulls_to_compare(tmp_path: Path) -> None:
    ids = pa.table({"id": [f"u{i}" for i in range(2000)], "mail": ["a@example.com"] * 2000})
    found = drift(tmp_path, ids, ids, pii=["mail"])
    assert [set(c.statistics) for c in found.columns] == [{"null_rate"}] * 2
    assert [name for name, _ in found.left_out] == ["id", "mail"]


def test_columns_that_cannot_be_compared_have_reasons(tmp_path: Path) -> None:
    before = pa.table({"gone": [1, 2], "other": [1, 2], "list": [[1], [2]], "skip": [1, 2]})
    after = pa.table({"new": [1, 2], "other": ["a", "b"], "list": [[1], [2]], "skip": [1, 2]})
    found = drift(tmp_path, before, after, ignore=["skip"])
    reasons = {c.column: c.reasons.get("psi", "") for c in found.columns}
    assert "the dataset has no column 'gone'" in reasons["gone"]
    assert "the reference has no column 'new'" in reasons["new"]
    assert "int64 in one and string in the other" in reasons["other"]
    assert {c.column: set(c.statistics) for c in found.columns if c.statistics} == {
        "list": {"null_rate"}
    }
    assert set(found.columns[0].reasons) == set(METRICS)
    assert dict(found.left_out) == {
        "skip": "ignored",
    }


def test_days_are_not_microseconds(tmp_path: Path) -> None:
    days, moments = (pa.array(range(100), t) for t in (pa.int32(), pa.int64()))
    before, after = days.cast(pa.date32()), moments.cast(pa.timestamp("us"))
    found = one(tmp_path, before, after, times=True)
    assert "date32[day] in one and timestamp[us] in the other" in found.reasons["psi"]


def test_times_move_by_nature(tmp_path: Path) -> None:
    at = pa.table({"at": pa.array(range(1000), pa.timestamp("s")), "x": range(1000)})
    found = drift(tmp_path, at, at)
    assert {c.column: "psi" in c.statistics for c in found.columns} == {"at": False, "x": True}
    assert found.left_out == (
        ("at", "dates and times move by nature: only its nulls are compared"),
    )
    assert len(drift(tmp_path, at, at, times=True).columns) == 2


def test_units_instead_of_rows(tmp_path: Path) -> None:
    users = np.repeat(np.arange(40), 50)
    before = pa.table({"user": users, "x": RNG.normal(size=2000)})
    after = pa.table({"user": users, "x": RNG.normal(0.3, 1, size=2000)})
    rows = drift(tmp_path, before, after, ignore=["user"])
    units = drift(tmp_path, before, after, ignore=["user"], unit="user")
    assert (rows.unit, units.unit) == (None, "user")
    one, many = units.columns[0].statistics["psi"], rows.columns[0].statistics["psi"]
    assert (one.n, many.n) == (40, 2000)
    assert one.at(0.95).low <= many.at(0.95).low
    assert one.at(0.95).high > many.at(0.95).high


def test_fewer_bins_are_less_noise(tmp_path: Path) -> None:
    a, b = RNG.normal(size=400), RNG.normal(size=400)
    few, many = (one(tmp_path, a, b, bins=k).statistics["psi"].at(0.95).high for k in (4, 40))
    assert few < many


def test_no_rows_and_unequal_units_are_errors(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:
        data = pa.table({"u": [1, 2], "x": [1.0, 2.0]})
        rows, units = (profiling.build(tables.of(data), unit=u) for u in (None, "u"))
        with pytest.raises(StageError, match="counts rows and the dataset u"):
            compare(rows, units)
        empty = rows.model_copy(update={"rows": 0})
        with pytest.raises(StageError, match="the reference has no rows"):
            compare(empty, rows)


def test_profiles_that_were_not_binned_alike(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:
        a = profiling.build(tables.of(pa.table({"x": [1.0, 2.0], "c": ["a", "b"]})))
        b = profiling.build(tables.of(pa.table({"x": [1.5, 2.0], "c": ["a", "c"]})))
        found = compare(a, b)
        assert "edges of the reference" in found.columns[0].reasons["psi"]
        assert "categories of the reference" in found.columns[1].reasons["psi"]


def test_few_rows_beyond_the_reference_s_range_are_chance(tmp_path: Path) -> None:
    """Of 300 new draws some lie beyond 150 old ones: that is no drift, new values apart."""
    rng = np.random.default_rng(0)
    found = [
        one(tmp_path, rng.normal(size=150), rng.normal(size=300), bins=5).statistics
        for _ in range(12)
    ]
    assert np.mean([statistics["psi"].value for statistics in found]) < 0.02
    assert max(statistics["new_values"].value for statistics in found) > 0
