"""The table of changes is the specification: 70 kinds of change, each in all six modes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.stages.validate.contracts.compatibility import MODES, Mode, check_versions, compare
from mlgate.stages.validate.contracts.contract import Column, Contract

BASE = {"name": "x", "type": "int64"}


def contract(*columns: Column, version: str = "1") -> Contract:
    return Contract(name="t", version=version, columns=(Column(name="id", type="int64"), *columns))


def column(**given: object) -> Column:
    return Column.model_validate_json(json.dumps({**BASE, **given}))


# name: (old, new, breaks); of `breaks`, "B" is backward and "F" forward. None: no such column.
CHANGES: dict[str, tuple[dict[str, object] | None, dict[str, object] | None, str]] = {
    "nothing": ({}, {}, ""),
    "add nullable": (None, {}, ""),
    "add required": (None, {"required": True}, "B"),
    "add required with default": (None, {"required": True, "default": 0}, ""),
    "add what the model reads": (None, {"read_by_model": True}, ""),
    "drop nullable": ({}, None, ""),
    "drop required": ({"required": True}, None, "F"),
    "drop required with default": ({"required": True, "default": 0}, None, ""),
    "drop nullable that the model reads": ({"read_by_model": True}, None, "F!"),
    "nullable to required": ({}, {"required": True}, "B"),
    "required to nullable": ({"required": True}, {}, "F"),
    "required to nullable, read by the model": (
        {"required": True, "read_by_model": True},
        {"read_by_model": True},
        "F!",
    ),
    "widen, read by the model": (
        {"type": "int8", "read_by_model": True},
        {"type": "int64", "read_by_model": True},
        "F!",
    ),
    "narrow, read by the model": (
        {"type": "int64", "read_by_model": True},
        {"type": "int8", "read_by_model": True},
        "B",
    ),
    "enum introduced": ({}, {"enum": [1, 2]}, "B"),
    "enum lifted": ({"enum": [1, 2]}, {}, "F"),
    "enum value added": ({"enum": [1, 2]}, {"enum": [1, 2, 3]}, "F"),
    "enum value removed": ({"enum": [1, 2]}, {"enum": [1]}, "B"),
    "enum value replaced": ({"enum": [1, 2]}, {"enum": [1, 3]}, "BF"),
    "enum reordered": ({"enum": [1, 2]}, {"enum": [2, 1]}, ""),
    "ordered enum reordered": (
        {"type": "dictionary<values=string, indices=int8, ordered=1>", "enum": ["a", "b"]},
        {"type": "dictionary<values=string, indices=int8, ordered=1>", "enum": ["b", "a"]},
        "BF",
    ),
    "unique added": ({}, {"unique": True}, "B"),
    "unique dropped": ({"unique": True}, {}, "F"),
    "renamed with was": ({}, {"name": "y", "was": ["x"]}, "F"),
    "renamed without was": ({"required": True}, {"name": "y", "required": True}, "BF"),
    "renamed nullable without was": ({}, {"name": "y"}, ""),
    "pii marked": ({}, {"pii": True}, ""),
    "default added": ({}, {"default": 1}, ""),
    "model begins to read it": ({}, {"read_by_model": True}, ""),
    "model stops reading it": ({"read_by_model": True}, {}, ""),
    "described": ({}, {"description": "a"}, ""),
}

# Old type, new type, breaks.
TYPES = [
    ("int8", "int16", "F"),
    ("int16", "int32", "F"),
    ("int32", "int64", "F"),
    ("int64", "int32", "B"),
    ("uint8", "uint32", "F"),
    ("uint32", "int64", "F"),
    ("int64", "uint32", "B"),
    ("int32", "uint32", "BF"),
    ("uint64", "int64", "BF"),
    ("halffloat", "float", "F"),
    ("float", "double", "F"),
    ("double", "float", "B"),
    ("int8", "float", "F"),
    ("int16", "float", "F"),
    ("int32", "float", "BF"),
    ("int32", "double", "F"),
    ("uint32", "double", "F"),
    ("double", "int32", "B"),
    ("int64", "double", "BF"),
    ("double", "decimal128(10, 2)", "BF"),
    ("decimal128(10, 2)", "decimal128(12, 2)", "F"),
    ("decimal128(12, 2)", "decimal128(10, 2)", "B"),
    ("decimal128(10, 2)", "decimal128(12, 4)", "BF"),
    ("decimal128(10, 2)", "decimal256(10, 2)", ""),
    ("bool", "int8", "BF"),
    ("string", "int64", "BF"),
    ("string", "binary", "BF"),
    ("timestamp[s]", "timestamp[us]", "F"),
    ("timestamp[us]", "timestamp[ns]", "F"),
    ("timestamp[us]", "timestamp[ms]", "B"),
    ("timestamp[us]", "timestamp[us, tz=UTC]", "BF"),
    ("timestamp[us, tz=UTC]", "timestamp[us, tz=Europe/Berlin]", ""),
    ("date32[day]", "timestamp[us]", "BF"),
    ("date32[day]", "date64[ms]", ""),
    ("time32[s]", "time64[us]", "F"),
    ("duration[ms]", "duration[s]", "B"),
    ("string", "large_string", ""),
    ("string", "string_view", ""),
    ("binary", "large_binary", ""),
    ("fixed_size_binary[4]", "fixed_size_binary[8]", "BF"),
    ("fixed_size_binary[4]", "binary", "F"),
    ("string", "dictionary<values=string, indices=int32, ordered=0>", ""),
    ("int32", "dictionary<values=string, indices=int32, ordered=0>", "BF"),
    (
        "dictionary<values=string, indices=int8, ordered=0>",
        "dictionary<values=string, indices=int8, ordered=1>",
        "BF",
    ),
    ("list<item: int32>", "large_list<item: int32>", ""),
    ("list<item: int32>", "list<item: int64>", "F"),
    ("list<item: int32>", "list<item: int32 not null>", "B"),
    ("list<item: int32>", "int32", "BF"),
    ("fixed_size_list<item: float>[128]", "fixed_size_list<item: float>[256]", "BF"),
    ("fixed_size_list<item: float>[128]", "list<item: float>", "F"),
    ("list<item: float>", "fixed_size_list<item: float>[128]", "B"),
    ("struct<a: int32>", "struct<a: int64>", "F"),
    ("struct<a: int32>", "struct<a: int32, b: string>", ""),
    ("struct<a: int32>", "struct<a: int32, b: string not null>", "B"),
    ("struct<a: int32, b: string>", "struct<a: int32>", ""),
    ("struct<a: int32, b: string not null>", "struct<a: int32>", "F"),
    ("struct<a: int32, b: string>", "struct<b: string, a: int32>", ""),
    ("list<item: struct<a: list<item: int8>>>", "list<item: struct<a: list<item: int16>>>", "F"),
    ("map<string, int32>", "map<string, int64>", "F"),
    ("map<string, int32>", "map<int32, int32>", "BF"),
    ("null", "int64", "F"),
    ("int64", "null", "B"),
]
CHANGES |= {f"{a} to {b}": ({"type": a}, {"type": b}, breaks) for a, b, breaks in TYPES}


def test_the_table_is_as_large_as_promised() -> None:
    assert len(CHANGES) >= 90


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("mode", MODES)
def test_each_change_in_each_mode(name: str, mode: Mode) -> None:
    before, after, breaks = CHANGES[name]
    old = contract(*([column(**before)] if before is not None else []))
    new = contract(*([column(**after)] if after is not None else []), version="2")
    backward, forward, model = ("B" in breaks, "F" in breaks, "!" in breaks)
    expected = {"backward": backward or model, "forward": forward, "full": backward or forward}
    changes = check_versions((old, new), mode)
    assert any(c.breaking(mode) for c in changes) is expected[mode.removesuffix("_transitive")]
    assert all(c.why and c.since == "1" for c in changes)


def test_nested_changes_are_found_where_they_are() -> None:
    old = contract(column(type="list<item: struct<a: int32, b: map<string, struct<c: int8>>>>"))
    new = contract(column(type="list<item: struct<a: int64, b: map<string, struct<c: int16>>>>"))
    assert [c.path for c in compare(old, new)] == ["x[].a", "x[].b{value}.c"]


def test_what_a_model_reads_inside_a_struct_is_judged_forward_too() -> None:
    old = contract(column(type="struct<a: int8, b: int8>", read_by_model=True))
    new = contract(column(type="struct<a: int8>", read_by_model=True))
    (change,) = compare(old, new)
    assert change.path == "x.b"
    assert change.breaking("backward")


def test_order_breaks_only_data_without_names() -> None:
    a, b = column(name="a"), column(name="b")
    old, new = contract(a, b), contract(b, a)
    assert [c.kind for c in compare(old, new)] == ["order"]
    assert not compare(old, new)[0].breaking("full")
    assert compare(old, new, named=False)[0].breaking("backward")


def test_transitive_modes_look_at_every_earlier_version() -> None:
    one = contract(column(required=True), version="1")
    two = contract(column(), version="2")
    three = contract(version="3")
    last = check_versions((one, two, three), "forward")
    every = check_versions((one, two, three), "forward_transitive")
    assert not any(c.breaking("forward") for c in last)
    assert [c.since for c in every if c.breaking("forward_transitive")] == ["1"]


def test_a_change_that_two_versions_show_is_listed_once() -> None:
    one, two = contract(column(), version="1"), contract(column(), version="2")
    three = contract(column(type="string"), version="3")
    assert len(check_versions((one, two, three), "full_transitive")) == 1


def test_a_single_version_has_no_changes() -> None:
    assert check_versions((contract(),), "full_transitive") == ()


@given(st.sampled_from(TYPES), st.booleans())
def test_backward_of_a_change_is_forward_of_its_reverse(
    row: tuple[str, str, str], required: bool
) -> None:
    a, b = (contract(column(type=t, required=required)) for t in row[:2])
    there, back = compare(a, b), compare(b, a)
    if "null" in row[:2] and required:
        return  # a required column of nothing cannot be
    assert any(c.backward for c in there) == any(c.forward for c in back)
    assert any(c.forward for c in there) == any(c.backward for c in back)


@given(st.sampled_from([t for row in TYPES for t in row[:2]]))
def test_nothing_changes_between_equals(type_: str) -> None:
    assert compare(contract(column(type=type_)), contract(column(type=type_))) == ()
