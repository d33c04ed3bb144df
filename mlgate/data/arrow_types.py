"""Arrow types as text: the inverse of `str(pa.DataType)`, plus the names people write instead."""

import re
from collections.abc import Callable
from typing import Final, NoReturn

import pyarrow as pa

_PLAIN: Final[dict[str, pa.DataType]] = {
    **{str(t): t for t in (
        pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(),
        pa.uint16(), pa.uint32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
        pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(),
        pa.binary_view(), pa.date32(), pa.date64(), pa.month_day_nano_interval(),
    )},
    "boolean": pa.bool_(), "float16": pa.float16(), "float32": pa.float32(),
    "float64": pa.float64(), "utf8": pa.string(), "str": pa.string(), "large_utf8":
    pa.large_string(), "date": pa.date32(), "date32": pa.date32(), "date64": pa.date64(),
    "extension<arrow.uuid>": pa.uuid(), "extension<arrow.json>": pa.json_(pa.string()),
    "extension<arrow.bool8>": pa.bool8(),
}  # fmt: skip

_WITH_UNIT: Final[dict[str, Callable[[str], pa.DataType]]] = {
    "time32": pa.time32,
    "time64": pa.time64,
    "duration": pa.duration,
    "timestamp": pa.timestamp,
}
_DECIMALS: Final[dict[str, Callable[[int, int], pa.DataType]]] = {
    "decimal": pa.decimal128,
    "decimal32": pa.decimal32,
    "decimal64": pa.decimal64,
    "decimal128": pa.decimal128,
    "decimal256": pa.decimal256,
}
_LISTS: Final[dict[str, Callable[[pa.Field], pa.DataType]]] = {
    "list": pa.list_,
    "large_list": pa.large_list,
    "list_view": pa.list_view,
    "large_list_view": pa.large_list_view,
}
_WORD: Final = re.compile(r"extension<arrow\.\w+>|[a-z_]+[0-9]*")
_DEEPEST: Final = 32


def known_names() -> tuple[str, ...]:
    """Names of types, for the hint that goes with an unknown one."""
    names = {*_PLAIN, *_WITH_UNIT, *_DECIMALS, *_LISTS}
    return tuple(sorted(names | {"struct", "map", "dictionary", "fixed_size_list"}))


def parse(text: str) -> pa.DataType:
    """The type that `text` names, e.g. `list<item: float>`. Raises `ValueError` for any other text.

    Takes every type as `str` prints it, with or without blanks, but for extension types other
    than uuid, json and bool8. A struct's field name ends at the first `:`.
    """
    reader = _Reader(text.strip())
    found = reader.type(0)
    if reader.at != len(reader.text):
        reader.fail()
    return found


class _Reader:
    """Recursive descent over one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self) -> NoReturn:
        raise ValueError(f"{self.text!r} is not an Arrow type (at character {self.at + 1})")

    def take(self, pattern: str) -> str | None:
        """The first group (or all) of `pattern`, if it comes next; blanks before it are skipped."""
        match = re.compile(r"\s*" + pattern).match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return match[1] if match.re.groups else match[0]

    def need(self, pattern: str) -> str:
        found = self.take(pattern)
        if found is None:
            self.fail()
        return found

    def type(self, depth: int) -> pa.DataType:
        if depth > _DEEPEST:
            raise ValueError(f"the type is nested deeper than {_DEEPEST}")
        match = _WORD.match(self.text, self.at)
        if match is None:
            self.fail()
        start, self.at = self.at, match.end()
        name = match[0]
        try:
            found = self._named(name, depth)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise ValueError(str(error) or f"{self.text!r} is not an Arrow type") from None
        if found is None:
            self.at = start
            self.fail()
        return found

    def _named(self, name: str, depth: int) -> pa.DataType | None:
        if name in _WITH_UNIT:
            return self._with_unit(name)
        if name in _DECIMALS:
            precision = int(self.need(r"\(\s*(\d+)"))
            scale = int(self.take(r",\s*(-?\d+)") or 0)
            self.need(r"\)")
            return _DECIMALS[name](precision, scale)
        if name == "fixed_size_binary":
            return pa.binary(int(self.need(r"\[(\d+)\]")))
        if name in _LISTS:
            return _LISTS[name](self._field_in_brackets(depth))
        match name:
            case "fixed_size_list":
                child = self._field_in_brackets(depth)
                return pa.list_(child, int(self.need(r"\[(\d+)\]")))
            case "struct":
                return self._struct(depth)
            case "map":
                return self._map(depth)
            case "dictionary":
                return self._dictionary(depth)
            case "run_end_encoded":
                self.need("<")
                self.need("run_ends:")
                self.take(" ")
                ends = self.type(depth + 1)
                self.need(r",\s*values:\s*")
                values = self.type(depth + 1)
                self.need(">")
                return pa.run_end_encoded(ends, values)
            case _:
                return self._plain(name)

    def _plain(self, name: str) -> pa.DataType | None:
        found = _PLAIN.get(name)
        if found is not None and (unit := {"date32": "day", "date64": "ms"}.get(name)):
            self.take(rf"\[{unit}\]")
        return found

    def _with_unit(self, name: str) -> pa.DataType:
        unit = self.need(r"\[\s*(s|ms|us|ns)")
        zone = self.take(r",\s*tz\s*=\s*([^\]\s]+)") if name == "timestamp" else None
        self.need(r"\]")
        return pa.timestamp(unit, zone) if zone else _WITH_UNIT[name](unit)

    def _field_in_brackets(self, depth: int) -> pa.Field:
        self.need("<")
        self.take(r"\s*")
        child = self._field(depth) if self._names_a_field() else self._nullable("item", depth)
        self.need(">")
        return child

    def _names_a_field(self) -> bool:
        """Whether a name comes next: `list<item: int64>`, and not the short form `list<int64>`."""
        return re.compile(r"\w+\s*:").match(self.text, self.at) is not None

    def _field(self, depth: int) -> pa.Field:
        name = self.need(r"([^:]*?)\s*:\s*")
        return self._nullable(name, depth)

    def _nullable(self, name: str, depth: int) -> pa.Field:
        child = self.type(depth + 1)
        return pa.field(name, child, nullable=self.take(r"not null\b") is None)

    def _struct(self, depth: int) -> pa.DataType:
        self.need("<")
        fields: list[pa.Field] = []
        while self.take(">") is None:
            if fields:
                self.need(",")
            fields.append(self._field(depth))
        return pa.struct(fields)

    def _map(self, depth: int) -> pa.DataType:
        self.need(r"<\s*")
        key = self.type(depth + 1)
        self.need(r",\s*")
        value = self._nullable("value", depth)
        self.take(r"\('[^']*'\)")
        in_order = self.take(r",\s*keys_sorted") is not None
        self.need(">")
        return pa.map_(key, value, keys_sorted=in_order)

    def _dictionary(self, depth: int) -> pa.DataType:
        self.need(r"<\s*(?:values=)?")
        values = self.type(depth + 1)
        index: pa.DataType = pa.int32()
        if self.take(r",\s*indices=") is not None:
            index = self.type(depth + 1)
        in_order = self.take(r",\s*ordered=(\d)") == "1"
        self.need(">")
        return pa.dictionary(index, values, ordered=in_order)
