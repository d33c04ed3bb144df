"""Whether two answers say the same.

Some of what a server says differs on every run: request ids, times, tokens. `unstable` finds it by
asking the *same* server twice, and only what looks like one of those may be set aside, by name. A
prediction that differs is not noise: it is an error of whoever asked for equality.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from mlgate.serving.recorded import Answer

# Say nothing about the answer, or follow from what is compared anyway.
_UNCOMPARED: Final = frozenset({"date", "connection", "keep-alive", "content-length", "server"})
_VOLATILE_NAME: Final = re.compile(
    r"(^|[_.\-])(\w*id|uuid|guid|token|nonce|time|times|timestamp|date|created|updated|started|"
    r"expires|etag|trace|span|elapsed|duration|latency|uptime|took|load_s|host|hostname|pid|"
    r"\w*_ms|\w*_ns|\w*_us|\w*_at)$",
    re.IGNORECASE,
)
_VOLATILE_TEXT: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # a UUID
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*"  # a time
    r"|[0-9a-f]{16,}",  # an id in hexadecimal
    re.IGNORECASE,
)
_MOST_DIFFERENCES: Final = 20


@dataclass(frozen=True)
class Tolerance:
    """When two numbers in JSON are the same: |a − b| ≤ absolute + relative · |b|."""

    relative: float = 0.0
    absolute: float = 0.0

    def holds(self, a: float, b: float) -> bool:
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        if math.isinf(a) or math.isinf(b):
            return a == b
        return abs(a - b) <= self.absolute + self.relative * abs(b)


EXACT: Final = Tolerance()


@dataclass(frozen=True)
class Difference:
    """One place in which two answers differ. `place`: `status`, `header x` or `body.a[*].b`."""

    place: str
    expected: str
    actual: str
    volatile: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"{self.place}: {self.expected} → {self.actual}"


def differences(
    expected: Answer,
    actual: Answer,
    *,
    tolerance: Tolerance = EXACT,
    aside: frozenset[str] = frozenset(),
) -> tuple[Difference, ...]:
    """Where `actual` differs from `expected`, at most 20 places; `aside` are places to leave out.

    JSON bodies are compared as bytes first, then value by value: key order and white space of an
    otherwise equal body are a difference too, unless there is a tolerance or something is aside.
    """
    found = []
    if expected.status != actual.status:
        found.append(Difference("status", str(expected.status), str(actual.status)))
    found += _headers(expected, actual)
    found += _bodies(expected, actual, tolerance, aside)
    kept = [difference for difference in found if difference.place not in aside]
    return tuple(kept[:_MOST_DIFFERENCES])


def unstable(
    first: Answer, second: Answer, *, tolerance: Tolerance = EXACT
) -> tuple[frozenset[str], tuple[Difference, ...]]:
    """Of two answers of the same server: places that may be set aside, and differences that may not."""
    aside = set()
    left = []
    for difference in differences(first, second, tolerance=tolerance):
        if difference.volatile:
            aside.add(difference.place)
        else:
            left.append(difference)
    return frozenset(aside), tuple(left)


def _headers(expected: Answer, actual: Answer) -> Iterator[Difference]:
    for name in sorted(set(expected.headers) | set(actual.headers)):
        if name in _UNCOMPARED:
            continue
        a, b = expected.headers.get(name, "absent"), actual.headers.get(name, "absent")
        if a != b:
            yield Difference(f"header {name}", a[:200], b[:200], _volatile(name, a, b))


def _bodies(
    expected: Answer, actual: Answer, tolerance: Tolerance, aside: frozenset[str]
) -> list[Difference]:
    if expected.body == actual.body:
        return []
    whole = Difference("body", _shown(expected.body), _shown(actual.body))
    try:
        a, b = json.loads(expected.body), json.loads(actual.body)
    except ValueError:
        return [whole]
    found = list(_values(a, b, "body", tolerance))
    lenient = tolerance != EXACT or any(place.startswith("body") for place in aside)
    if found or lenient:
        return found
    return [whole]  # the same values, written in another way


def _values(a: Any, b: Any, place: str, tolerance: Tolerance) -> Iterator[Difference]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(set(a) | set(b)):
            inner = f"{place}.{key}"
            if key in a and key in b:
                yield from _values(a[key], b[key], inner, tolerance)
            else:
                yield Difference(inner, _text(a, key), _text(b, key))
    elif isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            yield Difference(place, f"{len(a)} items", f"{len(b)} items")
            return
        for one, other in zip(a, b, strict=True):
            yield from _values(one, other, f"{place}[*]", tolerance)
    elif not _same(a, b, tolerance):
        name = place.rpartition(".")[2].removesuffix("[*]")
        yield Difference(place, _json(a), _json(b), _volatile(name, a, b))


def _same(a: Any, b: Any, tolerance: Tolerance) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return tolerance.holds(a, b)
    return type(a) is type(b) and bool(a == b)


def _volatile(name: str, a: Any, b: Any) -> bool:
    """Whether a value that differs is one that servers make anew: by its name, or by its look."""
    if _VOLATILE_NAME.search(name):
        return True
    texts = isinstance(a, str) and isinstance(b, str)
    return texts and bool(_VOLATILE_TEXT.fullmatch(a) and _VOLATILE_TEXT.fullmatch(b))


def _text(values: dict[str, Any], key: str) -> str:
    return _json(values[key]) if key in values else "absent"


def _json(value: Any) -> str:
    return json.dumps(value)[:200]


def _shown(body: bytes) -> str:
    return f"{len(body)} bytes: {body[:80].decode(errors='replace')}"
