"""Write data/{train,reference,holdout}.parquet from scikit-learn's breast cancer data.

The source is UCI's "Breast Cancer Wisconsin (Diagnostic)": 569 tumours, each with 30 measurements
of the cell nuclei in one image (mean, standard error and worst of ten quantities). Each row here is
one tumour: 30 columns such as mean_radius (float, in the units of the source: nothing is scaled)
and diagnosis (int64: 1 malignant, 0 benign).

  holdout    109 rows that nothing is ever trained on
  reference  200 rows: what the model now in production was trained on
  train      260 rows: what the candidate model is trained on

No row is in two of them; equal rows are dropped before the split. The same seed and the same
pyarrow give the same bytes.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

HOLDOUT_ROWS = 109
REFERENCE_ROWS = 200
LABEL = "diagnosis"


def distinct_rows() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Feature names, features float32 [N, 30], labels int64 [N]; of equal rows only the first."""
    source = load_breast_cancer()
    _, first = np.unique(source.data, axis=0, return_index=True)
    kept = np.sort(first)
    names = [str(name).replace(" ", "_") for name in source.feature_names]
    malignant = (source.target[kept] == list(source.target_names).index("malignant")).astype(
        np.int64
    )
    return names, source.data[kept].astype(np.float32), malignant


def split(seed: int) -> dict[str, pa.Table]:
    """The three tables; each has the same share of malignant tumours."""
    names, features, labels = distinct_rows()
    schema = pa.schema(
        [pa.field(name, pa.float32(), nullable=False) for name in names]
        + [pa.field(LABEL, pa.int64(), nullable=False)]
    )
    seen, holdout = train_test_split(
        np.arange(len(labels)), test_size=HOLDOUT_ROWS, random_state=seed, stratify=labels
    )
    train, reference = train_test_split(
        seen, test_size=REFERENCE_ROWS, random_state=seed, stratify=labels[seen]
    )
    tables = {}
    for part, rows in {"train": train, "reference": reference, "holdout": holdout}.items():
        columns = [pa.array(features[rows, index]) for index in range(len(names))]
        tables[part] = pa.Table.from_arrays([*columns, pa.array(labels[rows])], schema=schema)
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, table in split(options.seed).items():
        pq.write_table(
            table, options.out / f"{name}.parquet", compression="zstd", store_schema=False
        )
        print(f"{name}.parquet: {table.num_rows} rows")


if __name__ == "__main__":
    main()
