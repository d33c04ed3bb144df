"""Values of any engine as JSON: numbers, text, booleans, None and lists of these."""

import datetime
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from mlgate.evidence import rounded

_EXACT = 2**53


def plain(value: Any) -> Any:
    """`value` as JSON has it. NaN is missing, so None; floats are rounded to 12 digits; what JSON
    cannot carry (infinity, integers beyond 2⁵³) and every other type becomes text."""
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _EXACT else str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return rounded(value) if math.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        return str(value.normalize())
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in sorted(value.items(), key=lambda kv: str(kv[0]))}
    if isinstance(value, AbstractSet):
        return sorted((plain(v) for v in value), key=str)
    if isinstance(value, Sequence):
        return [plain(v) for v in value]
    return str(value)
