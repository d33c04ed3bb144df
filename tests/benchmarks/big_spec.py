"""A spec of 1,000 stages: what loading, planning and explaining it cost in CPU-seconds.

    python -m tests.benchmarks.big_spec --stages 1000

The stages are fakes, each with two gates, an input and up to three stages before it. The peer, in the
same run, is PyYAML's own C loader on the same text.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from mlgate.check import prepare
from mlgate.files import FOLDER
from mlgate.run.plan import why_missed
from mlgate.run.store import Store
from mlgate.spec.lint import load
from tests import probes

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def spec(count: int, seed: int) -> str:
    """`count` stages in layers, as text."""
    rng = random.Random(seed)
    blocks: dict[str, Any] = {}
    for index in range(count):
        before = rng.sample(range(max(0, index - 50), index), min(index, rng.randint(0, 3)))
        blocks[f"stage-{index}"] = {
            "uses": "probe",
            "value": round(rng.random(), 3),
            "file": f"data/{index % 20}.txt",
            "needs": [f"stage-{other}" for other in before],
            "gates": [{"metric": "probe", "max": 1}, {"metric": "probe", "min": 0}],
        }
        if before:
            blocks[f"stage-{index}"]["model"] = {"from": f"stage-{before[0]}.model"}
    return yaml.safe_dump({"version": 1, "name": "big", "stages": blocks}, sort_keys=False)


def timed(name: str, work: Callable[[], Any]) -> Iterator[tuple[str, float, Any]]:
    started = time.process_time()
    result = work()
    yield name, time.process_time() - started, result


def measure(folder: Path, count: int, seed: int) -> dict[str, float]:
    """CPU-seconds of each step, and of the peer."""
    probes.install()
    text = spec(count, seed)
    (folder / "data").mkdir()
    for index in range(20):
        (folder / "data" / f"{index}.txt").write_text(str(index))
    file = folder / "mlgate.yaml"
    file.write_text(text)
    (folder / "small.yaml").write_text(spec(1, seed))
    prepare(load(folder / "small.yaml"), now=NOW)  # models are built once, whatever the size
    found: dict[str, float] = {}
    results: dict[str, Any] = {}

    def step(name: str, work: Callable[[], Any]) -> None:
        for title, seconds, result in timed(name, work):
            found[title], results[title] = seconds, result

    step("PyYAML's C loader (peer)", lambda: yaml.load(text, Loader=yaml.CSafeLoader))
    step("load and lint", lambda: load(file))
    step("plan, keys and digests", lambda: prepare(results["load and lint"], now=NOW))
    plan, keys = results["plan, keys and digests"]
    store = Store(folder / FOLDER)
    last = json.loads(json.dumps(keys["stage-0"].parts))
    step("recall each from the cache", lambda: [store.recall(key.digest) for key in keys.values()])
    step("explain each miss", lambda: [why_missed(key.parts, last) for key in keys.values()])
    assert len(plan.nodes) == count
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--stages", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments.stages, arguments.seed)
    peer = next(iter(found.values()))
    for name, seconds in found.items():
        print(f"{name:<28} {seconds:>7.3f} CPU s {seconds / peer:>7.2f} x peer")
    total = sum(list(found.values())[1:])
    print(f"{arguments.stages} stages loaded, planned and explained: {total:.2f} CPU s (goal: 1)")
    return 0 if total <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
