"""How fast and lean is a suite on DuckDB, against Great Expectations on pandas?

Writes a table of 19 columns with planted faults, then runs 15 expectations on each engine, each
in a process of its own, and prints wall time, CPU time, peak memory and their ratios. Verdicts and
unexpected counts must be the same. The peer is plain Great Expectations on a pandas frame, read
with `pandas.read_parquet`.

    python -m tests.benchmarks.expectations_speed --rows 5000000 --repeat 3
    python -m tests.benchmarks.expectations_speed --rows 100000000 --only duckdb --memory 1000
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.stages.validate.expectations.gx_cases import case

ROWS_PER_FILE = 5_000_000
EMAIL = r"^[a-z0-9]+@[a-z0-9]+\.com$"
COUNTRIES = ["US", "DE", "FR", "GB", "IN", "CN", "BR", "JP", "CA", "MX"]
SUITE = [
    case("table_row_count_to_be_between", min_value=1000, max_value=1_000_000_000),
    case("column_values_to_not_be_null", column="id"),
    case("column_values_to_not_be_null", column="email", mostly=0.995),
    case("column_values_to_be_unique", column="id"),
    case("column_values_to_be_between", column="age", min_value=0, max_value=120),
    case("column_values_to_be_in_set", column="country", value_set=COUNTRIES),
    case("column_values_to_match_regex", column="email", regex=EMAIL, mostly=0.999),
    case("column_mean_to_be_between", column="amount", min_value=30, max_value=36),
    case("column_stdev_to_be_between", column="score", min_value=0.9, max_value=1.1),
    case("column_quantile_values_to_be_between", column="score", quantile_ranges={
        "quantiles": [0.05, 0.5, 0.95],
        "value_ranges": [[-1.7, -1.6], [-0.1, 0.1], [1.6, 1.7]]}),
    case("column_distinct_values_to_be_in_set", column="status",
         value_set=["new", "active", "churned", "blocked"]),
    case("column_max_to_be_between", column="amount", min_value=10, max_value=1e6),
    case("column_unique_value_count_to_be_between", column="country", min_value=5, max_value=20),
    case("column_value_lengths_to_be_between", column="country", min_value=2, max_value=2),
    case("table_columns_to_match_set", column_set=["id", "age"], exact_match=False),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000, help="default 5,000,000")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each engine (default 1)")
    parser.add_argument("--memory", type=int, default=100, help="cap of DuckDB in MB (default 100)")
    parser.add_argument("--threads", type=int, default=2, help="of DuckDB (default 2)")
    parser.add_argument("--only", choices=["duckdb", "peer"], help="run one engine only")
    parser.add_argument("--spark", action="store_true", help="run Spark as well")
    parser.add_argument("--data", type=Path, help="folder to keep the table in (default: none)")
    parser.add_argument("--child", nargs=2, metavar=("ENGINE", "FILES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child, memory=arguments.memory, threads=arguments.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or Path(folder)
        files = written(data, arguments.rows)
        engines = ["duckdb", "peer"] + (["spark"] if arguments.spark else [])
        engines = [arguments.only] if arguments.only else engines
        print(f"{arguments.rows:,} rows × 19 columns, load {os.getloadavg()[0]:.1f} before")
        runs = {engine: [] for engine in engines}  # type: dict[str, list[dict[str, Any]]]
        for _ in range(arguments.repeat):
            for engine in engines:
                runs[engine].append(measured(engine, files, arguments))
    compare(runs)


def measured(engine: str, files: str, arguments: argparse.Namespace) -> dict[str, Any]:
    options = ["--memory", str(arguments.memory), "--threads", str(arguments.threads)]
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, *options, "--child", engine, files],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"  {engine:7s} {found['wall']:6.1f} s wall {found['cpu']:6.1f} s CPU "
        f"{found['rss']:6.0f} MB peak  (imports {found['imports']:.1f} s, {found['imported']:.0f} MB)"
    )
    return found


def compare(runs: dict[str, list[dict[str, Any]]]) -> None:
    best = {e: {k: min(r[k] for r in found) for k in ("wall", "cpu", "rss")}
            for e, found in runs.items()}  # fmt: skip
    answers = {engine: found[0]["answers"] for engine, found in runs.items()}
    for engine in sorted(set(runs) - {"duckdb"}):
        if "duckdb" not in runs:
            break
        ratios = {k: best[engine][k] / best["duckdb"][k] for k in ("wall", "cpu", "rss")}
        same = sum(a == b for a, b in zip(answers["duckdb"], answers[engine], strict=True))
        print(
            f"{engine}: {ratios['wall']:.1f}× the wall time, {ratios['cpu']:.1f}× the CPU time, "
            f"{ratios['rss']:.1f}× the memory of duckdb; {same} of {len(SUITE)} verdicts and "
            "unexpected counts the same"
        )
        for a, b in zip(answers["duckdb"], answers[engine], strict=True):
            if a != b:
                print(f"  duckdb {a}, {engine} {b}")


def child(engine: str, files: str, *, memory: int, threads: int) -> None:
    start = time.monotonic()
    run = peer(files) if engine == "peer" else ours(engine, files, memory, threads)
    imports, imported = time.monotonic() - start, peak()
    start, cpu = time.monotonic(), time.process_time()
    answers = run()
    print(
        json.dumps(
            {
                "wall": time.monotonic() - start,
                "cpu": time.process_time() - cpu,
                "rss": peak(),
                "imports": imports,
                "imported": imported,
                "answers": answers,
            }
        )
    )


def peak() -> float:
    """Peak memory in MB. Not `ru_maxrss`: a child inherits its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def ours(engine: str, files: str, memory: int, threads: int) -> Callable[[], list[Any]]:
    from mlgate.data.table import connect, open_table
    from mlgate.stages.validate.expectations.batches import open_batch
    from mlgate.stages.validate.expectations.outcomes import run_suite
    from mlgate.stages.validate.expectations.suites import load_suite

    def run() -> list[Any]:
        with (
            tempfile.TemporaryDirectory() as spill,
            connect(memory=memory * 10**6, threads=threads, spill=Path(spill)) as connection,
        ):
            batch = open_batch(open_table(connection, files, view="data"), engine)  # type: ignore[arg-type]
            results = run_suite(load_suite(SUITE), batch)
            return [[r.type, r.outcome == "pass", r.unexpected_count] for r in results]

    return run


