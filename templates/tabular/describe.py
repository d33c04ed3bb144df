"""Write what is promised about the data: contracts/tumours.v1.json and expectations/tumours.json.

The contract says which columns there are, of which type, and which of them the model reads. The
expectations are a Great Expectations suite in the form in which Great Expectations itself saves
one; edit either file by hand, or here. Needs great_expectations and pyarrow.
"""

import argparse
import json
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from great_expectations import ExpectationSuite
from great_expectations import expectations as gxe
from great_expectations.expectations.expectation import Expectation

HERE = Path(__file__).parent
NAME = "tumours"
LABEL = "diagnosis"
CLASSES = [0, 1]

# More than this is not a larger tumour but another unit. The quantities that are not named are
# ratios.
LARGEST = {"radius": 100.0, "texture": 100.0, "perimeter": 1000.0, "area": 10000.0}
LARGEST_RATIO = 2.0


def contract(schema: pa.Schema) -> str:
    """The schema contract as JSON, one column a line so that a change shows as one line."""
    head = {"schema": "mlgate/contract/v1", "name": NAME, "version": "1"}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    columns = [f"    {json.dumps(promise(field))}" for field in schema]
    return "\n".join(["{", *lines, '  "columns": [', ",\n".join(columns), "  ]", "}", ""])


def promise(field: pa.Field) -> dict[str, object]:
    column: dict[str, object] = {"name": field.name, "type": str(field.type), "required": True}
    if field.name == LABEL:
        return column | {"enum": CLASSES}
    return column | {"read_by_model": True}


def expectations(features: list[str]) -> list[Expectation]:
    """Hard promises are critical; the share of malignant tumours is a warning."""
    found: list[Expectation] = [
        gxe.ExpectTableRowCountToBeBetween(min_value=250, severity="critical"),
        gxe.ExpectColumnValuesToNotBeNull(column=LABEL, severity="critical"),
        gxe.ExpectColumnValuesToBeInSet(column=LABEL, value_set=CLASSES, severity="critical"),
        gxe.ExpectColumnMeanToBeBetween(
            column=LABEL, min_value=0.3, max_value=0.45, severity="warning"
        ),
    ]
    for name in features:
        largest = LARGEST.get(quantity(name), LARGEST_RATIO)
        found.append(gxe.ExpectColumnValuesToNotBeNull(column=name, severity="critical"))
        found.append(
            gxe.ExpectColumnValuesToBeBetween(
                column=name, min_value=0.0, max_value=largest, severity="critical"
            )
        )
    # `worst` is the mean of the three largest nuclei, so it cannot be below the mean of all.
    for name in features:
        if name.startswith("worst_"):
            found.append(
                gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                    column_A=name,
                    column_B=f"mean_{quantity(name)}",
                    or_equal=True,
                    severity="critical",
                )
            )
    return found


def quantity(column: str) -> str:
    """`radius` of mean_radius, radius_error and worst_radius."""
    return column.removeprefix("mean_").removeprefix("worst_").removesuffix("_error")


def suite(found: list[Expectation]) -> str:
    """The suite as JSON; its ids follow from the content: same promises, same file."""
    whole = ExpectationSuite(name=NAME, id=stable_id(NAME), expectations=found)
    for expectation in whole.expectations:
        content = json.dumps(expectation.configuration.to_json_dict(), sort_keys=True)
        expectation.id = stable_id(f"{NAME}/{content}")
    return json.dumps(whole.to_json_dict(), indent=2, sort_keys=True)


def stable_id(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mlgate/{text}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE / "data")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    schema = pq.read_schema(options.data / "train.parquet")
    features = [name for name in schema.names if name != LABEL]
    written = {
        options.out / "contracts" / f"{NAME}.v1.json": contract(schema),
        options.out / "expectations" / f"{NAME}.json": suite(expectations(features)),
    }
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"{path.name}: {len(text):,} characters")


if __name__ == "__main__":
    main()
