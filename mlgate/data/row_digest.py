"""A digest of a table's rows that no order, file layout, compression or engine version changes.

Each row is hashed to 128 bits and the hashes are added up modulo 2⁶⁴ in two lanes, so that order is
lost and repeats are not; the digest is the SHA-256 of the sums, the number of rows, and the names
and types of the columns (sorted: their order does not count either). The row hash is defined here,
over NumPy's 64-bit integers, and depends on no library's hash function:

    mix(x)     SplitMix64's finaliser (Steele, Lea & Flood 2014)
    value      integers, times and decimals: their two's complement; floats: the bits of the double
               (−0 as 0, one NaN); booleans 0 and 1; text and bytes: the sum of byte·key(position),
               mixed with the length; lists: the sum of mix(item + key(position)), mixed with the
               length; structs: the sum over fields, as for rows; null: a constant of its own
    row        mix(Σ over columns of mix(value ^ seed)), seed = SHA-256 of lane, name and type

A change is missed by chance once in about 2⁶⁴; it is no defence against forgery (the sums can be
steered), for which there are the files' SHA-256.
"""

import hashlib
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlgate.data.table import Table, quoted, reading
from mlgate.errors import StageError
from mlgate.evidence import Digest, canonical, digest_of

Words = NDArray[np.uint64]

_LANES: Final = 2
_BATCH_ROWS: Final = 1 << 16
_NULL: Final = np.uint64(0x6E756C6C6E756C6C)
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_NANOSECONDS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def of_table(table: Table) -> tuple[Digest, int]:
    """The digest of the rows of a table (NaN is not null here), and how many there are."""
    names = ", ".join(quoted(name) for name in table.schema.names)
    types = {field.name: str(field.type) for field in table.schema}
    sums, rows = np.zeros(_LANES, dtype=np.uint64), 0
    with reading(table.location):
        query = table.connection.execute(f"select {names} from {table.raw_view}")
        for batch in query.to_arrow_reader(_BATCH_ROWS):
            sums += _sums(batch, types)
            rows += batch.num_rows
    return _finished(sums, rows, types), rows


def of_batches(batches: list[pa.RecordBatch], schema: pa.Schema) -> Digest:
    """The digest of the rows in `batches`, under the names and types of `schema`."""
    types = {field.name: str(field.type) for field in schema}
    sums = np.zeros(_LANES, dtype=np.uint64)
    for batch in batches:
        sums += _sums(batch, types)
    return _finished(sums, sum(batch.num_rows for batch in batches), types)


def _finished(sums: Words, rows: int, types: dict[str, str]) -> Digest:
    columns = [[name, types[name]] for name in sorted(types)]
    return digest_of(canonical([columns, rows, [f"{int(s):016x}" for s in sums]]))


def _sums(batch: pa.RecordBatch, types: dict[str, str]) -> Words:
    values = [(name, _column(column)) for name, column in zip(types, batch.columns, strict=True)]
    found = []
    for lane in range(_LANES):
        total = np.zeros(batch.num_rows, dtype=np.uint64)
        for name, value in values:
            total += _mix(value ^ _seed(f"{lane}:{name}:{types[name]}"))
        found.append(_mix(total).sum(dtype=np.uint64))
    return np.array(found, dtype=np.uint64)


def _mix(x: Words) -> Words:
    """SplitMix64's finaliser: a bijection of 64 bits in which every bit depends on every other."""
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = x ^ (x >> np.uint64(31))
    return mixed


