"""What is written is what every parser reads, of YAML 1.1 and 1.2."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlgate import document
from mlgate.ci.yaml_text import Remarked, dump

_texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["on", "no", "Yes", "y", "null", "~", "1:30", "0o7", "1e3", ".5", "2026-01-01",
                     "a: b", "a #b", "- a", "*a", "&a", "!a", "%a", "@a", "`a", "", " ", "a ", "|",
                     "a\nb\n", "a\nb", "\n", "a\n\n", "a\n\nb\n", "${{ a }}", "\u2028", "=", "<<"]),
)  # fmt: skip
_values = st.recursive(
    st.one_of(_texts, st.integers(-(10**9), 10**9), st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(_texts, _values, min_size=1, max_size=3))
def test_both_parsers_read_what_was_written(value: dict[str, Any]) -> None:
    written = dump(value)
    assert yaml.safe_load(written) == value
    if not _has_own_keys(value):
        node, problems = document.parse(written, "x.yaml")
        assert problems == ()
        assert node is not None
        assert document.plain(node) == value


def _has_own_keys(value: Any) -> bool:
    """`x-` keys are left out of a spec, `<<` merges: not what this is about."""
    if isinstance(value, dict):
        return any(k.startswith("x-") or k == "<<" or _has_own_keys(v) for k, v in value.items())
    return isinstance(value, list) and any(map(_has_own_keys, value))


@pytest.mark.parametrize("remark", ["v1.0.0", "two\nlines", "# more"])
def test_a_remark_is_never_part_of_the_value(remark: str) -> None:
    assert yaml.safe_load(dump({"uses": Remarked("a@b", remark), "b": 1})) == {
        "uses": "a@b",
        "b": 1,
    }


def test_how_it_looks() -> None:
    value: dict[str, Any] = {
        "on": {"push": None},
        "run": "a\nb\n",
        "list": [{"a": 1, "b": [1, "x"]}],
        "e": {},
    }
    assert dump(value) == (
        '"on":\n  push: null\nrun: |\n  a\n  b\nlist:\n  - a: 1\n    b: [1, x]\ne: {}\n'
    )
