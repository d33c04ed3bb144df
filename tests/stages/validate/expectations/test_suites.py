"""Suites: GX's own files, lists in mlgate.yaml, and everything wrong with either."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlgate.errors import StageError
from mlgate.stages.validate.expectations.gx import great_expectations
from mlgate.stages.validate.expectations.suites import load_suite

NOT_NULL = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}}


def refused(source: Any) -> StageError:
    with pytest.raises(StageError) as caught:
        load_suite(source)
    assert caught.value.hint
    return caught.value


def test_a_file_as_gx_saves_it(tmp_path: Path) -> None:
    e = great_expectations.expectations
    suite = great_expectations.ExpectationSuite(
        name="digits",
        expectations=[
            e.ExpectColumnValuesToBeBetween(column="x", min_value=0, mostly=0.9, severity="info"),
            e.ExpectColumnValuesToNotBeNull(column="id", notes="why", meta={"owner": "me"}),
        ],
    )
    path = tmp_path / "digits.json"
    path.write_text(json.dumps(suite.to_json_dict()))
    first, second = load_suite(path).entries
    assert (first.type, first.severity, first.columns) == (
        "expect_column_values_to_be_between", "info", ("x",),
    )  # fmt: skip
    assert first.kwargs == {"column": "x", "min_value": 0.0, "mostly": 0.9}
    assert (second.index, second.severity) == (1, "critical")


def test_a_list_with_arguments_beside_the_type() -> None:
    entry = load_suite([{"type": "expect_column_values_to_be_unique", "column": "id"}]).entries[0]
    assert entry.kwargs == {"column": "id"}


def test_a_file_of_older_versions(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    old = {"expectation_type": NOT_NULL["type"], "kwargs": {"column": "id"}}
    path.write_text(json.dumps({"expectation_suite_name": "old", "expectations": [old]}))
    assert load_suite(path).entries[0].type == NOT_NULL["type"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"{", "line 1: not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a suite"),
        (b"3", "not a suite"),
        (b'{"expectations": {}}', "not a suite"),
        (b'{"expectations": []}', "nothing would be checked"),
        (b'{"expectations": [5]}', "expectation 1: not a mapping"),
        (b'{"expectations": [{}]}', "expectation 1: the type is missing"),
    ],
)
def test_files_that_are_no_suites(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "suite.json"
    path.write_bytes(content)
    error = refused(path)
    assert message in error.message
    assert "suite.json" in error.message


def test_no_file(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "none.json").message
    assert "cannot be read" in refused(tmp_path).message


@pytest.mark.parametrize(
    ("written", "message", "hint"),
    [
        ({"type": "expect_column_values_to_be_unike"}, "there is no expectation",
         "did you mean expect_column_values_to_be_unique?"),
        ({**NOT_NULL, "kwargs": {"colum": "id"}}, "no such argument", "did you mean column?"),
        ({**NOT_NULL, "kwargs": {}}, "column: field required", "arguments:"),
        ({**NOT_NULL, "kwargs": {"column": "id", "mostly": 2}}, "mostly:", "arguments:"),
        ({**NOT_NULL, "severity": "fatal"}, "'fatal' is not a severity", "critical"),
        ({"type": "expect_column_values_to_be_between",
          "kwargs": {"column": "x", "min_value": {"$PARAMETER": "low"}}}, "$PARAMETER", "value"),
        ({"type": "expect_column_values_to_be_between", "kwargs": {"column": "x"}},
         "neither a smallest nor a largest", "min_value"),
    ],
)  # fmt: skip
def test_wrong_expectations(written: dict[str, Any], message: str, hint: str) -> None:
    error = refused([NOT_NULL, written])
    assert error.message.startswith("expectations, expectation 2")
    assert message in error.message
    assert hint in str(error.hint)


def test_an_empty_list() -> None:
    assert "nothing would be checked" in refused([]).message
