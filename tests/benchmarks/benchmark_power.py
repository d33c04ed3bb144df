"""Whole trials of the comparison gate: how often it finds a planted slowdown, and a false one.

A trial is the stage as it is (its sessions, epochs, looks, file and judge) on two copies of one
model. Its conditions, one after another in every round, ten rounds to a process:

    same    nothing planted; two gates: p50 2 %, uninterrupted p99 10 %
    same1   nothing planted; gate: p50 1 %
    x1.05   each query of the candidate spins 5 % longer; gate: p50 2 %
    x1.03   3 % longer; gate: p50 1 %
    tail    2 % of the candidate's queries take three times as long; gate: uninterrupted p99 10 %

Where something is planted the baseline's queries pass through the same wrapper, so that its cost
is no part of the difference. Each trial is a line of JSON in the file of `--trials`; a stopped
run goes on from there. The summary counts what is in the file.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlgate.evidence import Evidence
from mlgate.gate import Gate, judge
from mlgate.stage import Job, Located, inputs_of
from mlgate.stages.benchmark.compare import epochs_from, series_of
from mlgate.stages.benchmark.findings import derive
from mlgate.stages.benchmark.provider import Runtime
from mlgate.stages.benchmark.recording import Recording, decode
from mlgate.stages.benchmark.run import LATENCIES, measure
from mlgate.stages.benchmark.session import Prepared
from mlgate.stages.benchmark.spec import Benchmark
from mlgate.stages.benchmark.target import Target, target_of
from mlgate.statistics.binomial import binomial_cdf
from mlgate.statistics.multiplicity import look_sizes
from tests.stages.benchmark.onnx_models import write_chain

PER_PROCESS: Final = 10
P50_2: Final = {"metric": "latency_ms.p50", "compared_to": "baseline", "max_increase": "2%"}
P50_1: Final = P50_2 | {"max_increase": "1%"}
TAIL: Final = P50_2 | {"metric": "latency_ms.p99_unpreempted", "max_increase": "10%"}


@dataclass(frozen=True)
class Condition:
    """What is planted in the candidate, and which gates look at it."""

    gates: Sequence[Mapping[str, str]]
    factor: float = 1.0
    share: float = 1.0

    @property
    def planted(self) -> bool:
        return self.factor != 1.0


CONDITIONS: Final = {
    "same": Condition((P50_2, TAIL)),
    "same1": Condition((P50_1,)),
    "x1.05": Condition((P50_2,), 1.05),
    "x1.03": Condition((P50_1,), 1.03),
    "tail": Condition((TAIL,), 3.0, 0.02),
}


def spinning(prepared: Prepared, factors: Sequence[float]) -> Prepared:
    """Query i takes `factors[i % n]` times as long, on the same thread."""
    clock, plain, turn, size = time.perf_counter_ns, prepared.run, [0], len(factors)

    def run(binding: object, options: object) -> None:
        begun = clock()
        plain(binding, options)
        more = int((clock() - begun) * (factors[turn[0] % size] - 1))
        turn[0] += 1
        until = clock() + more  # from here, so that the wrapper's own time is on both sides
        while clock() < until:
            pass

    return Prepared(prepared.session, run, prepared.bindings, (prepared,))


@dataclass
class Planted(Target):
    """A target whose own queries are slower, and whose baseline is not."""

    condition: Condition = field(default_factory=lambda: Condition(()))
    seed: int = 0

    def prepare(self, batch: int = 1, path: Path | None = None) -> Prepared:
        prepared = super().prepare(batch, path)
        if not self.condition.planted:
            return prepared
        if path not in (None, self.path):
            return spinning(prepared, [1.0])
        self.seed += 1
        rng = random.Random(self.seed)
        one = self.condition
        drawn = [one.factor if rng.random() < one.share else 1.0 for _ in range(10 * 1009)]
        return spinning(prepared, drawn)


def trial(name: str, number: int, models: tuple[str, str], confidence: float) -> dict[str, Any]:
    """One gate from the spec to the verdict."""
    condition = CONDITIONS[name]
    block = {
        "uses": "benchmark",
        "model": models[0],
        "baseline": models[1],
        "scenarios": [{"kind": "single", "duration": "1ms"}],
        "gates": condition.gates,
    }
    options = Benchmark.model_validate_json(json.dumps(block))
    begun = time.monotonic()

    def aim(job: Job[Benchmark], runtime: Runtime) -> Target:
        return Planted(**vars(target_of(job, runtime)), condition=condition, seed=1000 * number)

    with tempfile.TemporaryDirectory() as folder:
        located = {i: Located(i.path or "", None) for _, i in inputs_of(options)}
        job = Job("latency", options, Path(folder), located, (confidence,), confidence)
        evidence = measure(job, aim)
        results = [judge(gate, evidence, confidence=confidence) for gate in options.gates]
        took = time.monotonic() - begun
        recording = decode((Path(folder) / LATENCIES).read_bytes())
    median = next(c for c in evidence.comparisons if c.name == "latency_ms.p50")
    compared: Any = evidence.details["comparisons"]
    (details,) = compared
    preempted = next(m.value for m in evidence.measurements if m.name == "preempted")
    return {
        "round": number,
        "condition": name,
        "verdicts": [str(result.outcome) for result in results],
        "messages": [result.message for result in results],
        "ratio": median.value and median.reference and median.value / median.reference,
        "epochs": len(details["epochs"]),
        "decided_after": decided_after(options.gates, recording, confidence),
        "pairs": details["pairs"],
        "sentinel": details["sentinel"]["ratio"],
        "preempted": preempted,
        "reference_ms": median.reference,
        "seconds": round(took, 3),
        "load": round(os.getloadavg()[0], 2),
        "confidence": confidence,
    }


def decided_after(gates: Sequence[Gate], recording: Recording, confidence: float) -> list[int]:
    """Epochs at which each gate would have stopped, had it been the only one."""
    epochs = epochs_from("single.compared", recording.series)
    after = [len(epochs)] * len(gates)
    for size in reversed([size for size in look_sizes(8) if size < len(epochs)]):
        series = {**recording.series, **series_of("single.compared", epochs[:size])}
        found = derive(Recording(recording.facts, series), (confidence,))
        evidence = Evidence(
            uses="benchmark",
            inputs={},
            measurements=found.measurements,
            comparisons=found.comparisons,
        )
        for i, gate in enumerate(gates):
            if str(judge(gate, evidence, confidence=confidence).outcome) != "inconclusive":
                after[i] = size
    return after


def rounds(begin: int, end: int, names: Sequence[str], confidence: float, layers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.onnx" for name in ("candidate", "baseline")]
        models = tuple(str(write_chain(path, layers=layers, width=256)) for path in paths)
        for number in range(begin, end):
            for name in names:
                row = trial(name, number, (models[0], models[1]), confidence)
                print(json.dumps(row), flush=True)


def interval(hits: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's exact 95 % interval of a share."""

    def where(holds: Callable[[float], bool]) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return low

    low = where(lambda share: 1 - binomial_cdf(hits - 1, n, share) < 0.025) if hits else 0.0
    high = where(lambda share: binomial_cdf(hits, n, share) > 0.025) if hits < n else 1.0
    return low, high


