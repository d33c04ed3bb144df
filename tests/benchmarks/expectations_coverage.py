"""Do expectations mean the same on DuckDB as in Great Expectations on pandas?

Runs the 54 fixed cases, and random small tables × suites (NaN, NULL, empty text, ties, unicode),
and prints every difference in verdict, counts, row numbers or values.

    python -m tests.benchmarks.expectations_coverage --frames 1000
"""

import argparse
import collections
import random
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from mlgate.data.table import connect, open_table
from mlgate.stages.validate.expectations.batches import open_batch
from mlgate.stages.validate.expectations.outcomes import ExpectationResult, run_suite
from mlgate.stages.validate.expectations.suites import load_suite
from tests.stages.validate.expectations import gx_cases

Pair = tuple[ExpectationResult, ExpectationResult]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100, help="random tables (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the first one (default 0)")
    arguments = parser.parse_args()
    pairs = compared(gx_cases.table(), gx_cases.CASES)
    same = sum(seen(a) == seen(b) for a, b in pairs)
    print(f"fixed cases: {same} of {len(pairs)} the same in verdict and unexpected count")
    report([pair for pair in pairs if seen(pair[0]) != seen(pair[1])], "fixed")
    start, total, differences = time.monotonic(), 0, 0
    outcomes: collections.Counter[str] = collections.Counter()
    for seed in range(arguments.seed, arguments.seed + arguments.frames):
        choose = random.Random(seed)
        rows, suite = gx_cases.random_table(choose), gx_cases.random_suite(choose)
        pairs = compared(rows, suite)
        unlike = [pair for pair in pairs if whole(pair[0]) != whole(pair[1])]
        report(unlike, f"seed {seed}")
        total, differences = total + len(pairs), differences + len(unlike)
        outcomes.update(a.outcome for a, _ in pairs)
    print(
        f"random: {arguments.frames} tables, {total} expectations {dict(outcomes)}, "
        f"{differences} differences, {time.monotonic() - start:.0f} s"
    )


def compared(rows: pa.Table, written: list[gx_cases.Written]) -> list[Pair]:
    with (
        tempfile.TemporaryDirectory() as folder,
        connect(memory=None, threads=2, spill=Path(folder)) as connection,
    ):
        table = open_table(connection, gx_cases.write(Path(folder), rows), view="data")
        suite = load_suite(written)
        duckdb = run_suite(suite, open_batch(table, "duckdb"), values="raw")
        pandas = run_suite(suite, open_batch(table, "pandas"), values="raw")
    return list(zip(duckdb, pandas, strict=True))


def seen(one: ExpectationResult) -> tuple[object, ...]:
    return one.outcome, one.unexpected_count


def whole(one: ExpectationResult) -> tuple[object, ...]:
    return *seen(one), one.element_count, one.missing_count or 0, one.rows, one.values


def report(pairs: list[Pair], where: str) -> None:
    for duckdb, pandas in pairs:
        print(f"  {where}: {duckdb.kwargs}")
        print(f"    duckdb {duckdb.outcome}: {duckdb.message} rows {duckdb.rows} {duckdb.values}")
        print(f"    pandas {pandas.outcome}: {pandas.message} rows {pandas.rows} {pandas.values}")


if __name__ == "__main__":
    main()
