from pathlib import Path

import pyarrow as pa
import pytest

from mlgate.errors import StageError
from mlgate.stages.validate.contracts.contract import load

ODCS = """\
apiVersion: v3.1.0
kind: DataContract
id: 53581432-6c55-4ba2-a65f-72344a91553a
name: seller_payments
version: 1.1.0
status: active
schema:
  - name: payments
    physicalType: table
    properties:
      - name: id
        primaryKey: true
        logicalType: integer
        physicalType: BIGINT
      - name: email
        logicalType: string
        classification: PII
        unique: true
      - name: amount
        logicalType: number
        physicalType: decimal(10, 2)
        required: true
      - name: state
        logicalType: string
        physicalType: VARCHAR(8)
        quality:
          - metric: invalidValues
            arguments: {validValues: [open, paid]}
            mustBe: 0
        customProperties:
          - {property: readByModel, value: true}
          - {property: was, value: status}
      - name: at
        logicalType: timestamp
        logicalTypeOptions: {timezone: true, defaultTimezone: Europe/Berlin}
      - name: level
        logicalType: integer
        logicalTypeOptions: {format: i8}
        enum: [{value: 1, label: low}, {value: 2}]
      - name: address
        logicalType: object
        properties:
          - {name: zip, logicalType: string, required: true}
      - name: tags
        logicalType: array
        items: {logicalType: string}
      - name: prices
        logicalType: map
        map: {key: {logicalType: string}, value: {logicalType: number}}
      - name: embedding
        logicalType: array
        customProperties:
          - {property: arrowType, value: "fixed_size_list<item: float>[128]"}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.odcs.yaml"
    path.write_text(text)
    return path


def test_a_contract_of_the_standard(tmp_path: Path) -> None:
    contract = load(written(tmp_path, ODCS))
    by_name = {c.name: c for c in contract.columns}
    assert (contract.name, contract.version) == ("seller_payments", "1.1.0")
    assert {name: c.arrow for name, c in by_name.items()} == {
        "id": pa.int64(),
        "email": pa.string(),
        "amount": pa.decimal128(10, 2),
        "state": pa.string(),
        "at": pa.timestamp("us", "Europe/Berlin"),
        "level": pa.int8(),
        "address": pa.struct([pa.field("zip", pa.string(), nullable=False)]),
        "tags": pa.list_(pa.string()),
        "prices": pa.map_(pa.string(), pa.float64()),
        "embedding": pa.list_(pa.float32(), 128),
    }
    assert [name for name, c in by_name.items() if c.required] == ["id", "amount"]
    assert [name for name, c in by_name.items() if c.unique] == ["id", "email"]
    assert [name for name, c in by_name.items() if c.pii] == ["email"]
    assert by_name["state"].enum == ("open", "paid")
    assert by_name["state"].was == ("status",)
    assert by_name["state"].read_by_model
    assert by_name["level"].enum == (1, 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("apiVersion: v3.1.0", "apiVersion: v2.2.2", "1: apiVersion v2.2.2: only ODCS version 3"),
        ("kind: DataContract", "kind: Pipeline", "2: kind 'Pipeline'"),
        ("physicalType: BIGINT", "physicalType: BIGGINT", ""),
        ("logicalType: integer\n        physicalType: BIGINT", "physicalType: BIGGINT", "BIGGINT"),
        ("      - name: email", "      - name: id", "15: column 'id' is there twice"),
        ("items: {logicalType: string}", "items: string", "an array needs `items`"),
        ("validValues: [open, paid]", "validValues: [1, 2]", "1 is not a value of type string"),
        ("value: status", "value: id", "'state' was 'id'"),
        ("    properties:\n      - name: id", "    fields:\n      - name: id", "no properties"),
    ],
)
def test_what_is_wrong_with_one(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in ODCS
    path = written(tmp_path, ODCS.replace(old, new, 1))
    if not message:  # the logical type is there to fall back on
        assert load(path).columns[0].arrow == pa.int64()
        return
    with pytest.raises(StageError) as caught:
        load(path)
    assert message in caught.value.message
    assert caught.value.message.startswith(f"{path}:")


def test_one_of_several_tables(tmp_path: Path) -> None:
    second = "  - name: refunds\n    properties: [{name: id, logicalType: integer}]\n"
    path = written(tmp_path, ODCS + second)
    with pytest.raises(StageError, match="several tables: payments, refunds"):
        load(path)
    assert [c.name for c in load(path, table="refunds").columns] == ["id"]
    with pytest.raises(StageError, match="no table 'none'"):
        load(path, table="none")


def test_a_contract_without_tables(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="lists no table"):
        load(written(tmp_path, "apiVersion: v3.1.0\nkind: DataContract\n"))
