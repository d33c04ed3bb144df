"""Raw latencies as one file, from which every measurement can be computed again.

    magic, 4-byte length of the header, header (canonical JSON), zlib data

Each series is whole numbers: differences of neighbours, their bytes sorted by significance,
which zlib then packs to about two bytes a query.
"""

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mlgate.errors import StageError
from mlgate.evidence import canonical

Integers = npt.NDArray[np.int64]

MAGIC: Final = b"mlgate-latencies/1\n"
MEDIA_TYPE: Final = "application/vnd.mlgate.latencies.v1"
MOST: Final = 100_000


@dataclass(frozen=True)
class Recording:
    """What was seen: `facts` that are few, and long `series` of whole numbers by name.

    Facts are JSON values; whoever reads one knows its shape.
    """

    facts: Mapping[str, Any]
    series: Mapping[str, Integers]

    def encode(self) -> bytes:
        """The file's bytes; equal recordings have equal bytes."""
        names = sorted(self.series)
        head = {
            "facts": dict(self.facts),
            "series": [[name, len(self.series[name])] for name in names],
        }
        header = canonical(head)
        packed = zlib.compress(b"".join(_shuffled(self.series[name]) for name in names), 6)
        return MAGIC + struct.pack("<I", len(header)) + header + packed


def decode(data: bytes) -> Recording:
    """The recording in a file. Raises `StageError` when it is cut, changed or something else."""
    try:
        if not data.startswith(MAGIC):
            raise ValueError("it does not start as one")
        at = len(MAGIC) + 4
        (size,) = struct.unpack("<I", data[len(MAGIC) : at])
        head = json.loads(data[at : at + size])
        body = zlib.decompress(data[at + size :])
        series, start = {}, 0
        for name, length in head["series"]:
            series[str(name)] = _unshuffled(body[start : start + 8 * length])
            if len(series[str(name)]) != length:
                raise ValueError("it is cut short")
            start += 8 * length
        return Recording(head["facts"], series)
    except (ValueError, KeyError, TypeError, struct.error, zlib.error) as error:
        raise StageError(f"this is not a file of latencies: {error}") from None


def _shuffled(values: Integers) -> bytes:
    deltas = np.diff(values.astype("<i8"), prepend=np.int64(0)).astype("<i8")
    zigzag = ((deltas << 1) ^ (deltas >> 63)).astype("<i8")
    return zigzag.view(np.uint8).reshape(-1, 8).T.tobytes()


def _unshuffled(data: bytes) -> Integers:
    count = len(data) // 8
    planes = np.frombuffer(data[: 8 * count], dtype=np.uint8).reshape(8, count)
    zigzag = np.ascontiguousarray(planes.T).view("<u8").reshape(-1)
    deltas = (zigzag >> np.uint64(1)).astype(np.int64) ^ -(zigzag & np.uint64(1)).astype(np.int64)
    return np.cumsum(deltas, dtype=np.int64)
