"""What an ELF file asks the loader for. System V ABI, chapter 5; 64 bits, little endian."""

import struct
from typing import NamedTuple


class Needs(NamedTuple):
    """The loader, the libraries, and where it looks for them first."""

    interpreter: str | None = None
    libraries: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


def needs(data: bytes) -> Needs:
    """Of a file's bytes; empty for what is no such file, or is cut short."""
    if data[:6] != b"\x7fELF\x02\x01":
        return Needs()
    try:
        return _needs(data)
    except (struct.error, ValueError, UnicodeDecodeError):
        return Needs()


def _needs(data: bytes) -> Needs:
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    interpreter = None
    dynamic = None
    loads = []
    for index in range(count):
        row = struct.unpack_from("<IIQQQQ", data, table + index * size)
        kind, _, offset, address, _, length = row
        if kind == 3:
            interpreter = data[offset : offset + length].split(b"\0")[0].decode()
        elif kind == 2:
            dynamic = (offset, length)
        elif kind == 1:
            loads.append((address, offset, length))
    if dynamic is None:
        return Needs(interpreter)
    tags = _tags(data, *dynamic)
    strings = next((value for tag, value in tags if tag == 5), None)
    if strings is None:
        return Needs(interpreter)
    base = strings
    for address, offset, length in loads:
        if address <= strings < address + length:
            base = offset + strings - address

    def text(at: int) -> str:
        return data[base + at : data.index(b"\0", base + at)].decode()

    libraries = tuple(text(value) for tag, value in tags if tag == 1)
    paths = tuple(part for tag, value in tags if tag in (15, 29) for part in text(value).split(":"))
    return Needs(interpreter, libraries, paths)


def _tags(data: bytes, offset: int, length: int) -> list[tuple[int, int]]:
    found = []
    for at in range(offset, offset + length, 16):
        tag, value = struct.unpack_from("<qQ", data, at)
        if tag == 0:
            break
        found.append((tag, value))
    return found
