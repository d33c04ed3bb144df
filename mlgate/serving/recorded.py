"""Requests as people wrote them down, one JSON value a line, and the answers to them."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mlgate.errors import StageError

LARGEST_FILE: Final = 256 << 20  # bytes
_LINE: Final = re.compile(r"(?P<method>[A-Z]+) (?P<path>/\S*)")
_METHOD: Final = re.compile(r"[A-Z]{1,16}")
_KEYS: Final = frozenset({"method", "path", "headers", "body", "body_base64", "id"})


@dataclass(frozen=True)
class Request:
    """One HTTP request. `name` is how reports call it; `body` is what is sent, byte for byte."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    name: str = ""

    def __str__(self) -> str:
        return self.name or f"{self.method} {self.path}"


@dataclass(frozen=True)
class Answer:
    """What came back. `headers` have lower-case names; `seconds` is from sending to the last byte."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0].strip().lower()


def request_of(text: str) -> Request:
    """A request without a body, as `GET /openapi.json`. Raises `StageError`."""
    match = _LINE.fullmatch(text.strip())
    if match is None:
        raise StageError(f"{text[:80]!r} is not a request", hint="write it as GET /path")
    return Request(match["method"], match["path"])


def read_requests(path: Path) -> tuple[Request, ...]:
    """The requests of a JSON Lines file.

    A line is `{"method", "path", "headers"?, "body"?, "body_base64"?, "id"?}`, or text such as
    `"GET /openapi.json"`. A `body` that is no text is sent as JSON. Raises `StageError` for a file
    that cannot be read, holds no requests, or says something else.
    """
    try:
        if not path.is_file():
            raise StageError(f"{path} is not a file", hint="requests are a JSON Lines file")
        if path.stat().st_size > LARGEST_FILE:
            raise StageError(f"{path} is larger than {LARGEST_FILE >> 20} MiB")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StageError(f"{path} cannot be read: {error}") from None
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            found.append(_request(line, f"{path.name}:{number}"))
    if not found:
        raise StageError(
            f"{path.name} holds no requests",
            hint="record some: without them nothing is asked, and nothing is proven",
        )
    return tuple(found)


def _request(line: str, where: str) -> Request:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise StageError(f"{where} is not JSON: {error}") from None
    if isinstance(value, str):
        return request_of(value)
    if not isinstance(value, dict):
        raise StageError(f"{where}: a request is an object, or text such as GET /path")
    unknown = sorted(set(value) - _KEYS)
    if unknown:
        raise StageError(f"{where}: {unknown[0]} means nothing", hint=", ".join(sorted(_KEYS)))
    method = value.get("method", "POST" if "body" in value or "body_base64" in value else "GET")
    path = value.get("path")
    if not isinstance(method, str) or _METHOD.fullmatch(method) is None:
        raise StageError(f"{where}: {method!r} is not a method")
    if not isinstance(path, str) or re.fullmatch(r"/\S*", path) is None:
        raise StageError(f"{where}: path has to begin with /")
    body, kind = _body(value, where)
    headers = _headers(value, kind, where)
    return Request(method, path, headers, body, name=str(value.get("id", "")))


def _body(value: dict[str, Any], where: str) -> tuple[bytes | None, str | None]:
    """The bytes to send, and the media type that they have unless a header says otherwise."""
    if "body" in value and "body_base64" in value:
        raise StageError(f"{where}: give either body or body_base64")
    if "body_base64" in value:
        try:
            return base64.b64decode(value["body_base64"], validate=True), "application/octet-stream"
        except (binascii.Error, TypeError, ValueError):
            raise StageError(f"{where}: body_base64 is not base64") from None
    if "body" not in value:
        return None, None
    if isinstance(value["body"], str):
        return value["body"].encode(), "text/plain"
    return json.dumps(value["body"]).encode(), "application/json"


def _headers(value: dict[str, Any], kind: str | None, where: str) -> tuple[tuple[str, str], ...]:
    given = value.get("headers", {})
    if not isinstance(given, dict):
        raise StageError(f"{where}: headers are an object")
    headers = {}
    for name, text in given.items():
        if not isinstance(text, str) or re.search(r"[\r\n]", name + text):
            raise StageError(f"{where}: the header {name!r} is not one line of text")
        headers[name] = text
    if kind is not None and "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = kind
    return tuple(headers.items())
