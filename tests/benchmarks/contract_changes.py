"""Schema changes judged right, and the time from a file's footer to the verdict.

The score is over the table of changes that the tests hold as the specification, in all six modes;
the peer is schema equality, which knows only changed and unchanged.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlgate.data.table import connect, open_table
from mlgate.stages.validate.contracts.compatibility import MODES, check_versions
from mlgate.stages.validate.contracts.conformance import check_data, check_table
from mlgate.stages.validate.contracts.contract import Column, Contract, load
from tests.stages.validate.contracts.test_compatibility import CHANGES, column, contract


def score() -> tuple[int, int, int]:
    """Right verdicts, those of schema equality, and how many there are."""
    right = equality = total = 0
    for before, after, breaks in CHANGES.values():
        old = contract(*([column(**before)] if before is not None else []))
        new = contract(*([column(**after)] if after is not None else []), version="2")
        changed = [(c.name, c.type, c.required) for c in old.columns] != [
            (c.name, c.type, c.required) for c in new.columns
        ]
        for mode in MODES:
            backward, forward, model = "B" in breaks, "F" in breaks, "!" in breaks
            expected = {
                "backward": backward or model,
                "forward": forward,
                "full": backward or forward,
            }[mode.removesuffix("_transitive")]
            found = any(c.breaking(mode) for c in check_versions((old, new), mode))
            right += found == expected
            equality += changed == expected
            total += 1
    return right, equality, total


def times(columns: int, groups: int, repeats: int) -> tuple[float, float]:
    """Seconds from a closed file to its changes, by footers alone and with all values' checks."""
    with tempfile.TemporaryDirectory() as folder:
        path, agreed = Path(folder, "d.parquet"), Path(folder, "c.json")
        names = [f"column_{i}" for i in range(columns)]
        data = pa.table({n: pa.array(range(groups * 100), pa.int64()) for n in names})
        pq.write_table(data, path, row_group_size=100)
        agreement = Contract(
            name="c",
            columns=tuple(
                Column(name=n, type="int64", required=True, read_by_model=True) for n in names
            ),
        )
        agreed.write_text(agreement.text())
        connection = connect(memory=None, threads=2, spill=Path(folder))
        footers, whole = [], []
        for i in range(repeats):
            start = time.perf_counter()
            check_data(load(agreed), pq.read_schema(path))
            footers.append(time.perf_counter() - start)
            start = time.perf_counter()
            check_table(load(agreed), open_table(connection, str(path), view=f"v{i}"))
            whole.append(time.perf_counter() - start)
        return statistics.median(footers), statistics.median(whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--groups", type=int, default=50, help="row groups of the file")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    right, equality, total = score()
    print(f"{right} of {total} verdicts right ({len(CHANGES)} changes x {len(MODES)} modes)")
    print(f"schema equality: {equality} of {total} ({right / equality:.2f}x)")
    footers, whole = times(given.columns, given.groups, given.repeats)
    print(f"{given.columns} columns, {given.groups} row groups:")
    print(f"  contract and schema from the footer: {footers * 1000:.1f} ms")
    print(f"  with opening the table and counting nulls: {whole * 1000:.1f} ms")
    sys.exit(right != total)


if __name__ == "__main__":
    main()
