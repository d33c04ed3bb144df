import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.data import arrow_types
from mlgate.errors import StageError
from mlgate.stages.validate.contracts.contract import Column, Contract, load

GOOD: dict[str, object] = {
    "schema": "mlgate/contract/v1",
    "name": "digits",
    "version": "3",
    "columns": [
        {"name": "pixel", "type": "float", "required": True, "read_by_model": True},
        {"name": "digit", "type": "int64", "required": True, "enum": [0, 1, 2]},
        {"name": "where", "type": "struct<zip: string, at: timestamp[us, tz=UTC]>"},
    ],
}


def written(tmp_path: Path, value: object, name: str = "c.json") -> Path:
    path = tmp_path / name
    path.write_text(value if isinstance(value, str) else json.dumps(value, indent=2))
    return path


def test_a_contract_is_read(tmp_path: Path) -> None:
    contract = load(written(tmp_path, GOOD))
    assert (contract.name, contract.version) == ("digits", "3")
    assert contract.columns[0] == Column(
        name="pixel", type="float", required=True, read_by_model=True
    )
    assert contract.columns[2].arrow == pa.struct(
        [("zip", pa.string()), ("at", pa.timestamp("us", "UTC"))]
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    contract = load(written(tmp_path, GOOD))
    assert load(written(tmp_path, contract.text(), "again.json")) == contract
    assert len(contract.text().splitlines()) == 4 + 1 + len(contract.columns) + 2


def test_yaml_will_do(tmp_path: Path) -> None:
    text = "schema: mlgate/contract/v1\nname: t\ncolumns:\n- {name: a, type: 'list<item: float>'}\n"
    assert load(written(tmp_path, text, "c.yaml")).columns[0].arrow == pa.list_(pa.float32())


def test_a_default_of_null_is_a_default(tmp_path: Path) -> None:
    columns = [{"name": "a", "type": "int8", "default": None}, {"name": "b", "type": "int8"}]
    contract = load(written(tmp_path, GOOD | {"columns": columns}))
    assert [c.has_default for c in contract.columns] == [True, False]


def test_a_contract_of_data_that_has_none() -> None:
    schema = pa.schema(
        [
            pa.field("a", pa.int64(), nullable=False),
            pa.field("b", pa.dictionary(pa.int8(), pa.string())),
            pa.field("c", pa.fixed_shape_tensor(pa.float32(), [2])),
        ]
    )
    contract = Contract.from_schema(schema, name="t")
    assert [(c.name, c.required) for c in contract.columns] == [
        ("a", True),
        ("b", False),
        ("c", False),
    ]
    assert contract.columns[2].arrow == pa.list_(pa.float32(), 2)


def columns(*given: Mapping[str, object]) -> Mapping[str, object]:
    return GOOD | {"columns": list(given)}


A = {"name": "a", "type": "int8"}
WRONG: dict[str, tuple[object, str]] = {
    "not an object": ([1], "c.json:1: not an object"),
    "foreign": ({"openapi": "3"}, 'no contract: it must say "schema"'),
    "another version": (GOOD | {"schema": "mlgate/contract/v9"}, "c.json:2: mlgate/contract/v9"),
    "no columns": (columns(), "columns is empty"),
    "columns missing": ({"schema": "mlgate/contract/v1", "name": "x"}, "'columns' is missing"),
    "unknown key": (columns(A | {"requird": True}), "did you mean 'required'?"),
    "unknown key at the top": (GOOD | {"nmae": "x"}, "did you mean 'name'?"),
    "unknown type": (columns(A, A | {"name": "b", "type": "in64"}), "did you mean 'int64'?"),
    "type missing": (columns({"name": "a"}), "'type' is missing"),
    "name empty": (columns(A | {"name": ""}), "columns.name: "),
    "twice": (columns(A, A), "'a' is there twice (first as number 1)"),
    "was is there": (columns(A, A | {"name": "b", "was": ["a"]}), "there still is a column 'a'"),
    "was itself": (columns(A | {"was": ["a"]}), "there still is a column 'a'"),
    "two were one": (
        columns(A | {"was": ["c"]}, A | {"name": "b", "was": ["c"]}),
        "both 'a' and 'b' were 'c'",
    ),
    "enum empty": (columns(A | {"enum": []}), "an enum must have a value"),
    "enum twice": (columns(A | {"enum": [1, 1]}), "a value is given twice"),
    "enum of another type": (columns(A | {"enum": [1, "x"]}), '"x" is not a value of type int8'),
    "bool is no int": (columns(A | {"enum": [True]}), "true is not a value of type int8"),
    "yes is no bool": (columns(A | {"required": "yes"}), "columns.required: "),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, case: str) -> None:
    value, message = WRONG[case]
    with pytest.raises(StageError) as caught:
        load(written(tmp_path, value))
    assert message in caught.value.message
    assert "c.json:" in caught.value.message
    assert caught.value.hint


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    value = columns({"name": "a", "type": "x"}, {"name": "b", "type": "y"})
    with pytest.raises(StageError) as caught:
        load(written(tmp_path, value))
    lines = caught.value.message.splitlines()
    assert len(lines) == 2
    assert [line.split(":")[1] for line in lines] == ["8", "12"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ('{"a": }', "c.json:1:7: not JSON"),
        ('{"a": 1, "a": 2}', "'a' is given twice"),
        ("[" * 100_000, "c.json"),
        ('{"schema": NaN}', "it must say"),
    ],
)
def test_files_that_are_not_json(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(StageError, match=message):
        load(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="does not exist"):
        load(tmp_path / "none.json")
    with pytest.raises(StageError, match="folder"):
        load(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"name": "\xe4"}')
    with pytest.raises(StageError, match="not UTF-8"):
        load(tmp_path / "latin.json")
    with pytest.raises(StageError, match=r"c\.yaml:2:1: not YAML"):
        load(written(tmp_path, "a: [1", "c.yaml"))
    with pytest.raises(StageError, match="tags are not used"):
        load(written(tmp_path, "a: !!python/object:os.system x", "c.yaml"))


LEAVES = st.sampled_from(
    [
        pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
        pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.binary(7), pa.date32(),
        pa.date64(), pa.time32("ms"), pa.time64("ns"), pa.timestamp("s"), pa.duration("us"),
        pa.timestamp("us", "Europe/Berlin"), pa.decimal128(38, 10), pa.decimal256(50, 0),
        pa.decimal32(5, 2), pa.month_day_nano_interval(), pa.uuid(),
    ]
)  # fmt: skip
NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=5)


