"""The trend gate: noise of a metric and of its ratio to an anchor, and what the gate says of both.

Measures a model and an anchor in runs of their own, one after another. Then draws histories from
those runs, one run a day, with planted growth, and counts the outcomes of the gate.
"""

import argparse
import collections
import json
import math
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from mlgate.evidence import Evidence
from mlgate.stage import Job, Located, inputs_of
from mlgate.stages.benchmark import STAGE
from mlgate.stages.benchmark.spec import Benchmark
from mlgate.trend import judge, weekly_growth
from tests.projects import evidence_of
from tests.stages.benchmark.onnx_models import write_chain

SERIES = {
    "p50": ("latency_ms.p50", False),
    "p50 vs anchor": ("latency_ms.p50", True),
    "p99": ("latency_ms.p99", False),
    "p99 vs anchor": ("latency_ms.p99", True),
    "p99 unpreempted vs anchor": ("latency_ms.p99_unpreempted", True),
}


def measured(folder: Path, model: Path, anchor: Path) -> Evidence:
    block = {
        "uses": "benchmark",
        "model": str(model),
        "anchor": str(anchor),
        "scenarios": [{"kind": "single", "duration": "1s"}],
        "gates": [],
    }
    options = Benchmark.model_validate_json(json.dumps(block))
    located = {i: Located(i.path or "", None) for _, i in inputs_of(options)}
    with tempfile.TemporaryDirectory(dir=folder) as workdir:
        return evidence_of(STAGE, Job("latency", options, Path(workdir), located))


def value(evidence: Evidence, name: str, *, ratio: bool) -> float | None:
    if not ratio:
        return next(m.value for m in evidence.measurements if m.name == name)
    found = next(c for c in evidence.comparisons if c.name == name)
    return found.value / found.reference if found.value and found.reference else None


def outcomes(
    values: list[float], weekly: float, days: int, trials: int, rng: random.Random
) -> collections.Counter[str]:
    """Of the gate of 10 % a week, on histories of so many daily runs drawn from `values`."""
    counted: collections.Counter[str] = collections.Counter()
    for _ in range(trials):
        # Jitter, for a value that is drawn twice makes a tie, and ties favour a pass at the limit.
        drawn = [
            rng.choice(values) * math.exp(rng.gauss(0, 1e-6)) * (1 + weekly) ** (day / 7)
            for day in range(days)
        ]
        found = weekly_growth([float(day) for day in range(days)], drawn)
        counted[judge("m", {}, found, 0.10, "m").outcome] += 1
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30, help="runs that are measured")
    parser.add_argument("--trials", type=int, default=1000, help="histories per row")
    options = parser.parse_args()
    seen: dict[str, list[float]] = {name: [] for name in SERIES}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_chain(folder / "model.onnx", layers=8, width=128)
        anchor = write_chain(folder / "anchor.onnx", layers=6, width=128)
        for _ in range(options.runs):
            evidence = measured(folder, model, anchor)
            for series, (metric, ratio) in SERIES.items():
                found = value(evidence, metric, ratio=ratio)
                if found is not None:
                    seen[series].append(found)
    each = (time.monotonic() - begun) / options.runs
    print(f"{options.runs} runs of {each:.1f} s, load average {os.getloadavg()[0]:.1f}")
    print("largest over smallest, and standard deviation over mean:")
    for series, values in seen.items():
        spread = statistics.stdev(values) / statistics.fmean(values)
        print(f"  {series:<26} {max(values) / min(values):6.3f} {100 * spread:7.2f} %")
    print("of histories, the share that passes / fails / is inconclusive at 10 % a week:")
    for days in (14, 28):
        for series, values in seen.items():
            cells = []
            for weekly in (0.0, 0.05, 0.10, 0.15, 0.20):
                rng = random.Random(f"{days} {weekly}")  # the same draw for all series
                counted = outcomes(values, weekly, days, options.trials, rng)
                share = [counted[o] / options.trials for o in ("pass", "fail", "inconclusive")]
                cells.append(f"{weekly:.0%}: " + " / ".join(f"{100 * s:.1f}" for s in share))
            print(f"  {days} days, {series:<26} " + "   ".join(cells))


if __name__ == "__main__":
    main()
