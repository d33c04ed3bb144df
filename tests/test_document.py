"""YAML 1.2: what scalars mean, what is refused, and where everything stands."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate import document
from mlgate.document import find, key_position, parse, plain
from mlgate.errors import MlgateError


def value(text: str) -> document.Plain:
    node, problems = parse(text, "f.yaml")
    assert not problems
    assert node is not None
    return plain(node)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("'12'", "12"),
        ('"true"', "true"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_scalars_of_the_core_schema(text: str, expected: object) -> None:
    assert value(f"a: {text}") == {"a": expected}


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("a: [1", "MG101", 2, 1),
        ("a: b: c", "MG101", 1, 5),
        ("a: 1\n---\nb: 2", "MG101", 2, 1),
        ("a: \x07", "MG101", 1, 4),
        ("a: !!python/object:os.system {}", "MG102", 1, 4),
        ("a: !secret x", "MG102", 1, 4),
        ("a: &a [*a]", "MG102", 1, 8),
        ("a: *b", "MG102", 1, 4),
        ("a: 1\nb: 2\na: 3", "MG103", 3, 1),
        ("a: 1\n'a': 3", "MG103", 2, 1),
        ("8: 1\n'8': 3", "MG103", 2, 1),
        ("? [a]\n: 1", "MG103", 1, 3),
        ("a: .nan", "MG103", 1, 4),
        ("a: -.inf", "MG103", 1, 4),
        ("a: 1e999", "MG103", 1, 4),
        ("a: 9999999999999999999", "MG103", 1, 4),
        ("a: {<<: 3}", "MG103", 1, 9),
        ("[" * 65, "MG102", 1, 65),
    ],
)
def test_what_is_refused_and_where(text: str, code: str, line: int, column: int) -> None:
    _, problems = parse(text, "f.yaml")
    first = problems[0]
    assert (first.code, first.position.line, first.position.column) == (code, line, column)


def test_a_billion_laughs_are_refused_at_once() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for here, before in zip("bcdefghij", "abcdefghi", strict=True):
        lines.append(f"{here}: &{here} [{', '.join([f'*{before}'] * 10)}]")
    node, problems = parse("\n".join(lines), "f.yaml")
    assert node is None
    assert [p.code for p in problems] == ["MG102"]


def test_depth_counts_aliases() -> None:
    lines = [f"k{i}: &k{i} [{f'*k{i - 1}' if i else 1}]" for i in range(100)]
    _, problems = parse("\n".join(lines), "f.yaml")
    assert "nested deeper" in problems[0].message


def test_all_problems_are_collected() -> None:
    _, problems = parse("a: 1\na: 2\nb: .nan\nc: !x y", "f.yaml")
    assert {p.position.line for p in problems} == {2, 3, 4}


def test_merge_keys_and_aliases_keep_their_places() -> None:
    text = "base: &b {x: 1, y: 2}\nmine: {<<: *b, y: 3}\n"
    node, _ = parse(text, "f.yaml")
    assert node is not None
    assert plain(find(node, ("mine",))) == {"y": 3, "x": 1}
    assert key_position(node, ("mine", "x")).line == 1
    assert key_position(node, ("mine", "y")).line == 2


def test_keys_of_ones_own_are_left_out() -> None:
    assert value("x-note: {anything: 1}\na: 1") == {"a": 1}


def test_text_that_is_not_utf8_is_said_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mlgate.yaml"
    file.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(MlgateError, match=r"mlgate.yaml:2: not UTF-8"):
        document.read(file, "mlgate.yaml")


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_explained(text: str) -> None:
    node, problems = parse(text, "f.yaml")
    assert node is not None or problems or not text.strip() or text.lstrip().startswith("#")
    for problem in problems:
        assert problem.position.line >= 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1, max_size=5), json_values))
def test_json_is_yaml(value_: dict[str, object]) -> None:
    text = json.dumps(value_)
    node, problems = parse(text, "f.yaml")
    if problems or node is None:
        return  # YAML has no control characters
    assert _without_own_keys(value_) == plain(node)


def _without_own_keys(value_: object) -> object:
    if isinstance(value_, dict):
        return {k: _without_own_keys(v) for k, v in value_.items() if not k.startswith("x-")}
    if isinstance(value_, list):
        return [_without_own_keys(item) for item in value_]
    return value_


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_nesting_is_bounded_whoever_bounds_it(opening: str) -> None:
    """PyYAML before 6.0.4 has no bound, and later ones stop before we see the 65th level."""
    _, problems = parse(opening * 20_000, "f.yaml")
    assert [problem.code for problem in problems] == ["MG102"]
    assert "nested deeper than 64" in problems[0].message
    assert problems[0].position.line == 1