def _fields(types: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.Field]:
    def field(name: str, type_: pa.DataType, nullable: bool) -> pa.Field:
        return pa.field(name, type_, nullable or pa.types.is_null(type_))

    return st.builds(field, NAMES, types, st.booleans())


TYPES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(pa.list_, _fields(inner)),
        st.builds(pa.large_list, _fields(inner)),
        st.builds(pa.list_, _fields(inner), st.integers(0, 9)),
        st.builds(pa.struct, st.lists(_fields(inner), max_size=3, unique_by=lambda f: f.name)),
        st.builds(pa.map_, LEAVES.filter(lambda t: t != pa.null()), inner),
        st.builds(lambda v, o: pa.dictionary(pa.int16(), v, ordered=o), LEAVES, st.booleans()),
    ),
    max_leaves=6,
)


@given(TYPES)
def test_every_type_is_read_as_arrow_prints_it(type_: pa.DataType) -> None:
    assert arrow_types.parse(str(type_)) == type_
    assert arrow_types.parse(str(type_).replace(", ", ",").replace(": ", ":")) == type_


@given(st.text("int64list<>:, ()[]=structdecimal128 not null", max_size=30))
def test_any_other_text_is_a_value_error(text: str) -> None:
    try:
        found = arrow_types.parse(text)
    except ValueError:
        return
    assert arrow_types.parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("float32", pa.float32()),
        ("decimal(10,2)", pa.decimal128(10, 2)),
        ("list<int64>", pa.list_(pa.int64())),
        ("dictionary<string>", pa.dictionary(pa.int32(), pa.string())),
        ("date32", pa.date32()),
        ("boolean", pa.bool_()),
    ],
)
def test_short_forms(text: str, type_: pa.DataType) -> None:
    assert arrow_types.parse(text) == type_
