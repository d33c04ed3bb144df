"""Cases that people met: each by its number, with the smallest data that shows it."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlgate.errors import StageError
from mlgate.evidence import Measured, Measurement
from mlgate.stage import Input, Job, Located, inputs_of
from mlgate.stages.validate.run import measure
from mlgate.stages.validate.spec import Validate


def validated(folder: Path, data: pa.Table | str, **block: Any) -> Measured:
    """What the stage measures of a table, or of the text of a CSV file."""
    if isinstance(data, str):
        path = folder / "data.csv"
        path.write_text(data)
    else:
        path = folder / "data.parquet"
        pq.write_table(data, path)
    written = json.dumps({"uses": "validate", "dataset": str(path), **block})
    options = Validate.model_validate_json(written)
    inputs: dict[Input, Located] = {
        source: Located(source.path or "", None) for _, source in inputs_of(options)
    }
    work = folder / "work"
    work.mkdir(exist_ok=True)
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return measure(Job("data", options, work, inputs, now=now))


def expected(folder: Path, data: pa.Table | str, *expectations: Any, **block: Any) -> list[str]:
    """The outcome of each expectation."""
    found = validated(folder, data, expectations=list(expectations), **block)
    told = found.details["expectations"]
    assert isinstance(told, list)
    return [str(one["outcome"]) for one in told]  # type: ignore[index, call-overload]


def expect(type_: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{type_}", "kwargs": kwargs}


def drifts(folder: Path, before: pa.Table, after: pa.Table, metric: str) -> list[Measurement]:
    pq.write_table(before, folder / "reference.parquet")
    found = validated(folder, after, reference=str(folder / "reference.parquet"))
    return [m for m in found.measurements if m.name == f"drift.{metric}"]


def test_d2_a_number_that_evidence_cannot_hold_ends_nothing(tmp_path: Path) -> None:
    big = 2**53 + 1
    suite = tmp_path / "suite.json"
    entry = expect("column_values_to_be_in_set", column="id", value_set=[big])
    suite.write_text(json.dumps({"name": "s", "expectations": [entry]}))
    found = validated(tmp_path, pa.table({"id": [big]}), expectations=str(suite))
    assert str(big) in json.dumps(found.model_dump(mode="json")["details"])


ZONED = pa.table({"at": pa.array([0, 1_000_000], pa.timestamp("us", tz="UTC")), "k": ["a", "b"]})


@pytest.mark.parametrize("engine", ["duckdb", "pandas"])
def test_d3_timestamps_with_a_zone(tmp_path: Path, engine: str) -> None:
    outcomes = expected(
        tmp_path,
        ZONED,
        expect("column_max_to_be_between", column="at", max_value="2030-01-01T00:00:00+00:00"),
        expect("column_unique_value_count_to_be_between", column="at", min_value=2),
        expect("column_values_to_not_be_null", column="at"),
        engine=engine,
    )
    assert outcomes == ["pass", "pass", "pass"]


@pytest.mark.parametrize(
    "type_",
    [pa.timestamp("us"), pa.date32(), pa.binary(), pa.list_(pa.float64()), pa.int64()],
    ids=str,
)
def test_d4_a_column_that_became_null_is_a_rise_of_nulls(
    tmp_path: Path, type_: pa.DataType
) -> None:
    value: Any = {"binary": b"x", "list<item: double>": [1.0]}.get(str(type_), 0)
    full = pa.array([value] * 50, type_)
    before = pa.table({"t": full, "x": range(50)})
    after = pa.table({"t": pa.nulls(50, type_), "x": range(50)})
    rise = {dict(m.labels)["column"]: m.value for m in drifts(tmp_path, before, after, "null_rate")}
    assert rise == {"t": 1, "x": 0}


def test_d5_a_column_without_a_type_that_has_one_now_is_no_silence(tmp_path: Path) -> None:
    before = pa.table({"t": pa.nulls(50), "x": range(50)})
    after = pa.table({"t": ["a"] * 50, "x": range(50)})
    for metric in ("psi", "null_rate", "new_values"):
        found = {dict(m.labels)["column"]: m.value for m in drifts(tmp_path, before, after, metric)}
        assert found["t"] is None


def test_d6_a_list_column_that_is_gone_is_no_silence(tmp_path: Path) -> None:
    before = pa.table({"t": [[1.0]] * 50, "x": range(50)})
    (gone, _) = drifts(tmp_path, before, before.select(["x"]), "psi")[::-1]
    assert gone.value is None
    assert "has no column 't'" in (gone.reason or "")


TEXTS = pa.table(
    {"t": ["a b", "a\u00a0b", "äß", "x\n", "٣", "Kelvin \u212a", "a-b", "tab\t", "\x0b"]}
)
PATTERNS = [
    r"\s", r"^\w+$", r"\d", r"b$", r"\bß", "(?i)k", r"a.b", r"[^a]", r"^[\w-]+$", r"\W", r"x$",
    r"(a|b)+?", r"[[:alpha:]]", r"\Aa", r"a{,2}b", r"\x41", r"(?P<n>a)", r"a(?=b)", r"^.$",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_d7_d8_a_pattern_means_one_thing_on_every_engine(tmp_path: Path, pattern: str) -> None:
    ascii_only = pa.table({"t": ["a b", "K9", "a-b", "", "aab", "A", ":"]})
    for number, table in enumerate((TEXTS, ascii_only)):
        counts = []
        for engine in ("duckdb", "pandas"):
            folder = tmp_path / f"{number}{engine}"
            folder.mkdir()
            wanted = expect("column_values_to_match_regex", column="t", regex=pattern)
            found = validated(folder, table, expectations=[wanted], engine=engine)
            counts.append(found.model_dump(mode="json")["details"]["expectations"][0]["unexpected"])
        assert counts[0] == counts[1]


def test_d9_an_ordered_list_without_its_column_fails(tmp_path: Path) -> None:
    data = pa.table({"id": pa.nulls(3, pa.int64())})
    wanted = expect("table_columns_to_match_ordered_list", column_list=["id", "x"])
    there = expect("table_columns_to_match_ordered_list", column_list=["id"])
    assert expected(tmp_path, data, wanted, there) == ["fail", "pass"]


@pytest.mark.parametrize(
    "wanted",
    [
        *(expect(f"column_{name}_to_be_between", column="x") for name in (
            "max", "min", "mean", "median", "stdev", "sum", "unique_value_count", "values",
            "value_lengths", "proportion_of_unique_values")),
        expect("table_row_count_to_be_between"),
        expect("table_column_count_to_be_between"),
        expect("column_quantile_values_to_be_between", column="x",
               quantile_ranges={"quantiles": [0.5], "value_ranges": [[None, None]]}),
        expect("column_max_to_be_between", column="x", max_value=float("inf")),
        expect("column_values_to_be_in_set", column="x", value_set=None),
        expect("column_distinct_values_to_contain_set", column="x"),
    ],
    ids=lambda wanted: str(wanted["type"]),
)  # fmt: skip
def test_d12_an_expectation_that_cannot_fail_is_an_error(
    tmp_path: Path, wanted: dict[str, Any]
) -> None:
    suite = tmp_path / "suite.json"
    suite.write_text(json.dumps({"name": "s", "expectations": [wanted]}))
    with pytest.raises(StageError, match="nothing would be checked"):
        validated(tmp_path, pa.table({"x": [1.0]}), expectations=str(suite))


def test_d14_a_profile_holds_no_value_of_an_identifier(tmp_path: Path) -> None:
    mails = [f"user{i}@example.com" for i in range(2000)]
    validated(tmp_path, pa.table({"mail": mails, "x": range(2000)}))
    assert "example.com" not in (tmp_path / "work" / "data.profile.json").read_text()


def test_d16_a_rule_with_sql_may_stand_in_place() -> None:
    rule = {"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": "…"}}
    block = {"uses": "validate", "dataset": "d", "expectations": [rule]}
    assert Validate.model_validate_json(json.dumps(block)).expectations


@pytest.mark.parametrize("engine", ["duckdb", "pandas"])
def test_d18_a_median_of_decimals_is_its_bound(tmp_path: Path, engine: str) -> None:
    data = pa.table({"x": pa.array(["0.10", "0.20", "0.30"]).cast(pa.decimal128(5, 2))})
    wanted = expect("column_median_to_be_between", column="x", min_value=0.2, max_value=0.2)
    assert expected(tmp_path, data, wanted, engine=engine) == ["pass"]


def test_d23_a_quoted_name_may_hold_a_separator(tmp_path: Path) -> None:
    found = validated(tmp_path, '"a;b;c",d\n1,2\n')
    assert found.measurements[0].value == 1


def test_d28_a_metric_that_a_column_cannot_have_is_named_and_left_out(tmp_path: Path) -> None:
    table = pa.table({"c": [f"v{i % 60}" for i in range(600)], "d": ["a", "b"] * 300,
                      "one": [1.0] * 600, "x": np.arange(600.0)})  # fmt: skip
    for metric, kept in (("new_values", {"d", "one", "x"}), ("wasserstein", {"x"})):
        found = drifts(tmp_path, table, table, metric)
        assert {dict(m.labels)["column"] for m in found} == kept
        assert all(m.value == 0 for m in found)


def test_d32_a_broken_contract_is_said_in_a_sentence(tmp_path: Path) -> None:
    contract = tmp_path / "contract.json"
    columns = [{"name": "a", "type": "int64", "required": True}]
    contract.write_text(
        json.dumps({"schema": "mlgate/contract/v1", "name": "c", "columns": columns})
    )
    found = validated(tmp_path, pa.table({"a": [1, None]}), contract=str(contract))
    (broken,) = [m for m in found.measurements if m.name == "contract.breaking_changes"]
    assert broken.because == ("a is required, and there is 1 row without it",)


@pytest.mark.parametrize("engine", ["duckdb", "pandas"])
@pytest.mark.parametrize(
    "name",
    ["at", "a.b", "select", "order", "x y", 'q"q', "ß", "A", "1", "lateral", "%s", ":p", "`b`"],
)
def test_d21_every_name_of_a_column_reaches_an_engine_whole(
    tmp_path: Path, name: str, engine: str
) -> None:
    outcomes = expected(
        tmp_path,
        pa.table({name: ["u", "v"], "other": [1, 2]}),
        expect("column_values_to_not_be_null", column=name),
        expect("column_values_to_be_unique", column=name),
        expect("column_values_to_match_regex", column=name, regex="^[uv]$"),
        expect("column_distinct_values_to_equal_set", column=name, value_set=["u", "v"]),
        expect("table_columns_to_match_set", column_set=[name, "other"]),
        engine=engine,
    )
    assert outcomes == ["pass"] * 5