def counted(what: str, hits: int, n: int) -> str:
    low, high = interval(hits, n)
    return f"{what} {hits} of {n} ({100 * low:.2f} to {100 * high:.2f} %)"


def summary(rows: Sequence[dict[str, Any]]) -> None:
    """Counts with exact intervals, times, ratios and the load."""
    names = {"2%": "p50, 2 % allowed", "1%": "p50, 1 % allowed", "10%": "uninterrupted p99, 10 %"}
    for name, condition in CONDITIONS.items():
        mine = [row for row in rows if row["condition"] == name]
        if not mine:
            continue
        spent = np.sort([row["seconds"] for row in mine])
        ratios = [row["ratio"] for row in mine if row["ratio"]]
        loads = [row["load"] for row in mine]
        print(
            f"{name}: {len(mine)} trials, {spent.mean():.1f} s each, p95 "
            f"{spent[int(0.95 * len(spent))]:.1f} s, at most {spent[-1]:.1f} s; "
            f"{np.mean([row['epochs'] for row in mine]):.1f} epochs; p50 ratio "
            f"{min(ratios):.4f} to {max(ratios):.4f}; interrupted "
            f"{100 * np.mean([row['preempted'] or 0 for row in mine]):.1f} %; load "
            f"{min(loads):.1f} to {max(loads):.1f}, mean {np.mean(loads):.1f}"
        )
        for i, gate in enumerate(condition.gates):
            said = [row["verdicts"][i] for row in mine]
            wanted, wrong = ("fail", "pass") if condition.planted else ("pass", "fail")
            # An epoch is much like another, so its share of them is about its share of the time.
            alone = np.sort(
                [row["seconds"] * row["decided_after"][i] / row["epochs"] for row in mine]
            )
            rest = {word: said.count(word) for word in ("inconclusive", "error")}
            print(
                f"    {names[gate['max_increase']]:<26}"
                f"{counted('found' if condition.planted else 'passed', said.count(wanted), len(said))}, "
                f"{counted('missed' if condition.planted else 'false alarms', said.count(wrong), len(said))}, "
                f"inconclusive {rest['inconclusive']}, error {rest['error']}; alone "
                f"{alone.mean():.1f} s, p95 {alone[int(0.95 * len(alone))]:.1f} s, "
                f"at most {alone[-1]:.1f} s"
            )


def read(file: Path) -> list[dict[str, Any]]:
    rows = []
    with contextlib.suppress(FileNotFoundError):
        for line in file.read_text().splitlines():
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=300, help="trials of each condition")
    parser.add_argument("--trials", type=Path, default=Path("trials.jsonl"), help="their file")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the gate")
    parser.add_argument("--layers", type=int, default=6, help="size of the model")
    parser.add_argument(
        "--conditions",
        nargs="+",
        default=list(CONDITIONS),
        choices=CONDITIONS,
        help="all if left out",
    )
    parser.add_argument("--span", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.span:
        first, last = options.span
        rounds(first, last, options.conditions, options.confidence, options.layers)
        return
    begin = 1 + max((row["round"] for row in read(options.trials)), default=-1)
    while begin < options.rounds:
        end = min(begin + PER_PROCESS, options.rounds)
        command = [sys.executable, "-m", __spec__.name, "--span", str(begin), str(end)]
        command += ["--confidence", str(options.confidence), "--layers", str(options.layers)]
        command += ["--conditions", *options.conditions]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child,
            options.trials.open("a") as file,
        ):
            for line in child.stdout or ():
                file.write(line)
                file.flush()
                row = json.loads(line)
                said = ", ".join(row["verdicts"])
                print(
                    f"{row['round'] + 1} of {options.rounds}, {row['condition']}: {said}",
                    flush=True,
                )
        if child.returncode:
            sys.exit(child.returncode)
        begin = end
    summary(read(options.trials))


if __name__ == "__main__":
    main()
