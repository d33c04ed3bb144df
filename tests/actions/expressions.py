"""GitHub's expressions: the part that our files use, evaluated as GitHub does.

https://docs.github.com/actions/reference/workflows-and-actions/expressions: operators, property
access, comparison that ignores the case of strings, null for what is not there.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_-]*)|(?P<sign>&&|\|\||==|!=|[!().,\[\]]))"
)


def interpolated(text: object, contexts: Mapping[str, Any]) -> str:
    """A value of a workflow, with every `${{ }}` in it evaluated."""
    if not isinstance(text, str):
        return _text(text)
    return re.sub(
        r"\$\{\{((?:'[^']*'|[^'])*?)\}\}", lambda match: _text(evaluate(match[1], contexts)), text
    )


def evaluate(expression: str, contexts: Mapping[str, Any]) -> Any:
    """The value of an expression. Functions are among the contexts, as callables."""
    inner = re.fullmatch(r"\s*\$\{\{(.*)\}\}\s*", expression, re.DOTALL)
    return _Parser(inner[1] if inner else expression, contexts).whole()


class _Parser:
    def __init__(self, text: str, contexts: Mapping[str, Any]) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.contexts = contexts
        at, text = 0, text.strip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            assert match, f"not an expression: {text[at:]!r}"
            assert match.lastgroup
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self.at = 0

    def whole(self) -> Any:
        value = self.either()
        assert self.at == len(self.tokens), f"left over: {self.tokens[self.at :]}"
        return value

    def peek(self) -> str | None:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else None

    def take(self) -> tuple[str, str]:
        self.at += 1
        return self.tokens[self.at - 1]

    def either(self) -> Any:
        value = self.both()
        while self.peek() == "||":
            self.take()
            other = self.both()
            value = value if _true(value) else other
        return value

    def both(self) -> Any:
        value = self.equal()
        while self.peek() == "&&":
            self.take()
            other = self.equal()
            value = other if _true(value) else value
        return value

    def equal(self) -> Any:
        value = self.negated()
        while self.peek() in ("==", "!="):
            sign = self.take()[1]
            same = _same(value, self.negated())
            value = same if sign == "==" else not same
        return value

    def negated(self) -> Any:
        if self.peek() == "!":
            self.take()
            return not _true(self.negated())
        return self.path()

    def path(self) -> Any:
        value = self.atom()
        while self.peek() in (".", "["):
            if self.take()[1] == ".":
                key = self.take()[1]
            else:
                key = self.either()
                assert self.take()[1] == "]"
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def atom(self) -> Any:
        kind, word = self.take()
        if kind == "text":
            return word[1:-1].replace("''", "'")
        if kind == "number":
            return float(word)
        if word == "(":
            value = self.either()
            assert self.take()[1] == ")"
            return value
        if word in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[word]
        if self.peek() == "(":
            return self.call(word)
        assert word in self.contexts, f"there is no context {word}"
        return self.contexts[word]

    def call(self, name: str) -> Any:
        self.take()
        arguments = []
        while self.peek() != ")":
            arguments.append(self.either())
            if self.peek() == ",":
                self.take()
        self.take()
        functions: dict[str, Callable[..., Any]] = {
            "contains": lambda where, what: any(_same(item, what) for item in where or []),
            "fromJSON": json.loads,
            "toJSON": lambda value: json.dumps(value, indent=2),
        }
        function = functions.get(name) or self.contexts[name]
        return function(*arguments)


def _true(value: Any) -> bool:
    return value not in (None, False, 0, "")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.lower() == other.lower()
    if isinstance(one, str) or isinstance(other, str):
        return _number(one) == _number(other)  # NaN equals nothing
    return bool(one == other)


def _number(value: Any) -> float:
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return float("nan")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
