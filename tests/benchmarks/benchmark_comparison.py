"""Power and false alarms of the comparison, beside rules that compare with another moment.

Records epochs of a real model against itself (fresh sessions in every epoch) and draws trials
from them: as they are (any alarm is false), and with a slowdown planted in one arm. The rules
that compare with another moment get the same queries, the baseline's from one stretch of the
recording and the candidate's from another. Whole trials of the gate: `benchmark_power`.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from mlgate.stages.benchmark import compare
from mlgate.stages.benchmark.compare import Arm, Epoch
from mlgate.stages.benchmark.inputs import make_feeds
from mlgate.stages.benchmark.provider import Runtime
from mlgate.stages.benchmark.session import Prepared, expect, open_session, ports_of, prepare
from mlgate.statistics.multiplicity import look_sizes
from mlgate.statistics.quantiles import percentile_of
from tests.stages.benchmark.onnx_models import write_chain

Plant = Callable[[Epoch], Epoch]


def opener(path: Path) -> Callable[[Arm], Prepared]:
    """Opens every arm of the comparison with the same model."""
    runtime = Runtime()
    session = open_session(path, runtime)
    feeds = make_feeds(ports_of(session), {}, {}, {})
    expected = expect(session, feeds)
    return lambda _: prepare(open_session(path, runtime), feeds, runtime, expected)


def as_it_is(epoch: Epoch) -> Epoch:
    return epoch


def slower(factor: float) -> Plant:
    def plant(epoch: Epoch) -> Epoch:
        wall, cpu = dict(epoch.wall), dict(epoch.cpu)
        wall["candidate"] = (wall["candidate"] * factor).astype(np.int64)
        cpu["candidate"] = (cpu["candidate"] * factor).astype(np.int64)
        return Epoch(wall, cpu)

    return plant


def heavy_tail(share: float, times: float, rng: np.random.Generator) -> Plant:
    def plant(epoch: Epoch) -> Epoch:
        wall, cpu = dict(epoch.wall), dict(epoch.cpu)
        hit = rng.random(len(wall["candidate"])) < share
        more = np.where(hit, (times - 1) * cpu["candidate"], 0).astype(np.int64)
        wall["candidate"] = wall["candidate"] + more
        cpu["candidate"] = cpu["candidate"] + more
        return Epoch(wall, cpu)

    return plant


def verdict(epochs: Sequence[Epoch], tolerance: float, confidence: float) -> tuple[str, int]:
    """Pass, fail or inconclusive at the last look, and the epochs that it took."""
    plan = look_sizes(8)
    for size in plan:
        found = compare.median_ratio(epochs[:size], (confidence,), len(plan))
        _, low, high = found.bounds[0]
        assert low is not None
        assert high is not None
        if low > 1 + tolerance or high < 1 + tolerance:
            return ("fail" if low > 1 + tolerance else "pass"), size
    return "inconclusive", plan[-1]


def tail_verdict(epochs: Sequence[Epoch], filtered: bool, confidence: float) -> tuple[str, int]:
    """As `verdict`, for a p99 that may rise by 10 %."""
    plan = look_sizes(8)
    for size in plan:
        tail = compare.tail_of(epochs[:size], 0.99, (confidence,), len(plan), filtered=filtered)
        if tail is None:
            continue
        _, low, high = tail.ratio.bounds[0]
        assert low is not None
        assert high is not None
        if low > 1.10 or high < 1.10:
            return ("fail" if low > 1.10 else "pass"), size
    return "inconclusive", plan[-1]


def row(name: str, verdicts: Sequence[tuple[str, int]]) -> None:
    share = {
        word: sum(found == word for found, _ in verdicts) / len(verdicts)
        for word in ("pass", "fail", "inconclusive")
    }
    epochs = sum(size for _, size in verdicts) / len(verdicts)
    print(
        f"{name:<46} pass {100 * share['pass']:6.2f} %  fail {100 * share['fail']:6.2f} %"
        f"  inconclusive {100 * share['inconclusive']:6.2f} %  {epochs:5.1f} epochs"
    )


def other_moment(epochs: Sequence[Epoch], rng: np.random.Generator, factor: float) -> list[bool]:
    """Alarms of three rules on 8 epochs in a row of one arm and 8 others in a row of the other."""
    starts = rng.choice(len(epochs) - 8, 2, replace=False)
    first = np.concatenate([e.wall["baseline"] for e in epochs[starts[0] : starts[0] + 8]])
    second = factor * np.concatenate(
        [e.wall["candidate"] for e in epochs[starts[1] : starts[1] + 8]]
    )
    shift = stats.mannwhitneyu(second[::7], first[::7], alternative="greater").pvalue < 0.01
    ratio = percentile_of(np.sort(second), 0.5) / percentile_of(np.sort(first), 0.5)
    return [bool(shift), ratio > 1.05, ratio > 1.10]


def drawn(epochs: Sequence[Epoch], trials: int, confidence: float, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def trial(plant: Plant) -> list[Epoch]:
        chosen = rng.choice(len(epochs), look_sizes(8)[-1], replace=True)
        return [plant(epochs[i]) for i in chosen]

    for name, plant, tolerance in (
        ("p50, the same model, 2 % allowed", as_it_is, 0.02),
        ("p50, ×1.05, 2 % allowed", slower(1.05), 0.02),
        ("p50, the same model, 1 % allowed", as_it_is, 0.01),
        ("p50, ×1.03, 1 % allowed", slower(1.03), 0.01),
    ):
        row(name, [verdict(trial(plant), tolerance, confidence) for _ in range(trials)])
    for name, plant in (
        ("the same model", as_it_is),
        ("2 % of the queries ×3", heavy_tail(0.02, 3.0, rng)),
    ):
        for filtered in (True, False):
            label = "p99 uninterrupted" if filtered else "p99 of all"
            row(
                f"{label}, {name}, 10 % allowed",
                [tail_verdict(trial(plant), filtered, confidence) for _ in range(trials)],
            )
    for name, factor in (("the same model", 1.0), ("×1.05", 1.05)):
        alarms = np.mean([other_moment(epochs, rng, factor) for _ in range(trials)], axis=0)
        print(
            f"another moment, {name:<15} alarms: Mann-Whitney p<.01 {100 * alarms[0]:.1f} %, "
            f"median >1.05 {100 * alarms[1]:.1f} %, median >1.10 {100 * alarms[2]:.1f} %"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="an ONNX model; default: a chain of products")
    parser.add_argument("--record", type=int, default=120, help="epochs to record")
    parser.add_argument("--epoch", type=float, default=0.35, help="seconds of an epoch")
    parser.add_argument("--trials", type=int, default=400, help="trials drawn for each row")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the gate")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or write_chain(Path(folder) / "chain.onnx", layers=6, width=256)
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        begun = time.monotonic()
        open_arm = opener(path)
        epochs = [
            compare.run_epoch(
                open_arm, options.epoch, compare.opening_order(0, i), random.Random(i)
            )
            for i in range(options.record)
        ]
        took = (time.monotonic() - begun) / len(epochs)
        pairs = sum(len(e.wall["baseline"]) for e in epochs) / len(epochs)
        median = np.median(np.concatenate([e.wall["baseline"] for e in epochs])) / 1e3
        print(
            f"{len(epochs)} epochs recorded, {pairs:.0f} pairs and {took:.2f} s each; median "
            f"{median:.0f} µs; {100 * compare.preempted_share(epochs):.1f} % interrupted; "
            f"sentinel {compare.sentinel_of(epochs).ratio:.4f}; "
            f"load average {os.getloadavg()[0]:.1f}; {options.trials} trials a row"
        )
        drawn(epochs, options.trials, options.confidence, seed=1)


if __name__ == "__main__":
    main()
