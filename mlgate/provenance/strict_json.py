"""JSON that every reader reads alike.

Python takes the last of two equal keys, Go compares keys without case, some skip a byte order mark:
a document that is signed validly may still say different things to different verifiers. Such a
document is refused.
"""

import base64
import binascii
import json
import math
import re
from typing import Any, Final, NoReturn, TypeVar

from mlgate.provenance.reasons import Refused

# What `gh` and GitHub take of one attestation.
LARGEST: Final = 16 << 20
_DEEPEST: Final = 64
_BOM: Final = b"\xef\xbb\xbf"
_HEX: Final = re.compile(r"[0-9a-f]+")

T = TypeVar("T")


def parsed(data: bytes) -> Any:
    """The JSON value of `data`. Raises `Refused`."""
    if len(data) > LARGEST:
        raise Refused("json-too-large", f"{len(data):,} bytes; at most {LARGEST:,} are read")
    if data.startswith(_BOM):
        raise Refused("json-byte-order-mark", "begins with a byte order mark")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("json-not-utf8", f"is not UTF-8 at byte {error.start}") from None
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite
        )
    except RecursionError:
        raise Refused("json-too-deep", f"is nested deeper than {_DEEPEST} levels") from None
    except json.JSONDecodeError as error:
        reason = "json-trailing-data" if error.msg == "Extra data" else "json-malformed"
        raise Refused(reason, f"is no JSON: {error.msg}, line {error.lineno}") from None
    except ValueError:  # an integer of more digits than Python converts
        raise Refused("json-malformed", "holds a number that is too long") from None
    _refuse_deep(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Refused("json-duplicate-key", f"has the key {key[:80]!r} twice")
            seen.add(key)
    if len({key.casefold() for key in found}) != len(found):
        raise Refused("json-case-twins", f"has keys that differ only in case: {_names(found)}")
    return found


def _names(found: dict[str, Any]) -> str:
    return ", ".join(sorted(found))[:120]


def _constant(name: str) -> NoReturn:
    raise Refused("json-not-a-number", f"holds {name}")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Refused("json-not-a-number", f"holds {text[:40]}, which is infinite")
    return number


def _refuse_deep(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = [item for item in below if isinstance(item, dict | list)]
        if not level:
            return
    raise Refused("json-too-deep", f"is nested deeper than {_DEEPEST} levels")


class Shape:
    """Reads members of a JSON object by name and type; `reason` is what a wrong one is refused with.

    `what` is how messages call the object.
    """

    def __init__(self, value: Any, what: str, reason: str) -> None:
        if not isinstance(value, dict):
            raise Refused(reason, f"{what} is no object")
        self.value: dict[str, Any] = value
        self.what = what
        self.reason = reason

    def of(self, name: str, kind: type[T]) -> T:
        """The member `name`, which has to be there and of that type."""
        found = self.value.get(name)
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            raise Refused(self.reason, f"{self.what} has no {name} of type {kind.__name__}")
        return found

    def maybe(self, name: str, kind: type[T]) -> T | None:
        """The member `name`, or None where it is absent."""
        return self.of(name, kind) if name in self.value else None

    def inner(self, name: str) -> "Shape":
        """The object that is the member `name`."""
        return Shape(self.of(name, dict), f"{self.what}.{name}", self.reason)

    def each(self, name: str) -> list["Shape"]:
        """The objects of the list that is the member `name`."""
        listed = self.of(name, list)
        return [
            Shape(item, f"{self.what}.{name}[{index}]", self.reason)
            for index, item in enumerate(listed)
        ]

    def only(self, allowed: frozenset[str], reason: str) -> None:
        """Refuse members that the format does not have: another reader may act on them."""
        unknown = sorted(set(self.value) - allowed)
        if unknown:
            raise Refused(reason, f"{self.what} has an unknown field {unknown[0][:80]!r}")

    def bytes_of(self, name: str) -> bytes:
        """The member `name`, decoded from base64."""
        return from_base64(self.of(name, str), f"{self.what}.{name}")

    def count_of(self, name: str) -> int:
        """A number that protobuf's JSON writes as text (int64)."""
        found = self.value.get(name)
        if isinstance(found, str) and re.fullmatch(r"0|[1-9][0-9]{0,18}", found):
            return int(found)
        if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 1 << 63:
            return found
        raise Refused(self.reason, f"{self.what} has no {name} that is a whole number")


def from_base64(text: str, what: str) -> bytes:
    """Bytes of standard, padded base64 without anything else. Raises `Refused`."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("base64-not-canonical", f"{what} is not base64") from None
    if base64.b64encode(data).decode() != text:
        raise Refused("base64-not-canonical", f"{what} is not written in base64's one form")
    return data


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def hex_digest(value: Any, what: str, *, size: int = 32) -> str:
    """A digest of `size` bytes in lower-case hexadecimal. Raises `Refused`."""
    if isinstance(value, str) and len(value) == 2 * size and _HEX.fullmatch(value):
        return value
    raise Refused("digest-malformed", f"{what} is not {2 * size} lower-case hexadecimal digits")
