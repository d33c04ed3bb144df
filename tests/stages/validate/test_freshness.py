from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgate.errors import StageError
from mlgate.stages.validate.freshness import freshness
from tests.stages.validate.tables import Tables

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def times(*values: object, unit: str = "us", zone: str | None = None) -> pa.Table:
    plain = [v.replace(tzinfo=None) if isinstance(v, datetime) and not zone else v for v in values]
    return pa.table({"ts": pa.array(plain, pa.timestamp(unit, zone))})


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_age_of_the_newest_row(tmp_path: Path, unit: str) -> None:
    data = times(NOW - timedelta(hours=3), NOW - timedelta(hours=1), None, unit=unit)
    with Tables(tmp_path) as tables:
        for filter_, source in ((None, "footers"), ("ts is null or ts < '2030-01-01'", "footers")):
            found = freshness(tables.of(data, where=filter_), "ts", now=NOW, timezone="UTC")
            assert (found.lag_s, found.n, found.source) == (3600, 3, source)
            assert found.newest == NOW - timedelta(hours=1)
            assert found.partitions == ()


def test_a_filter_is_heeded(tmp_path: Path) -> None:
    data = times(NOW - timedelta(hours=3), NOW - timedelta(hours=1))
    with Tables(tmp_path) as tables:
        table = tables.of(data, where="ts < '2026-11-22 10:30:00'")
        found = freshness(table, "ts", now=NOW, timezone="UTC")
        assert (found.lag_s, found.n, found.source) == (3 * 3600, 1, "rows")


def test_without_statistics_the_rows_are_read(tmp_path: Path) -> None:
    data = times(NOW - timedelta(hours=2), unit="ns")
    pq.write_table(data, tmp_path / "a.parquet", write_statistics=False)
    pq.write_table(data, tmp_path / "b.parquet", use_deprecated_int96_timestamps=True)
    with Tables(tmp_path) as tables:
        for name in ("a.parquet", "b.parquet"):
            found = freshness(tables.at(tmp_path / name), "ts", now=NOW, timezone="UTC")
            assert found.lag_s == 7200
            assert found.source == "rows"


def test_zones(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:
        naive = tables.of(times(datetime(2026, 11, 22, 12, tzinfo=UTC)))  # 12:00 on some wall
        assert freshness(naive, "ts", now=NOW, timezone="Europe/Berlin").lag_s == 3600
        with pytest.raises(StageError, match="carry no zone"):
            freshness(naive, "ts", now=NOW)
        with pytest.raises(StageError, match="not a time zone"):
            freshness(naive, "ts", now=NOW, timezone="Berlin")
        zoned = times(NOW - timedelta(hours=1), zone="Europe/Berlin")
        assert freshness(tables.of(zoned), "ts", now=NOW).lag_s == 3600
        scanned = tables.of(zoned, where="ts > '1970-01-01'")
        assert freshness(scanned, "ts", now=NOW, timezone="Asia/Tokyo").lag_s == 3600


def test_a_date_is_its_first_moment(tmp_path: Path) -> None:
    data = pa.table({"ts": [date(2026, 11, 21), date(2026, 11, 22)]})
    with Tables(tmp_path) as tables:
        assert freshness(tables.of(data), "ts", now=NOW, timezone="UTC").lag_s == 12 * 3600
        (tmp_path / "d.csv").write_text("ts\n2026-11-22\n2026-11-21\n")
        found = freshness(tables.at(tmp_path / "d.csv"), "ts", now=NOW, timezone="UTC")
        assert (found.lag_s, found.source) == (12 * 3600, "rows")


def test_a_stale_partition_does_not_hide_behind_a_fresh_one(tmp_path: Path) -> None:
    root = tmp_path / "d"
    for country, hours in (("DE", 1), ("FR", 30)):
        for part in range(2):
            folder = root / f"country={country}"
            folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(times(NOW - timedelta(hours=hours + part)), folder / f"{part}.parquet")
    expected = (("country=DE", 3600.0), ("country=FR", 30 * 3600.0))
    with Tables(tmp_path) as tables:
        found = freshness(tables.at(root), "ts", now=NOW, timezone="UTC")
        assert (found.lag_s, found.partitions, found.source) == (3600, expected, "footers")
        few = tables.at(root, where="ts <> '2026-11-22 10:00:00'")
        found = freshness(few, "ts", now=NOW, timezone="UTC")
        assert (found.lag_s, found.partitions, found.source) == (3600, expected, "rows")


def test_the_future_is_an_error(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:
        near = tables.of(times(NOW + timedelta(seconds=50)))
        assert freshness(near, "ts", now=NOW, timezone="UTC").lag_s == 0
        far = tables.of(times(NOW + timedelta(hours=2)))
        with pytest.raises(StageError, match=r"2\.0 hours in the future"):
            freshness(far, "ts", now=NOW, timezone="UTC")


def test_what_has_no_age(tmp_path: Path) -> None:
    with Tables(tmp_path) as tables:
        with pytest.raises(StageError, match="no value in any row"):
            freshness(tables.of(times(None, None)), "ts", now=NOW, timezone="UTC")
        table = tables.of(times(NOW), where="false")
        with pytest.raises(StageError, match="no value in any row"):
            freshness(table, "ts", now=NOW, timezone="UTC")
        text = tables.of(pa.table({"ts": ["2026-11-22"]}))
        with pytest.raises(StageError, match="is string, not a timestamp"):
            freshness(text, "ts", now=NOW, timezone="UTC")
        with pytest.raises(StageError) as caught:
            freshness(text, "tss", now=NOW)
        assert caught.value.hint == "did you mean 'ts'?"
        with pytest.raises(ValueError, match="zone"):
            freshness(text, "ts", now=NOW.replace(tzinfo=None))


def test_footers_say_what_the_rows_say(tmp_path: Path) -> None:
    moments = st.datetimes(datetime(1900, 1, 1), datetime(2026, 11, 22))  # noqa: DTZ001
    with Tables(tmp_path) as tables:

        @settings(max_examples=20, deadline=None)
        @given(st.lists(st.none() | moments, min_size=1, max_size=9).filter(any), st.integers(1, 4))
        def agree(values: list[datetime | None], size: int) -> None:
            data = pa.table({"ts": pa.array(values, pa.timestamp("us")), "n": range(len(values))})
            table = tables.of(data, row_group_size=size)
            found = freshness(table, "ts", now=NOW, timezone="UTC")
            newest = max(v for v in values if v is not None).replace(tzinfo=UTC)
            assert found.newest == newest
            assert found.lag_s == (NOW - newest).total_seconds()
            assert found.source == "footers"

        agree()
