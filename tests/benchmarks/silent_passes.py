"""Specs and data that must not be green, each for a reason of its own; and one that must be.

    python -m tests.benchmarks.silent_passes          each case, what it came to and why
    python -m tests.benchmarks.silent_passes --cli    the same through `mlgate check`

Prints how many of them passed: the only good answer is 0. A case changes one thing of a project that
passes, so that it is that one thing that is found.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlgate.check import prepare
from mlgate.errors import MlgateError, SpecError, StageError
from mlgate.gate import judge_all, worst
from mlgate.spec.lint import load
from mlgate.stage import Job
from mlgate.stages import STAGES

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROWS = 200

Write = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """One change to a healthy project. `says` is part of what must be reported."""

    name: str
    says: str
    block: dict[str, Any] = field(default_factory=dict)
    files: Write = lambda _: None
    dropped: tuple[str, ...] = ()


def rows(n: int = ROWS, seed: int = 0, **columns: Any) -> pa.Table:
    """Rows as a model would get them; `columns` replace some."""
    random = np.random.default_rng(seed)
    start = np.datetime64("2026-01-01T00:00:00", "us")
    named: dict[str, Any] = {
        "id": np.arange(n) + seed * 10_000,
        "x": random.normal(size=n),
        "group": [["a", "b"][i // 2 % 2] for i in range(n)],
        "label": [i % 2 for i in range(n)],
        "t": start + np.arange(n).astype("timedelta64[s]"),
    }
    return pa.table({**named, **columns})


def write(name: str, table: pa.Table) -> Write:
    return lambda folder: pq.write_table(table, folder / name)


def text(name: str, content: str) -> Write:
    return lambda folder: (folder / name).write_text(content)


def _parts(second: pa.Table | bytes) -> Write:
    """`parts/` with one good file and a second one."""

    def make(folder: Path) -> None:
        (folder / "parts").mkdir()
        pq.write_table(rows(), folder / "parts" / "1.parquet")
        if isinstance(second, bytes):
            (folder / "parts" / "2.parquet").write_bytes(second)
        else:
            pq.write_table(second, folder / "parts" / "2.parquet")

    return make


def _cut(folder: Path) -> None:
    data = (folder / "data.parquet").read_bytes()
    (folder / "data.parquet").write_bytes(data[: len(data) // 2])


def between(column: str = "x", **kwargs: Any) -> dict[str, Any]:
    return {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": column, "min_value": -100, "max_value": 100, **kwargs},
    }


def expects(*some: dict[str, Any]) -> dict[str, Any]:
    return {"expectations": list(some)}


def gate(metric: str, **limits: Any) -> dict[str, Any]:
    return {"gates": [{"metric": metric, "max": 1000, **limits}]}


HEALTHY: dict[str, Any] = {
    "uses": "validate",
    "dataset": "data.parquet",
    "reference": "reference.parquet",
    "expectations": [between()],
    "contract": "contract.json",
    "disjoint_from": ["holdout.parquet"],
    "keys": ["id"],
    "freshness": {"column": "t", "timezone": "UTC"},
    "leakage": {"label": "label", "ignore": ["id", "t"]},
    "skew": "group",
    "drift": {"ignore": ["id", "t"]},
    "gates": [
        {"metric": "rows", "min": 1},
        {"metric": "expectations.failed", "max": 0},
        {"metric": "contract.breaking_changes", "max": 0},
        {"metric": "drift.psi", "max": 1},
        {"metric": "overlap.rows", "max": 0},
        {"metric": "overlap.keys", "max": 0},
        {"metric": "freshness.lag_s", "max": "30d"},
        {"metric": "leakage.score", "max": 0.99},
        {"metric": "partition.skew", "max": 1.5},
    ],
}
CONTRACT = {
    "schema": "mlgate/contract/v1",
    "name": "rows",
    "version": "1",
    "columns": [
        {"name": "id", "type": "int64"},
        {"name": "x", "type": "double"},
        {"name": "group", "type": "string"},
        {"name": "label", "type": "int64"},
        {"name": "t", "type": "timestamp[us]"},
    ],
}
_SUITE = {"name": "s", "expectations": [], "meta": {"great_expectations_version": "1.24.1"}}

CASES: tuple[Case, ...] = (
    # Nothing is asked.
    Case("no gates", "MG207", {"gates": []}),
    Case("a gate without a limit", "MG107", {"gates": [{"metric": "rows"}]}),
    Case("a misspelt gate key", "MG104", {"gate": [{"metric": "rows", "max": 1}]}),
    Case("a gate on a metric that is not asked for", "MG208", dropped=("reference", "drift")),
    Case("a gate on an unknown metric", "MG204", gate("drift.psy")),
    Case("a gate on a label that is not there", "MG205", gate("rows", where={"column": "x"})),
    Case("a gate on a column that is not there", "not measured for this selection",
         gate("drift.psi", where={"column": "nope"})),
    Case("a gate on a severity that no expectation has", "not measured for this selection",
         gate("expectations.failed", where={"severity": "warning"})),
    Case("expectations: none", "expect", expects()),
    Case("a suite without expectations", "expect", {"expectations": "suite.json"},
         text("suite.json", json.dumps(_SUITE))),
    # There is nothing to ask it of.
    Case("no rows", "rows", files=write("data.parquet", rows(0))),
    Case("no rows after the filter", "rows",
         {"dataset": {"dataset": "data.parquet", "filter": "x > 1e9"}}),
    Case("a header and no rows", "rows", {"dataset": "data.csv"},
         text("data.csv", "id,x,group,label,t\n")),
    Case("no data", "data.parquet", files=lambda f: (f / "data.parquet").unlink()),
    Case("a file of no bytes", "data.parquet",
         files=lambda f: (f / "data.parquet").write_bytes(b"")),
    Case("half a file", "data.parquet", files=_cut),
    Case("a folder without files", "holds no files", {"dataset": "none"},
         lambda f: (f / "none").mkdir()),
    Case("a pattern that matches nothing", "no file matches", {"dataset": "dat*.parq"}),
    Case("one unreadable file of many", "2.parquet", {"dataset": "parts"}, _parts(b"PAR1 no PAR1")),
    Case("one empty file of many", "2.parquet", {"dataset": "parts/*.parquet"}, _parts(b"")),
    Case("files of two schemas", "x", {"dataset": "parts"},
         _parts(rows(x=[str(i) for i in range(ROWS)]))),
    Case("a filter on a column that is not there", "nope",
         {"dataset": {"dataset": "data.parquet", "filter": "nope > 1"}}),
    # Expectations that cannot fail.
    Case("a column of nulls", "x",
         files=write("data.parquet", rows(x=pa.array([None] * ROWS, pa.float64())))),
    Case("a column of NaN", "x", files=write("data.parquet", rows(x=[float("nan")] * ROWS))),
    Case("an expectation on a missing column", "nope", expects(between("nope"))),
    Case("a suite for another dataset", "other", {"expectations": "suite.json"},
         text("suite.json", json.dumps({**_SUITE, "expectations": [between("other")]}))),
    Case("an unknown expectation", "expect_nonsense",
         expects({"type": "expect_nonsense", "kwargs": {"column": "x"}})),
    Case("a misspelt argument", "max_valu",
         expects({"type": between()["type"], "kwargs": {"column": "x", "max_valu": 1}})),
    Case("a condition that no row meets", "row",
         expects(between(row_condition='col("x") > 1000000',
                         condition_parser="great_expectations"))),
    Case("a condition in a language of another engine", "evaluated",
         expects(between(row_condition="x > 1e9", condition_parser="pandas"))),
    Case("an expectation that allows every row to fail", "mostly", expects(between(mostly=0.0))),
    Case("an expectation of no value", "value_set",
         expects({"type": "expect_column_values_to_be_in_set",
                  "kwargs": {"column": "group", "value_set": []}})),
    Case("an expectation that forbids no value", "value_set",
         expects({"type": "expect_column_values_to_not_be_in_set",
                  "kwargs": {"column": "group", "value_set": []}})),
    Case("an expectation without limits", "min_value",
         expects({"type": between()["type"], "kwargs": {"column": "x"}})),
    Case("an expectation that raises", "regex",
         expects({"type": "expect_column_values_to_match_regex",
                  "kwargs": {"column": "group", "regex": "("}})),
    Case("an expectation on text as if it were numbers", "group", expects(between("group"))),
    Case("one good expectation and one that raises", "nope", expects(between(), between("nope"))),
    Case("half a suite", "suite.json", {"expectations": "suite.json"},
         text("suite.json", json.dumps(_SUITE)[:40])),
    Case("no suite", "suite.json", {"expectations": "suite.json"}),
    # Comparisons with nothing.
    Case("no reference", "reference.parquet",
         files=lambda f: (f / "reference.parquet").unlink()),
    Case("a reference without rows", "", files=write("reference.parquet", rows(0))),
    Case("a reference of other columns", "has no column",
         files=write("reference.parquet", pa.table({"z": [1, 2, 3]}))),
    Case("a reference without a column", "x", gate("drift.psi", where={"column": "x"}),
         write("reference.parquet", rows(seed=1).drop_columns(["x"]))),
    Case("drift with every column left out", "", {
        "drift": {"ignore": ["id", "t", "x", "group", "label"]}, **gate("drift.psi")}),
    Case("disjoint from no rows", "", files=write("holdout.parquet", rows(0))),
    Case("disjoint from other columns", "column",
         files=write("holdout.parquet", pa.table({"z": [1, 2]}))),
    Case("disjoint from a pattern that matches nothing", "no file matches",
         {"disjoint_from": ["hold*.parq"]}),
    Case("keys that are not there", "nope", {"keys": ["nope"]}),
    Case("a profile that is none", "reference.json", {"reference": "reference.json"},
         text("reference.json", "{}")),
    Case("half a profile", "reference.json", {"reference": "reference.json"},
         text("reference.json", '{"schema": "mlgate/pro')),
    # Contracts.
    Case("an empty contract", "contract.json", files=text("contract.json", "{}")),
    Case("a contract without columns", "column",
         files=text("contract.json", json.dumps({**CONTRACT, "columns": []}))),
    Case("a contract that is no contract", "contract.json",
         files=text("contract.json", '{"name": "something else"}')),
    Case("no contract", "contract.json", files=lambda f: (f / "contract.json").unlink()),
    # Columns that other questions are about.
    Case("a label that is not there", "nope", {"leakage": {"label": "nope"}}),
    Case("leakage without features", "nothing to judge",
         {"leakage": {"label": "label", "ignore": ["id", "t", "x", "group"]}}),
    Case("a feature that is the label", "group",
         files=write("data.parquet", rows(group=[["a", "b"][i % 2] for i in range(ROWS)]))),
    Case("a label of one class", "label",
         files=write("data.parquet", rows(label=[1] * ROWS)), block=gate("leakage.score", max=0.99)),
    Case("rows of the future", "future", files=write("data.parquet", rows(
        t=np.datetime64("2031-01-01", "us") + np.arange(ROWS).astype("timedelta64[s]")))),
    Case("no times at all", "t", files=write("data.parquet", rows(
        t=pa.array([None] * ROWS, pa.timestamp("us"))))),
    Case("freshness of a column that is not there", "nope", {"freshness": {"column": "nope", "timezone": "UTC"}}),
    Case("freshness of what is no time", "x", {"freshness": {"column": "x"}}),
    Case("partitions by a column that is not there", "nope", {"skew": "nope"}),
    Case("a database that nobody named", "NO_SUCH_URL",
         {"uses": "validate", "dataset": {"sql": {"url": {"env": "NO_SUCH_URL"}, "table": "t"}},
          "expectations": [between()], **gate("expectations.failed", max=0)},
         dropped=tuple(k for k in HEALTHY if k not in ("uses", "dataset", "expectations", "gates"))),
)  # fmt: skip


def project(folder: Path, case: Case | None) -> Path:
    """The healthy project with the case's change; returns its spec."""
    write("data.parquet", rows(seed=0))(folder)
    write("reference.parquet", rows(seed=1))(folder)
    write("holdout.parquet", rows(seed=2))(folder)
    text("contract.json", json.dumps(CONTRACT))(folder)
    block = dict(HEALTHY)
    if case is not None:
        block = {k: v for k, v in block.items() if k not in case.dropped} | case.block
        case.files(folder)
    spec = {"version": 1, "name": "t", "stages": {"data": block}}
    (folder / "mlgate.yaml").write_text(json.dumps(spec, indent=1))
    return folder / "mlgate.yaml"


