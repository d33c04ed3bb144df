"""What a drift profile costs, against SciPy's statistics on the raw values, in the same run.

Both sides start from the same Parquet file: the profile is made and compared column by column;
SciPy reads the columns and computes Kolmogorov–Smirnov and Wasserstein distances on them.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats

from mlgate.data.table import connect, open_table
from mlgate.stages.validate.drift import profiling
from mlgate.stages.validate.drift.comparison import compare

T = TypeVar("T")


def written(path: Path, rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    schema = pa.schema([(f"f{i}", pa.float32()) for i in range(columns)])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows, 500_000):
            n = min(500_000, rows - start)
            data = [rng.normal(i, 1, n).astype("f4") for i in range(columns)]
            writer.write_table(pa.table(data, schema=schema))


def cpu(work: Callable[[], T]) -> tuple[T, float, float]:
    wall, start = time.perf_counter(), time.process_time()
    result = work()
    return result, time.process_time() - start, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--bins", type=int, nargs="+", default=[20, 256])
    parser.add_argument("--scipy-columns", type=int, default=1, help="columns SciPy is timed on")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.parquet"), Path(folder, "after.parquet")
        written(before, given.rows, given.columns, 1)
        written(after, given.rows, given.columns, 2)
        connection = connect(memory=10**9, threads=2, spill=Path(folder))
        old = open_table(connection, str(before), view="before_")
        new = open_table(connection, str(after), view="after_")
        costs: dict[int, float] = {}
        print(f"{given.rows:,} rows x {given.columns} columns")
        for bins in given.bins:
            reference, made, wall = cpu(partial(profiling.build, old, bins=bins))
            current, follow, _ = cpu(partial(profiling.build, new, edges_from=reference))
            drift, judged, _ = cpu(partial(compare, reference, current))
            for column in drift.columns:
                for statistic in column.statistics.values():
                    statistic.at(0.95)
            size = max(len(c.canonical()) for c in reference.columns)
            costs[bins] = made + follow + judged
            print(
                f"{bins:4d} bins: reference {made:.2f} CPU s ({wall:.2f} s), data {follow:.2f}, "
                f"statistics {judged:.3f}; at most {size:,} bytes a column"
            )
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory so far {rss:.0f} MB")

        def raw() -> None:
            for i in range(given.scipy_columns):
                a, b = (pq.read_table(p, columns=[f"f{i}"])[0].to_numpy() for p in (before, after))
                stats.ks_2samp(a, b, method="asymp")
                stats.wasserstein_distance(a, b)

        _, scipy_cpu, _ = cpu(raw)
        per_column = scipy_cpu / given.scipy_columns
        print(f"SciPy on raw values: {per_column:.2f} CPU s a column")
        for bins, cost in costs.items():
            share = cost / given.columns
            print(f"{bins:4d} bins: {per_column / share:.1f}x less CPU than SciPy")


if __name__ == "__main__":
    main()