def peer(files: str) -> Callable[[], list[Any]]:
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    def run() -> list[Any]:
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        frame = pd.read_parquet(Path(files).parent)
        asset = context.data_sources.add_pandas("p").add_dataframe_asset("a")
        batch = asset.add_batch_definition_whole_dataframe("b").get_batch({"dataframe": frame})
        suite = gx.ExpectationSuite(
            name="s",
            expectations=[{**one, "meta": {"index": i}} for i, one in enumerate(SUITE)],
        )
        results = batch.validate(suite, result_format="BASIC").results
        results = sorted(results, key=lambda r: r.expectation_config.meta["index"])
        # Counts are of rows; of distinct values GX on pandas gives a list.
        return [
            [r.expectation_config.type, bool(r.success), r.result.get("unexpected_count")]
            for r in results
        ]

    return run


def written(folder: Path, rows: int) -> str:
    """The table as Parquet files of at most 5M rows; what is there already is kept."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = folder / f"rows-{rows}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, first in enumerate(range(0, rows, ROWS_PER_FILE)):
        path = folder / f"part-{number:04d}.parquet"
        if path.exists():
            continue
        count = min(ROWS_PER_FILE, rows - first)
        rng = np.random.default_rng(number)
        columns = dict(_columns(rng, first, count, pa, np))
        partial = path.with_suffix(".partial")
        pq.write_table(pa.table(columns), partial, row_group_size=500_000, compression="zstd")
        partial.rename(path)
    return f"{folder}/*.parquet"


def _columns(rng: Any, first: int, count: int, pa: Any, np: Any) -> Sequence[tuple[str, Any]]:
    ids = np.arange(first, first + count)
    ids[rng.integers(0, count, 20)] = first + 7
    age = rng.integers(18, 90, count)
    age[rng.integers(0, count, 200)] = 200
    names = np.char.add("u", rng.integers(0, count, count).astype(str))
    email = np.char.add(names, "@example.com").astype(object)
    email[rng.integers(0, count, count // 1000)] = None
    email[rng.integers(0, count, 300)] = "not an address"
    country = np.array(COUNTRIES, dtype=object)[rng.integers(0, len(COUNTRIES), count)]
    country[rng.integers(0, count, 50)] = "XX"
    status = np.array(["new", "active", "churned", "blocked"], dtype=object)
    start = np.datetime64("2026-01-01T00:00:00", "us")
    features = [(f"f{i}", rng.standard_normal(count).astype(np.float32)) for i in range(10)]
    return [
        ("id", ids),
        ("user_id", rng.integers(0, 200_000, count)),
        ("age", age),
        ("email", pa.array(email, type=pa.string())),
        ("country", pa.array(country, type=pa.string())),
        ("status", pa.array(status[rng.integers(0, 4, count)], type=pa.string())),
        ("amount", rng.gamma(2.0, 16.5, count)),
        ("score", rng.standard_normal(count)),
        ("ts", start + rng.integers(0, 10**12, count).astype("timedelta64[us]")),
        *features,
    ]


if __name__ == "__main__":
    main()
