"""Numbers with units, as a person writes them in a spec: limits, durations, sizes."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# A unit's dimension, and its size in that dimension's first unit.
UNITS: Final[Mapping[str, tuple[str, float]]] = {
    "1": ("share", 1.0),
    "%": ("share", 0.01),
    "count": ("count", 1.0),
    "ns": ("time", 1e-9),
    "us": ("time", 1e-6),
    "µs": ("time", 1e-6),
    "ms": ("time", 1e-3),
    "s": ("time", 1.0),
    "min": ("time", 60.0),
    "h": ("time", 3600.0),
    "d": ("time", 86400.0),
    "B": ("bytes", 1.0),
    "kB": ("bytes", 1e3),
    "MB": ("bytes", 1e6),
    "GB": ("bytes", 1e9),
    "TB": ("bytes", 1e12),
    "KiB": ("bytes", 2.0**10),
    "MiB": ("bytes", 2.0**20),
    "GiB": ("bytes", 2.0**30),
    "TiB": ("bytes", 2.0**40),
    "qps": ("rate", 1.0),
    "J": ("energy", 1.0),
    "mJ": ("energy", 1e-3),
    "USD": ("money", 1.0),
}
_QUANTITY: Final = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ%]+)$")


@dataclass(frozen=True)
class Quantity:
    """A number as a gate states it: plain, or with a unit."""

    number: float
    unit: str | None

    @classmethod
    def parse(cls, limit: float | str) -> "Quantity":
        """`0.2`, `"20ms"` or `"5%"`. Raises `ValueError` for anything else."""
        if not isinstance(limit, str):
            number, unit = float(limit), None
        else:
            match = _QUANTITY.match(limit.strip())
            if match is None or match[2] not in UNITS:
                known = ", ".join(unit for unit in UNITS if unit not in ("1", "count"))
                raise ValueError(f"{limit!r} is not a number with a unit (units: {known})")
            number, unit = float(match[1]), match[2]
        if not math.isfinite(number):
            raise ValueError("a limit must be a finite number")
        return cls(number, unit)

    def within(self, unit: str) -> float:
        """This quantity in `unit`. Raises `ValueError` when the dimensions differ."""
        if self.unit is None:
            return self.number
        if unit not in UNITS:
            raise ValueError(f"the metric's unit is {unit}, the limit's is {self.unit}")
        (dimension, size), (wanted, scale) = UNITS[self.unit], UNITS[unit]
        if dimension != wanted:
            raise ValueError(f"{self} is a {dimension}, the metric is a {wanted} (in {unit})")
        # 5 % is 5/100, not 5*0.01: a limit must be the number that somebody wrote.
        ratio = size / scale
        return self.number * ratio if ratio >= 1 else self.number / (scale / size)

    def __str__(self) -> str:
        return f"{self.number:g}{self.unit or ''}"


DURATION: Final = re.compile(r"^(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTES: Final = re.compile(r"^(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$")
_SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def seconds(duration: str) -> float:
    """`"90s"`, `"30m"`, `"1.5h"` in seconds. Raises `ValueError` for anything else."""
    match = DURATION.match(duration)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{duration!r} is not a duration such as 90s, 30m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


def size(text: str) -> int:
    """`"512MiB"` in bytes. Raises `ValueError` for anything else."""
    match = BYTES.match(text)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is not a size such as 500MB or 2GiB")
    return int(float(match[1]) * _SIZES[match[2]])
