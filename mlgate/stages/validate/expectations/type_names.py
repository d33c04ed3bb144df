"""Names that people give to column types: pandas', Arrow's, SQL's and Spark's, for one Arrow type.

`expect_column_values_to_be_of_type` compares names; with this table one suite means the same on
every engine.
"""

from difflib import get_close_matches
from typing import Final

import pyarrow as pa

from mlgate.errors import StageError

_NAMES: Final[dict[str, str]] = {
    "bool": "bool bool_ boolean BooleanDtype BooleanType logical",
    "int8": "int8 Int8Dtype ByteType tinyint",
    "int16": "int16 Int16Dtype ShortType smallint int2 short",
    "int32": "int32 Int32Dtype IntegerType integer int int4 signed",
    "int64": "int64 Int64Dtype LongType bigint int long int_",
    "uint8": "uint8 UInt8Dtype utinyint",
    "uint16": "uint16 UInt16Dtype usmallint",
    "uint32": "uint32 UInt32Dtype uinteger",
    "uint64": "uint64 UInt64Dtype ubigint",
    "float16": "float16 halffloat half",
    "float32": "float32 Float32Dtype FloatType float real float4",
    "float64": "float64 Float64Dtype DoubleType double float double_precision float8 float_",
    "string": "string str object object_ o StringDtype StringType varchar text char bpchar utf8 "
    "large_string",
    "binary": "binary bytes BinaryType blob bytea varbinary large_binary",
    "date": "date date32 DateType",
    "time": "time time64 time32 TimeType",
    "timestamp": "timestamp datetime datetime64 datetime64[ns] datetime64[us] datetime64[ms] "
    "datetime64[s] TimestampType TimestampNTZType",
    "timestamptz": "timestamptz timestamp_with_time_zone DatetimeTZDtype TimestampType",
    "decimal": "decimal numeric decimal128 decimal256 DecimalType",
    "duration": "duration timedelta timedelta64 timedelta64[ns] interval DayTimeIntervalType",
    "list": "list array ArrayType large_list",
    "struct": "struct StructType row",
    "map": "map MapType",
}
_KINDS: Final[dict[str, set[str]]] = {}
for _kind, _names in _NAMES.items():
    for _name in _names.split():
        _KINDS.setdefault(_name.lower(), set()).add(_kind)


def is_of_type(type_: pa.DataType, name: str) -> bool:
    """Whether `name` is a name of `type_`. Raises `StageError` for a name nobody uses."""
    if name == str(type_):
        return True
    plain = name.strip().lower().replace(" ", "_").split("(")[0]
    kinds = _KINDS.get(plain)
    if kinds is None:
        near = get_close_matches(plain, _KINDS, n=1)
        raise StageError(
            f"there is no type {name!r}",
            hint=f"did you mean {near[0]}?" if near else "write e.g. int64, float64, string",
        )
    return _kind_of(type_) in kinds


def _kind_of(type_: pa.DataType) -> str:
    t = pa.types
    kinds = {
        "date": t.is_date,
        "time": t.is_time,
        "decimal": t.is_decimal,
        "duration": t.is_duration,
        "struct": t.is_struct,
        "map": t.is_map,
        "float16": t.is_float16,
        "float32": t.is_float32,
        "float64": t.is_float64,
    }
    for kind, holds in kinds.items():
        if holds(type_):
            return kind
    if t.is_timestamp(type_):
        return "timestamp" if type_.tz is None else "timestamptz"
    if t.is_list(type_) or t.is_fixed_size_list(type_):
        return "list"
    return str(type_)
