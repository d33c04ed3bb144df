"""Write data/{train,reference,holdout}.parquet from the digits images that come with scikit-learn.

The source is the test part of UCI's "Optical Recognition of Handwritten Digits": 1,797 grey images
of 8 x 8 pixels whose values are whole numbers from 0 to 16. Each row here is one image: pixel_0_0 …
pixel_7_7 (float, row by row from the top left, divided by 16 so that a value lies in 0…1 and is
what the model takes) and digit (int64, 0…9).

  holdout    797 rows that nothing is ever trained on: a one-point accuracy gate needs hundreds
  train      1,000 rows: what the candidate model is trained on
  reference  the first 600 rows of train: what the model now in production was trained on

Equal images are dropped before the split, so no image can be in both train and holdout. The same
seed and the same pyarrow give the same bytes.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIDE = 8
HOLDOUT_ROWS = 797
REFERENCE_ROWS = 600
LABEL = "digit"
PIXELS = [f"pixel_{row}_{column}" for row in range(SIDE) for column in range(SIDE)]
SCHEMA = pa.schema(
    [pa.field(name, pa.float32(), nullable=False) for name in PIXELS]
    + [pa.field(LABEL, pa.int64(), nullable=False)]
)


def distinct_images() -> tuple[np.ndarray, np.ndarray]:
    """Images as float32 [N, 64] in 0…1 and labels as int64 [N]; of equal images only the first."""
    source = load_digits()
    _, first = np.unique(source.data, axis=0, return_index=True)
    kept = np.sort(first)
    images = (source.data[kept] / 16).astype(np.float32)
    return images, source.target[kept].astype(np.int64)


def as_table(images: np.ndarray, labels: np.ndarray) -> pa.Table:
    columns = [pa.array(images[:, index]) for index in range(len(PIXELS))]
    return pa.Table.from_arrays([*columns, pa.array(labels)], schema=SCHEMA)


def split(seed: int) -> dict[str, pa.Table]:
    """The three tables; each holds every digit about equally often."""
    images, labels = distinct_images()
    train, holdout = train_test_split(
        np.arange(len(labels)), test_size=HOLDOUT_ROWS, random_state=seed, stratify=labels
    )
    earlier, later = train_test_split(
        train, train_size=REFERENCE_ROWS, random_state=seed, stratify=labels[train]
    )
    rows = {"train": np.concatenate([earlier, later]), "reference": earlier, "holdout": holdout}
    return {name: as_table(images[index], labels[index]) for name, index in rows.items()}


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
