"""One type, its names in pandas, Arrow, SQL and Spark."""

import pyarrow as pa
import pytest

from mlgate.errors import StageError
from mlgate.stages.validate.expectations.type_names import is_of_type


@pytest.mark.parametrize(
    ("type_", "names"),
    [
        (pa.int64(), "int64 Int64 BIGINT LongType int"),
        (pa.int32(), "int32 INTEGER IntegerType INT"),
        (pa.float64(), "float64 double DOUBLE DoubleType float DOUBLE_PRECISION"),
        (pa.float32(), "float32 FloatType REAL float"),
        (pa.string(), "object str string VARCHAR VARCHAR(20) TEXT StringType"),
        (pa.bool_(), "bool BOOLEAN BooleanType"),
        (pa.timestamp("us"), "datetime64[ns] TIMESTAMP timestamp[us] TimestampType"),
        (pa.timestamp("us", "UTC"), "timestamptz DatetimeTZDtype"),
        (pa.date32(), "DATE date32 DateType"),
        (pa.decimal128(10, 2), "DECIMAL DECIMAL(10,2) NUMERIC"),
        (pa.list_(pa.int8()), "list ArrayType list<item:int8>"),
    ],
)
def test_names(type_: pa.DataType, names: str) -> None:
    for name in names.split():
        assert is_of_type(type_, name.replace("item:", "item: ")), name


def test_other_types() -> None:
    assert not is_of_type(pa.int64(), "int32")
    assert not is_of_type(pa.int64(), "float64")
    assert not is_of_type(pa.timestamp("us", "UTC"), "datetime64[ns]")
    assert is_of_type(pa.float64(), "DOUBLE PRECISION")


def test_a_name_nobody_uses() -> None:
    with pytest.raises(StageError, match="no type 'flaot64'") as caught:
        is_of_type(pa.float64(), "flaot64")
    assert caught.value.hint == "did you mean float64?"
