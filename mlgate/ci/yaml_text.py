"""Plain values as YAML that every parser, of 1.1 or 1.2, reads the same way.

Small and ours, so that the bytes do not change with a library's version. A string is written
without quotes only where no parser could take it for anything else.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_PLAIN: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_./@-]*(?: [A-Za-z0-9_./@()-]+)*$")
# What YAML 1.1 takes for something else than text, besides what `_PLAIN` leaves out.
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"})
# Lines of printable ASCII, the first not indented: a script, which people want to read.
_BLOCK: Final = re.compile(r"^[!-~](?:[ -~]*[!-~])?\n(?:(?:[ -~]*[!-~])?\n)*(?<!\n\n)\Z")
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


@dataclass(frozen=True)
class Remarked:
    """A scalar, or the value of a key, with a comment behind it."""

    value: "Value"
    remark: str


Value = bool | int | str | Remarked | Mapping[str, "Value"] | Sequence["Value"] | None


def dump(value: Mapping[str, Value]) -> str:
    """The YAML document for `value`, block style, two spaces, keys in the order given."""
    return "\n".join(_lines(value, 0)) + "\n"


def scalar(value: bool | int | str | None) -> str:
    """One scalar on one line."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return value if _is_plain(value) else f'"{"".join(map(_escaped, value))}"'


def _is_plain(text: str) -> bool:
    return bool(_PLAIN.match(text)) and text.lower() not in _WORDS and len(text) < 200


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    printable = 0x20 <= code < 0x7F or 0xA0 <= code < 0x2028 or 0x2030 <= code < 0xD800
    if printable:
        return char
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _lines(value: Mapping[str, Value] | Sequence[Value], depth: int) -> Iterator[str]:
    pad = "  " * depth
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _entry(f"{pad}{scalar(key)}:", item, depth + 1)
        return
    for item in value:
        if isinstance(item, Mapping | list | tuple) and item:
            first, *rest = _lines(item, depth + 1)
            yield f"{pad}- {first.lstrip()}"
            yield from rest
        else:
            yield from _entry(f"{pad}-", item, depth + 1)


def _entry(head: str, item: Value, depth: int) -> Iterator[str]:
    """`head` and what belongs to it: behind it for a scalar, below it for anything else."""
    if isinstance(item, Remarked):
        first, *rest = _entry(head, item.value, depth)
        yield f"{first} # {' '.join(item.remark.split())}"
        yield from rest
    elif isinstance(item, Mapping):
        yield head if item else f"{head} {{}}"
        yield from _lines(item, depth)
    elif isinstance(item, list | tuple):
        words = [scalar(one) for one in item if isinstance(one, str | int)]
        if len(words) == len(item):
            yield f"{head} [{', '.join(words)}]"
        else:
            yield head
            yield from _lines(item, depth)
    elif isinstance(item, str) and _BLOCK.match(item):
        yield f"{head} |"
        for line in item.removesuffix("\n").split("\n"):
            yield f"{'  ' * depth}{line}".rstrip()
    else:
        assert isinstance(item, bool | int | str | None)
        yield f"{head} {scalar(item)}"
