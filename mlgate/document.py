"""YAML 1.2 text as plain values that know where they stand.

The core schema's scalars only (no `on`/`no` booleans, no dates, no octal surprises), no custom
tags, no duplicate keys, bounded aliases and depth. Every problem is collected, not only the first.
"""

import errno
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from mlgate.errors import Position, Problem, UsageError, without_passwords
from mlgate.files import read_bytes

MAX_BYTES: Final = 10_000_000
MAX_NODES: Final = 1_000_000
MAX_DEPTH: Final = 64
_SHOWN: Final = 160  # characters of a line, around the place in question
MAX_INTEGER: Final = 2**53 - 1  # beyond it readers of JSON disagree (RFC 8785)

_CSafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# YAML 1.2.2, section 10.3.2: what a plain scalar of the core schema means.
_NULL: Final = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL: Final = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT: Final = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT: Final = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")
_INFINITE: Final = re.compile(r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$")

# libyaml's marks and Python's share no class: each has line and column, from 0.
Mark = Any

Plain = bool | int | float | str | list["Plain"] | dict[str, "Plain"] | None


@dataclass(frozen=True)
class Scalar:
    """A leaf. `value` is None, bool, int, float or str."""

    value: bool | int | float | str | None
    position: Position


@dataclass(frozen=True)
class Sequence:
    """A list of nodes."""

    items: tuple["Node", ...]
    position: Position


@dataclass(frozen=True)
class Mapping:
    """A map of nodes; `keys` are where each key stands."""

    items: dict[str, "Node"]
    keys: dict[str, Position]
    position: Position


Node = Scalar | Sequence | Mapping


def plain(node: Node) -> Plain:
    """The node as Python values. `x-…` keys are the reader's own and left out."""
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {k: plain(v) for k, v in node.items.items() if not k.startswith("x-")}


def find(node: Node, path: tuple[str | int, ...]) -> Node:
    """The node at `path`; parts of the path that are not in the document are passed over."""
    for part in path:
        match node:
            case Mapping() if str(part) in node.items:
                node = node.items[str(part)]
            case Sequence() if isinstance(part, int) and part < len(node.items):
                node = node.items[part]
            case _:
                continue
    return node


def key_position(node: Node, path: tuple[str | int, ...]) -> Position:
    """Where the key at `path` is written; where the value starts, if it is not in a map."""
    parent = find(node, path[:-1]) if path else node
    if path and isinstance(parent, Mapping) and str(path[-1]) in parent.keys:
        return parent.keys[str(path[-1])]
    return find(node, path).position


def nearest_position(node: Node, path: tuple[str | int, ...]) -> Position:
    """Where the key at `path` is written, or the last one on the way to it that is."""
    position = node.position
    for part in path:
        match node:
            case Mapping() if str(part) in node.keys:
                position, node = node.keys[str(part)], node.items[str(part)]
            case Sequence() if isinstance(part, int) and part < len(node.items):
                node = node.items[part]
                position = node.position
            case _:
                break
    return position


def read(path: Path, name: str) -> str:
    """The text of a file. `name` stands for it in errors. Raises `UsageError`, with a hint."""
    try:
        if path.is_dir():
            raise UsageError(f"{name} is a folder, not a file")
        data = read_bytes(path, most=MAX_BYTES)
    except FileNotFoundError:
        raise UsageError(f"{name} does not exist") from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            message = f"{name} is larger than {MAX_BYTES // 10**6} MB"
            raise UsageError(message, hint="is this the right file?") from None
        if error.errno == errno.EINVAL:
            raise UsageError(f"{name} is no regular file") from None
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{name}:{line}: not UTF-8 (byte {error.start})", hint="save the file as UTF-8"
        ) from None


class _Place(NamedTuple):
    line: int
    column: int


@dataclass
class _Open:
    """A collection whose end has not come yet."""

    mark: Mark
    is_map: bool
    anchor: str | None
    nodes: list[Node] = field(default_factory=list)
    size: int = 1
    height: int = 0


