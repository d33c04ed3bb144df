"""Specs that are wrong in random ways: is each explained, with places, and never with a traceback?

    python -m tests.benchmarks.bad_specs --times 10000

Half of them are good specs with values, keys and items changed; half are their text, damaged. Prints
how many were refused, for which reasons, and how many broke the reader: the only good answer is 0.
"""

import argparse
import copy
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlgate.errors import MlgateError, Problem, SpecError
from mlgate.spec.lint import load

ROOT = Path(__file__).parent.parent.parent

FULL: dict[str, Any] = {
    "version": 1,
    "name": "full",
    "description": "every kind of value that a spec has",
    "confidence": 0.9,
    "params": {
        "rows": {"type": "integer", "default": 10, "description": "how many"},
        "share": {"type": "number", "default": 0.5},
        "name": {"default": "x"},
        "strict": {"type": "boolean", "default": True},
    },
    "env": ["HOME"],
    "x-note": {"anything": [1, None]},
    "stages": {
        "files": {
            "uses": "validate",
            "dataset": {
                "dataset": "data/${params.name}.parquet",
                "label": "y",
                "filter": "y > 0",
                "inputs": {
                    "a": {"columns": "pixel_*", "shape": [1, 8, 8], "dtype": "float32"},
                    "b": {"npz": "b.npz", "array": "b"},
                    "c": {"synthetic": "normal", "shape": [4, 3], "seed": 1},
                    "d": {"columns": ["p", "q"]},
                },
            },
            "engine": "duckdb",
            "memory": "512MiB",
            "min_rows": "${params.rows}",
            "expectations": [
                {"type": "expect_column_to_exist", "kwargs": {"column": "y"}, "severity": "warning"}
            ],
            "values": "keys",
            "reference": {"from": "base.profile"},
            "drift": {"bins": 20, "ignore": ["id"], "unit": "id"},
            "contract": {"file": "c.json", "compatibility": "full", "previous": ["b.json"]},
            "disjoint_from": ["holdout.parquet", {"sql": {"url": {"env": "DB"}, "query": "q"}}],
            "keys": ["id"],
            "freshness": {"column": "t", "timezone": "UTC"},
            "leakage": {"label": "y", "ignore": ["id"]},
            "skew": "region",
            "timeout": "30m",
            "retries": 1,
            "needs": ["base"],
            "gates": [
                {"metric": "rows", "min": 10, "max": 1e6},
                {"metric": "drift.psi", "where": {"column": "a"}, "max": "20%", "confidence": 0.9},
                {"metric": "freshness.lag_s", "max": "1d", "severity": "warn"},
                {"metric": "leakage.score", "max": 0.9, "on_inconclusive": "fail"},
                {"metric": "overlap.rows", "equals": 0},
                {"metric": "expectations.failed", "max": 0},
            ],
        },
        "base": {
            "uses": "validate",
            "dataset": {"sql": {"url": {"env": "DB"}, "table": "t"}},
            "expectations": "suite.json",
            "gates": [{"metric": "expectations.failed", "max": 0}],
        },
    },
    "profiles": {"quick": {"confidence": 0.8, "stages": {"files": {"timeout": "5m"}}}},
}
SMALL: dict[str, Any] = {
    "version": 1,
    "name": "small",
    "stages": {
        "data": {"uses": "validate", "dataset": "d.csv", "gates": [{"metric": "rows", "min": 1}]}
    },
}
JUNK: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 1.5, 1e300, "", "x", "5%", "20ms", "5 bananas", "0.5", "a.b",
    [], [1], ["a"], [[]], {}, {"a": 1}, {"from": "base.profile"}, {"from": "x"}, {"path": "p"},
    {"env": "A"}, {"metric": "rows", "max": 1}, "${params.rows}", "${params.nope}", "${}", "$${x}",
    "${env.HOME}", "${env.", 2**53, 10**30, "é\u2028\U0001f600", "a\0b", "a" * 5000, "-",
)  # fmt: skip
KEYS = (
    "", "x", "x-y", "uses", "gate", "gates", "from", "path", "sql", "dataset", "columns", "metric",
    "1", "null", "stages", "<<", "a b", "min", "max_drop", "compared_to", "where", "é",
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within a document."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        document = document[part]
    return document


def mutated(rng: random.Random) -> Any:
    """A good spec with one to three changes."""
    document: Any = {"spec": copy.deepcopy(rng.choice((FULL, FULL, SMALL)))}
    for _ in range(rng.choice((1, 1, 2, 3))):
        path = rng.choice(list(places(document))[1:])
        parent, key = at(document, path[:-1]), path[-1]
        value = parent[key]
        match rng.randrange(6):
            case 0 if len(path) > 1:
                del parent[key]
            case 1 if isinstance(parent, dict) and len(path) > 1:
                renamed = rng.choice((*KEYS, str(key)[:-1], f"{key}s"))
                items = [(renamed if k == key else k, v) for k, v in parent.items()]
                parent.clear()
                parent.update(items)
            case 2 if isinstance(value, dict):
                value[rng.choice(KEYS)] = copy.deepcopy(rng.choice(JUNK))
            case 3 if isinstance(value, list):
                value.append(copy.deepcopy(rng.choice((*JUNK, *value))))
            case 4:
                other = at(document, rng.choice(list(places(document))[1:]))
                parent[key] = copy.deepcopy(other)
            case _:
                parent[key] = copy.deepcopy(rng.choice(JUNK))
    return document["spec"]


def damaged(rng: random.Random, text: str) -> str:
    """A spec's text with one to four edits."""
    for _ in range(rng.randint(1, 4)):
        here = rng.randrange(len(text) + 1)
        there = min(len(text), here + rng.randint(1, 30))
        match rng.randrange(6):
            case 0:
                text = text[:here] + text[there:]
            case 1:
                text = (
                    text[:here]
                    + rng.choice("{}[]:,&*!|>%@`\"'#-?\t\n\x00\x07é \ud7ff")
                    + text[here:]
                )
            case 2:
                text = text[:here]
            case 3:
                text = text[:here] + text[here:there] * rng.randint(2, 4) + text[there:]
            case 4:
                text = (
                    text[:here]
                    + rng.choice(("&a ", "*a", "!!str ", "<<: ", "---\n", "? "))
                    + text[here:]
                )
            case _:
                lines = text.split("\n")
                rng.shuffle(lines[: rng.randint(2, 6)])
                index = rng.randrange(len(lines))
                lines[index] = " " * rng.randrange(5) + lines[index].lstrip()
                text = "\n".join(lines)
    return text


def texts(times: int, seed: int) -> Iterator[str]:
    """`times` bad specs, always the same for a seed."""
    rng = random.Random(seed)
    template = (ROOT / "templates" / "digits" / "mlgate.yaml").read_text(encoding="utf-8")
    for index in range(times):
        if index % 2:
            yield damaged(rng, rng.choice((template, json.dumps(FULL, indent=1))))
        else:
            yield json.dumps(mutated(rng), indent=rng.choice((None, 1)), ensure_ascii=False)


def explained(file: Path, text: str) -> tuple[str, tuple[Problem, ...]]:
    """`fine`, `refused` (and why) or `broke` (and how)."""
    file.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    try:
        load(file, env={"HOME": "/home"})
    except SpecError as error:
        return "refused", error.problems
    except MlgateError as error:
        return f"refused: {type(error).__name__}", ()
    except Exception as error:
        return f"broke: {type(error).__name__}: {str(error)[:200]}", ()
    return "fine", ()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--times", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcomes: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    placeless = 0
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for text in texts(arguments.times, arguments.seed):
            outcome, problems = explained(Path(folder) / "mlgate.yaml", text)
            outcomes[outcome] += 1
            codes.update(p.code for p in problems)
            placeless += any(p.position.line < 1 or p.position.column < 1 for p in problems)
            placeless += outcome == "refused" and not problems
            if outcome.startswith("broke"):
                print(f"--- {outcome}\n{text[:3000]}")
    seconds = time.process_time() - started
    broke = sum(count for outcome, count in outcomes.items() if outcome.startswith("broke"))
    print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))
    print(", ".join(f"{code} {count}" for code, count in sorted(codes.items())))
    print(f"{arguments.times} bad specs in {seconds:.1f} CPU-seconds; without a place: {placeless}; "
          f"tracebacks: {broke}")  # fmt: skip
    return 1 if broke or placeless else 0


if __name__ == "__main__":
    sys.exit(main())
