"""Equal answers: laws, tolerance, and what may be set aside."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.serving.compare import Tolerance, differences, unstable
from mlgate.serving.recorded import Answer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


def _answer(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(status, headers, json.dumps(value).encode())


@given(JSON)
def test_an_answer_equals_itself(value: Any) -> None:
    assert differences(_answer(value), _answer(value)) == ()


@given(JSON, JSON)
def test_a_difference_is_seen_from_both_sides(a: Any, b: Any) -> None:
    there = {d.place for d in differences(_answer(a), _answer(b))}
    back = {d.place for d in differences(_answer(b), _answer(a))}
    assert there == back
    assert bool(there) == (json.dumps(a) != json.dumps(b))


def test_numbers_within_the_tolerance_are_the_same() -> None:
    a, b = _answer({"p": [0.5, 1.0]}), _answer({"p": [0.5001, 1.0]})
    assert [d.place for d in differences(a, b)] == ["body.p[*]"]
    assert differences(a, b, tolerance=Tolerance(relative=1e-3)) == ()
    assert differences(_answer(True), _answer(1), tolerance=Tolerance(absolute=1)) != ()


def test_ids_times_and_tokens_are_set_aside_by_name_and_predictions_never() -> None:
    a = {"request_id": 1, "at": "2026-01-01T00:00:00Z", "latency_ms": 3.1, "label": 4}
    b = {"request_id": 2, "at": "2026-01-01T00:00:01Z", "latency_ms": 2.9, "label": 5}
    aside, left = unstable(_answer(a, etag="x1"), _answer(b, etag="x2"))
    assert aside == {"body.request_id", "body.at", "body.latency_ms", "header etag"}
    assert [d.place for d in left] == ["body.label"]
    c = {**b, "label": 4}
    assert [d.place for d in differences(_answer(a), _answer(c), aside=frozenset(aside))] == []


@pytest.mark.parametrize(
    ("other", "place"),
    [
        (_answer({"a": 1}, 500), "status"),
        (_answer({"a": 1}, x="y"), "header x"),
        (_answer({"a": 1, "b": 2}), "body.b"),
        (Answer(200, {}, b"<html>"), "body"),
        (Answer(200, {}, b'{"a":1}'), "body"),
    ],
)
def test_every_kind_of_difference_has_its_place(other: Answer, place: str) -> None:
    assert [d.place for d in differences(_answer({"a": 1}), other)] == [place]