class _Parser:
    """Builds nodes out of libyaml's events: no recursion, so that no input can exhaust a stack."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.file = file
        self.problems: list[Problem] = []
        self.anchors: dict[str, tuple[Node, int, int] | None] = {}

    def at(self, mark: Mark) -> Position:
        line = self.lines[mark.line].rstrip("\r") if mark.line < len(self.lines) else ""
        first = 0 if len(line) <= _SHOWN else max(0, mark.column - _SHOWN // 2)
        part = without_passwords(line[max(0, first - _SHOWN) : first + _SHOWN])
        shown = part[min(first, _SHOWN) :]
        return Position(self.file, mark.line + 1, mark.column + 1, shown, first + 1)

    def problem(self, code: str, message: str, mark: Mark, hint: str | None = None) -> None:
        self.problems.append(Problem(code, message, self.at(mark), hint))

    def parse(self) -> Node | None:
        try:
            return self._build()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            assert mark is not None
            if "nesting depth" in str(error.problem):  # newer libyaml has a bound of its own
                self._too_deep(mark)
                return None
            context = f" ({error.context})" if error.context else ""
            self.problem("MG101", f"not YAML: {error.problem}{context}", mark)
        except yaml.reader.ReaderError as error:
            before = self.text[: error.position]
            line = before.count("\n")
            column = len(before) - before.rfind("\n") - 1
            self.problem("MG101", f"not YAML: {error.reason}", _Place(line, column))
        return None

    def _build(self) -> Node | None:
        stack: list[_Open] = []
        root: Node | None = None
        documents = 0
        for event in yaml.parse(self.text, Loader=_CSafeLoader):
            node: Node
            size, height = 1, 0  # with every alias written out
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        self.problem("MG101", "a second document starts here", event.start_mark)
                        return None
                    continue
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._refuse_tag(event.tag, event.start_mark, implicit=event.implicit)
                    if len(stack) >= MAX_DEPTH:
                        self._too_deep(event.start_mark)
                        return None
                    if event.anchor:
                        self.anchors[event.anchor] = None
                    is_map = isinstance(event, yaml.MappingStartEvent)
                    stack.append(_Open(event.start_mark, is_map, event.anchor))
                    continue
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    ended = stack.pop()
                    node = self._mapping(ended) if ended.is_map else self._sequence(ended)
                    size, height = ended.size, ended.height + 1
                    if ended.anchor:
                        self.anchors[ended.anchor] = (node, size, height)
                case yaml.AliasEvent():
                    known = self.anchors.get(event.anchor or "")
                    if known is None:
                        what = "itself" if event.anchor in self.anchors else "nothing"
                        message = f"alias *{event.anchor} stands for {what}"
                        self.problem("MG102", message, event.start_mark)
                        return None
                    node, size, height = known
                case yaml.ScalarEvent():
                    node = self._scalar(event)
                    if event.anchor:
                        self.anchors[event.anchor] = (node, 1, 0)
                case _:
                    continue
            if not stack:
                root = node
                continue
            stack[-1].nodes.append(node)
            stack[-1].size += size
            stack[-1].height = max(stack[-1].height, height)
            if len(stack) + height > MAX_DEPTH:
                self._too_deep(event.start_mark)
                return None
            if stack[-1].size > MAX_NODES:
                message = f"more than {MAX_NODES:,} values once its aliases are written out"
                self.problem("MG102", message, event.start_mark)
                return None
        return root

    def _too_deep(self, mark: Mark) -> None:
        self.problem("MG102", f"nested deeper than {MAX_DEPTH}", mark)

    def _sequence(self, ended: _Open) -> Sequence:
        return Sequence(tuple(ended.nodes), self.at(ended.mark))

    def _mapping(self, ended: _Open) -> Mapping:
        items: dict[str, Node] = {}
        keys: dict[str, Position] = {}
        merged: list[Mapping] = []
        for key, value in zip(ended.nodes[::2], ended.nodes[1::2], strict=True):
            if not isinstance(key, Scalar):
                self.problems.append(Problem("MG103", "a key must be plain text", key.position))
                continue
            name = _written(key)
            if name == "<<":
                merged += self._merged(value)
            elif name in items:
                first = keys[name]
                message = f"{name!r} is given twice (first in line {first.line})"
                self.problems.append(Problem("MG103", message, key.position))
            else:
                items[name], keys[name] = value, key.position
        for other in merged:
            for name, value in other.items.items():
                if name not in items:
                    items[name], keys[name] = value, other.keys[name]
        return Mapping(items, keys, self.at(ended.mark))

    def _merged(self, value: Node) -> Iterator[Mapping]:
        for node in value.items if isinstance(value, Sequence) else (value,):
            if isinstance(node, Mapping):
                yield node
            else:
                message = "<< merges maps, and this is none"
                self.problems.append(Problem("MG103", message, node.position))

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        self._refuse_tag(event.tag, event.start_mark, implicit=any(event.implicit))
        position = self.at(event.start_mark)
        if event.style:  # quoted, or a block: text as it stands
            return Scalar(event.value, position)
        return Scalar(self._resolve(event), position)

    def _resolve(self, event: yaml.ScalarEvent) -> bool | int | float | str | None:
        text: str = event.value
        if _NULL.match(text):
            return None
        if _BOOL.match(text):
            return text.lower() == "true"
        if _INT.match(text):
            # The length first: int() of a million digits takes minutes.
            number = 0 if len(text) > 20 else int(text, 0 if text[:2] in ("0o", "0x") else 10)
            if len(text) > 20 or abs(number) > MAX_INTEGER:
                message = "an integer beyond ±(2⁵³ − 1), where readers disagree"
                self.problem("MG103", message, event.start_mark, "quote it if it is text")
                return 0
            return number
        if _FLOAT.match(text):
            if math.isfinite(real := float(text)):
                return real
        elif not _INFINITE.match(text):
            return text
        message = f"{text} is not a finite number"
        self.problem("MG103", message, event.start_mark, "quote it if it is text")
        return 0.0

    def _refuse_tag(self, tag: str | None, mark: Mark, *, implicit: bool) -> None:
        if tag is not None and tag != "!" and not implicit:
            self.problem("MG102", f"tags are not used here ({tag})", mark, "leave the tag out")


def _written(key: Scalar) -> str:
    """A key as text: `8: x` and `"8": x` are one key."""
    if isinstance(key.value, bool):
        return str(key.value).lower()
    return "null" if key.value is None else str(key.value)


def parse(text: str, file: str) -> tuple[Node | None, tuple[Problem, ...]]:
    """The document in `text`, and every problem with it; None when there is no document.

    `file` is the name that positions carry.
    """
    parser = _Parser(text, file)
    node = parser.parse()
    return node, tuple(parser.problems)
