"""Is a change of a contract allowed? Schema evolution, judged for both kinds of reader.

The words are those of schema registries. BACKWARD: a reader of the new schema can read old data.
FORWARD: a reader of the old schema can read new data. FULL: both. TRANSITIVE: against every earlier
version, not only the last. A model is a reader of the old schema, so a column that a model reads is
always judged FORWARD too, whatever mode is asked for.

One principle decides types: a reader of type R can read data of type W when every value of W is a
value of R, unchanged. Widening is so fine BACKWARD and breaks FORWARD; narrowing the reverse; types
of which neither holds the other break both. Stricter than the principle, because readers are:
decimals of another scale (Iceberg and Avro refuse them) and dates read as timestamps. Laxer:
timestamps in nanoseconds hold only the years 1677 to 2262, which is said and not refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa

from mlgate.stages.validate.contracts.contract import Column, Contract

Mode = Literal[
    "backward",
    "forward",
    "full",
    "backward_transitive",
    "forward_transitive",
    "full_transitive",
]
MODES: Final[tuple[Mode, ...]] = (
    "backward", "forward", "full", "backward_transitive", "forward_transitive", "full_transitive",
)  # fmt: skip

_UNITS: Final = ("s", "ms", "us", "ns")
_MANTISSA: Final = {16: 11, 32: 24, 64: 53}


@dataclass(frozen=True)
class Change:
    """One difference between two versions, and whom it breaks."""

    path: str
    """Column, or a place in it: `address.zip`, `tags[]`, `prices{key}`, `prices{value}`."""
    kind: str
    """E.g. added, dropped, renamed, type, required, nullable, enum, unique, order."""
    old: str | None
    new: str | None
    backward: bool
    """Breaks readers of the new schema on old data."""
    forward: bool
    """Breaks readers of the old schema on new data."""
    why: str
    read_by_model: bool = False
    since: str | None = None
    """The version that was compared with."""

    def breaking(self, mode: Mode) -> bool:
        """Whether `mode` forbids the change."""
        if self.read_by_model and self.forward:
            return True
        match mode.removesuffix("_transitive"):
            case "backward":
                return self.backward
            case "forward":
                return self.forward
            case _:
                return self.backward or self.forward


def compare(old: Contract, new: Contract, *, named: bool = True) -> tuple[Change, ...]:
    """Every change from `old` to `new`, sorted by path.

    `named` is False for data without column names, which is read by position: there the order of
    columns breaks both kinds of reader.
    """
    return tuple(sorted(_compare(old, new, named), key=lambda c: (c.path, c.kind)))


def check_versions(versions: Sequence[Contract], mode: Mode) -> tuple[Change, ...]:
    """The changes from earlier versions (oldest first) to the last one, as `mode` compares them.

    A transitive mode compares with all earlier versions; a change that several of them show is
    listed once, with the oldest.
    """
    *earlier, newest = versions
    found: dict[tuple[str, str, str | None, str | None], Change] = {}
    for version in earlier if mode.endswith("_transitive") else earlier[-1:]:
        for c in compare(version, newest):
            since = Change(c.path, c.kind, c.old, c.new, c.backward, c.forward, c.why,
                           c.read_by_model, version.version)  # fmt: skip
            found.setdefault((c.path, c.kind, c.old, c.new), since)
    return tuple(found[key] for key in sorted(found, key=lambda k: (k[0], k[1])))


def _compare(old: Contract, new: Contract, named: bool) -> Iterator[Change]:
    after = {c.name: c for c in new.columns}
    before = {c.name: c for c in old.columns}
    followed: dict[str, Column] = {}
    for column in old.columns:
        heir = after.get(column.name) or next(
            (c for c in new.columns if column.name in c.was and c.name not in before), None
        )
        if heir is None:
            yield _dropped(column)
            continue
        followed[heir.name] = column
        yield from _column(column, heir)
    for column in new.columns:
        if column.name not in followed:
            yield _added(column)
    was = [c.name for c in old.columns]
    order = [followed[c.name].name for c in new.columns if c.name in followed]
    if order != [name for name in was if name in order]:
        why = "columns are found by name" if named else "the data has no names: columns are places"
        yield Change("(columns)", "order", None, None, not named, not named, why)


def _added(column: Column) -> Change:
    breaks = column.required and not column.has_default
    why = (
        "old data lacks a column that must be there"
        if breaks
        else "old readers pass over it; new readers take "
        + ("its default" if column.has_default else "null")
        + " where it is missing"
    )
    return Change(column.name, "added", None, column.type, breaks, False, why, column.read_by_model)


def _dropped(column: Column) -> Change:
    if column.read_by_model:
        breaks, why = True, "the model reads it"
    elif column.required and not column.has_default:
        breaks, why = True, "old readers rely on it"
    else:
        breaks, why = False, "old readers allow it to be missing"
    return Change(
        column.name, "dropped", column.type, None, False, breaks, why, column.read_by_model
    )


def _column(old: Column, new: Column) -> Iterator[Change]:
    path, model = new.name, old.read_by_model or new.read_by_model
    if old.name != new.name:
        why = "new readers know the former name, old ones do not know the new"
        yield Change(path, "renamed", old.name, new.name, False, True, why, model)
    yield from _nullability(path, old.required, new.required, model)
    yield from _types(path, old.arrow, new.arrow, model, required=old.required)
    yield from _enum(path, old, new, model)
    if new.unique and not old.unique:
        why = "old data may hold a value twice"
        yield Change(path, "unique", "any", "unique", True, False, why, model)
    elif old.unique and not new.unique:
        why = "old readers rely on each value being there once"
        yield Change(path, "unique", "unique", "any", False, True, why, model)
    for kind, before, after in (
        ("pii", old.pii, new.pii),
        ("read_by_model", old.read_by_model, new.read_by_model),
    ):
        if before != after:
            why = "a note on the column: its values are as they were"
            yield Change(path, kind, str(before), str(after), False, False, why, model)
    if (old.has_default, old.default) != (new.has_default, new.default):
        why = "a default is taken only where the column is missing"
        yield Change(path, "default", None, None, False, False, why, model)


def _nullability(path: str, old: bool, new: bool, model: bool) -> Iterator[Change]:
    if new and not old:
        why = "old data may hold nulls"
        yield Change(path, "required", "nullable", "required", True, False, why, model)
    elif old and not new:
        why = "old readers rely on a value in every row"
        yield Change(path, "nullable", "required", "nullable", False, True, why, model)


def _enum(path: str, old: Column, new: Column, model: bool) -> Iterator[Change]:
    if old.enum is None and new.enum is not None:
        why = "old data may hold other values"
        yield Change(path, "enum", "any", f"{len(new.enum)} values", True, False, why, model)
    elif old.enum is not None and new.enum is None:
        why = "old readers know no other values"
        yield Change(path, "enum", f"{len(old.enum)} values", "any", False, True, why, model)
    elif old.enum is not None and new.enum is not None:
        added = [v for v in new.enum if v not in old.enum]
        removed = [v for v in old.enum if v not in new.enum]
        if added:
            why = "old readers do not know the new values"
            yield Change(path, "enum value added", None, _shown(added), False, True, why, model)
        if removed:
            why = "old data may hold the removed values"
            yield Change(path, "enum value removed", _shown(removed), None, True, False, why, model)
        kept = [v for v in old.enum if v in new.enum]
        in_order = pa.types.is_dictionary(new.arrow) and new.arrow.ordered
        if in_order and kept != [v for v in new.enum if v in old.enum]:
            why = "the values compare differently"
            yield Change(path, "enum order", None, None, True, True, why, model)


def _shown(values: Sequence[object]) -> str:
    listed = ", ".join(str(v) for v in values[:5])
    return listed + (f" and {len(values) - 5} more" if len(values) > 5 else "")


def _types(
    path: str, old: pa.DataType, new: pa.DataType, model: bool, *, required: bool
) -> Iterator[Change]:
    t = pa.types
    if _ordered(old) != _ordered(new):
        why = "an order of the values appears or disappears"
        yield Change(path, "dictionary order", str(old), str(new), True, True, why, model)
    a, b = _values(old), _values(new)
    if t.is_struct(a) and t.is_struct(b):
        yield from _children(path, a, b, model)
    elif t.is_map(a) and t.is_map(b):
        yield from _types(f"{path}{{key}}", a.key_type, b.key_type, model, required=True)
        yield from _item(f"{path}{{value}}", a.item_field, b.item_field, model)
    elif _is_list(a) and _is_list(b):
        lengths = tuple(x.list_size if t.is_fixed_size_list(x) else None for x in (a, b))
        if lengths[0] != lengths[1]:
            back, forth = lengths[1] is not None, lengths[0] is not None
            why = "readers rely on the length"
            yield Change(path, "length", _length(lengths[0]), _length(lengths[1]), back, forth,
                         why, model)  # fmt: skip
        yield from _item(f"{path}[]", a.value_field, b.value_field, model)
    elif a != b:
        back, forth = not _holds(b, a), not _holds(a, b)
        if t.is_null(b):
            forth = required or model
        kind = "zone" if not (back or forth) and t.is_timestamp(a) and a.unit == b.unit else "type"
        yield Change(path, kind, str(old), str(new), back, forth, _why(a, b, back, forth), model)


def _children(path: str, old: pa.DataType, new: pa.DataType, model: bool) -> Iterator[Change]:
    before, after = ({f.name: f for f in side} for side in (old, new))
    for name, field in before.items():
        at = f"{path}.{name}"
        if name in after:
            yield from _item(at, field, after[name], model)
            continue
        breaks = model or not field.nullable
        why = "old readers rely on it" if breaks else "old readers allow it to be missing"
        why = "the model reads it" if model else why
        yield Change(at, "dropped", str(field.type), None, False, breaks, why, model)
    for name, field in after.items():
        if name not in before:
            why = "old data lacks it" if not field.nullable else "old readers pass over it"
            yield Change(f"{path}.{name}", "added", None, str(field.type), not field.nullable,
                         False, why, model)  # fmt: skip


def _item(path: str, old: pa.Field, new: pa.Field, model: bool) -> Iterator[Change]:
    yield from _nullability(path, not old.nullable, not new.nullable, model)
    yield from _types(path, old.type, new.type, model, required=not old.nullable)


def _values(type_: pa.DataType) -> pa.DataType:
    """The type of the values, whichever way they are laid out in memory."""
    t = pa.types
    if t.is_dictionary(type_) or t.is_run_end_encoded(type_):
        return _values(type_.value_type)
    if t.is_large_string(type_) or t.is_string_view(type_):
        return pa.string()
    if t.is_large_binary(type_) or t.is_binary_view(type_):
        return pa.binary()
    if t.is_date64(type_):
        return pa.date32()
    return type_


def _ordered(type_: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(type_) and type_.ordered)


def _is_list(type_: pa.DataType) -> bool:
    t = pa.types
    return any(is_(type_) for is_ in (
        t.is_list, t.is_large_list, t.is_fixed_size_list, t.is_list_view, t.is_large_list_view,
    ))  # fmt: skip


def _length(size: int | None) -> str:
    return "any length" if size is None else f"length {size}"


def _holds(reader: pa.DataType, written: pa.DataType) -> bool:
    """Whether every value of `written` is a value of `reader`, unchanged. Both are leaves."""
    t = pa.types
    if t.is_null(written):
        return True
    if t.is_integer(reader) and t.is_integer(written):
        if t.is_signed_integer(written) and t.is_unsigned_integer(reader):
            return False
        same_sign = t.is_signed_integer(written) == t.is_signed_integer(reader)
        return bool(reader.bit_width >= written.bit_width + (0 if same_sign else 1))
    if t.is_floating(reader) and t.is_integer(written):
        bits = written.bit_width - (1 if t.is_signed_integer(written) else 0)
        return bool(bits <= _MANTISSA[reader.bit_width])
    if t.is_floating(reader) and t.is_floating(written):
        return bool(reader.bit_width >= written.bit_width)
    if t.is_decimal(reader) and t.is_decimal(written):
        return bool(reader.scale == written.scale and reader.precision >= written.precision)
    if t.is_timestamp(reader) and t.is_timestamp(written):
        zoned = (reader.tz is None) == (written.tz is None)
        return zoned and _UNITS.index(reader.unit) >= _UNITS.index(written.unit)
    if (t.is_time(reader) and t.is_time(written)) or (
        t.is_duration(reader) and t.is_duration(written)
    ):
        return _UNITS.index(reader.unit) >= _UNITS.index(written.unit)
    if t.is_binary(reader) and t.is_fixed_size_binary(written):
        return True
    return bool(reader == written)


def _why(old: pa.DataType, new: pa.DataType, back: bool, forth: bool) -> str:
    t = pa.types
    if t.is_timestamp(old) and t.is_timestamp(new):
        if (old.tz is None) != (new.tz is None):
            return "a time without zone is no instant"
        if not (back or forth):
            return "another zone, the same instants"
        if "ns" in (old.unit, new.unit) and not back:
            return f"{new} holds every {old} of the years 1677 to 2262"
    if t.is_null(new) and forth:
        return "the column holds nothing any more"
    if back and forth:
        return f"neither of {old} and {new} holds every value of the other"
    return f"{old} does not hold every {new}" if forth else f"{new} does not hold every {old}"