def verdict(file: Path) -> tuple[str, str]:
    """The outcome, and everything that was said: as `mlgate check` has it, in this process."""
    try:
        spec = load(file)
    except SpecError as error:
        return "invalid", "\n".join(str(problem) for problem in error.problems)
    plan, keys = prepare(spec, now=NOW)
    [node] = plan.nodes
    key = keys[node.id]
    if key.broken is not None:
        return "error", key.broken.message
    with tempfile.TemporaryDirectory() as work:
        job = Job(
            stage=node.id,
            options=node.options,
            workdir=Path(work),
            inputs=key.located,
            confidences=node.confidences,
            now=NOW,
        )
        try:
            evidence = STAGES[node.options.uses].measure(job)
        except StageError as error:
            return "error", f"{error.message}\n{error.hint}"
    results = judge_all(node.options.gates, evidence, confidence=spec.confidence)
    said = "\n".join(f"{r.outcome} {r.message}" for r in results)
    return str(worst(r.rank for r in results)), said


def through_cli(file: Path) -> tuple[str, str]:
    """The same by the command line."""
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "mlgate", "check", "--format", "text", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    outcome = {0: "pass", 1: "fail", 2: "invalid", 3: "error", 4: "inconclusive"}
    return outcome[done.returncode], done.stdout + done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--cli", action="store_true", help="through `mlgate check`, as processes")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    arguments = parser.parse_args()
    judged = through_cli if arguments.cli else verdict
    passed = 0
    for case in (None, *CASES):
        name = "the healthy project" if case is None else case.name
        if arguments.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome, said = judged(project(Path(folder), case))
            except MlgateError as error:
                outcome, said = "error", error.message
        passed += case is not None and outcome in ("pass", "warn")
        told = next((t for t in said.splitlines() if not t.startswith("pass")), "")
        print(f"{outcome:<12} {name:<50} {told[:140]}")
    print(f"\n{len(CASES)} cases that must not pass; {passed} passed")
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