def _seed(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


def _keys(positions: NDArray[np.int64]) -> Words:
    """An odd pseudo-random word for each position."""
    return _mix(positions.astype(np.uint64)) | np.uint64(1)


def _column(array: pa.Array) -> Words:
    """64 bits for each value; nulls are `_NULL`."""
    words = _values(array)
    if array.null_count:
        words = np.where(array.is_null().to_numpy(zero_copy_only=False), _NULL, words)
    return words


def _values(array: pa.Array) -> Words:
    type_, t = array.type, pa.types
    if t.is_null(type_):
        return np.zeros(len(array), dtype=np.uint64)
    if t.is_dictionary(type_):
        return _values(array.cast(type_.value_type))
    if t.is_floating(type_):
        return _floats(array)
    if t.is_boolean(type_) or t.is_integer(type_):
        return _integers(array.cast(pa.uint8()) if t.is_boolean(type_) else array)
    if t.is_temporal(type_):
        return _times(array)
    if t.is_decimal(type_):
        return _text(array.cast(pa.string()))
    if t.is_struct(type_):
        return _struct(array)
    if t.is_map(type_) or t.is_list(type_) or t.is_large_list(type_) or t.is_fixed_size_list(type_):
        return _list(array)
    if t.is_string(type_) or t.is_large_string(type_) or t.is_string_view(type_):
        return _text(array)
    if t.is_binary(type_) or t.is_large_binary(type_) or t.is_fixed_size_binary(type_):
        return _text(array)
    if isinstance(type_, pa.BaseExtensionType):
        return _values(array.storage)
    raise StageError(f"rows with a column of type {type_} cannot be digested")


def _plain(array: pa.Array) -> NDArray[np.generic]:
    """The values as NumPy has them, with 0 where there is none."""
    filled = array.fill_null(0) if array.null_count else array
    values: NDArray[np.generic] = filled.to_numpy(zero_copy_only=False)
    return values


def _floats(array: pa.Array) -> Words:
    values = _plain(array.cast(pa.float64())).astype(np.float64) + 0.0  # −0 + 0 is 0
    values[np.isnan(values)] = np.nan
    return values.view(np.uint64)


def _integers(array: pa.Array) -> Words:
    values = _plain(array)
    if values.dtype.kind == "u":
        return values.astype(np.uint64)
    return values.astype(np.int64).view(np.uint64)


def _times(array: pa.Array) -> Words:
    """Nanoseconds, modulo 2⁶⁴; dates in days, times of day in nanoseconds as well."""
    type_, t = array.type, pa.types
    if t.is_interval(type_):
        raise StageError(f"rows with a column of type {type_} cannot be digested")
    if t.is_date(type_):
        return _integers(array.cast(pa.date32()).cast(pa.int32()))
    raw = array.cast(pa.int32() if t.is_time32(type_) else pa.int64())
    return _integers(raw) * np.uint64(_NANOSECONDS[type_.unit])


def _text(array: pa.Array) -> Words:
    """Multilinear hash of each value's bytes, so that all of them are computed at once."""
    if pa.types.is_string_view(array.type) or pa.types.is_string(array.type):
        array = array.cast(pa.large_string()).cast(pa.large_binary())
    else:
        array = array.cast(pa.large_binary())
    starts = np.frombuffer(array.buffers()[1], dtype=np.int64)
    starts = starts[array.offset : array.offset + len(array) + 1]
    lengths = np.diff(starts)
    if array.null_count:
        lengths = np.where(array.is_null().to_numpy(zero_copy_only=False), 0, lengths)
    content = np.frombuffer(array.buffers()[2] or b"", dtype=np.uint8)
    total = np.zeros(len(array), dtype=np.uint64)
    # Column of bytes by column of bytes: values of one length would be one matrix, and most texts
    # are short. What is longer than 64 bytes is hashed by itself.
    short = np.minimum(lengths, 64)
    order = np.argsort(-short, kind="stable")
    alive = np.searchsorted(-short[order], -np.arange(1, 65), side="right")
    for position, count in enumerate(alive):
        if count == 0:
            break
        rows = order[:count]
        letters = content[starts[rows] + position].astype(np.uint64) + np.uint64(1)
        total[rows] += letters * _keys(np.array([position]))[0]
    for row in np.flatnonzero(lengths > 64):
        value = content[starts[row] : starts[row] + lengths[row]].tobytes()
        total[row] = _seed_of_bytes(value)
    return _mix(total ^ _mix(lengths.astype(np.uint64)))


def _seed_of_bytes(value: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(value).digest()[:8], "big"))


def _struct(array: pa.Array) -> Words:
    total = np.zeros(len(array), dtype=np.uint64)
    for i, field in enumerate(array.type):
        child = pc.struct_field(array, [i])
        total += _mix(_column(child) ^ _seed(field.name))
    return _mix(total)


def _list(array: pa.Array) -> Words:
    lengths = np.asarray(
        pc.fill_null(pc.list_value_length(_as_list(array)), 0).to_numpy(zero_copy_only=False),
        dtype=np.int64,
    )
    items = _column(_as_list(array).flatten())
    ends = np.cumsum(lengths)
    positions = np.arange(len(items)) - np.repeat(ends - lengths, lengths)
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_mix(items + _keys(positions)))])
    return _mix((running[ends] - running[ends - lengths]) ^ _mix(lengths.astype(np.uint64)))


def _as_list(array: pa.Array) -> pa.Array:
    """Maps are lists of their entries."""
    if not pa.types.is_map(array.type):
        return array
    entry = pa.struct([array.type.key_field, array.type.item_field])
    return array.cast(pa.list_(pa.field("entries", entry, nullable=False)))
