"""Are models that a latency gate accepted ever slower than it allows? Timed again, apart.

    python -m tests.benchmarks.quantize_latency suite/0

Each model is searched under the accuracy gate and `latency_ms.p50` no higher than the source's, and
inconclusive counts as a failure. What is accepted is then timed again in new sessions, in turns with
the source; `slower` when the lower end of the 95 % interval of the factor is over one. The peer is
a search without that gate: the first setting of onnxruntime's quantizer that is accurate enough.
"""

import argparse
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mlgate.data.session import Session, latencies_ms
from mlgate.statistics.bootstrap import percentiles, resample
from tests.benchmarks.quantize_search import plain
from tests.benchmarks.quantize_suite import BATCH, POINT, TITLES, models, rows, searched

ROUNDS = 400
GATES = [
    {"metric": "accuracy", "compared_to": "source", "max_drop": POINT},
    {
        "metric": "latency_ms.p50",
        "compared_to": "source",
        "max_increase": "0%",
        "on_inconclusive": "fail",
    },
]


def factor(source: Path, candidate: bytes) -> tuple[float, float, float]:
    """Median time over the source's, with its one-sided 95 % ends."""
    sessions = {"source": Session(source), "candidate": Session(candidate)}
    images, _ = rows(source.parent / "data" / "search.parquet")
    feeds = {sessions["source"].inputs[0].name: images[:BATCH]}
    times = latencies_ms(sessions, feeds, rounds=ROUNDS)
    before, after = times["source"], times["candidate"]
    draws = resample([lambda i: float(np.median(after[i]) / np.median(before[i]))], ROUNDS)
    center = float(np.median(after) / np.median(before))
    ((_, low, high),) = percentiles(draws[:, 0], center, ROUNDS, [0.95])
    return center, low, high


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", help="folders of the training script")
    parser.add_argument("--models", nargs="+", choices=sorted(TITLES), help="default: all")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    accepted, slower = {"mlgate": 0, "plain loop": 0}, {"mlgate": 0, "plain loop": 0}
    print("| model | seed | tool | winner | time over the source's | slower |\n|" + "---|" * 6)
    for folder in options.folders:
        for model in models(folder, options.models):
            with tempfile.TemporaryDirectory() as name:
                ours = searched(model, Path(name), gates=GATES)
            found: dict[str, dict[str, Any]] = {"mlgate": ours, "plain loop": plain(model)}
            for tool, one in found.items():
                title = f"| {TITLES[model.stem]} | {folder.name} | {tool} | "
                if not one["approved"]:
                    print(f"{title}none | – | – |", flush=True)
                    continue
                center, low, high = factor(model, one["bytes"])
                accepted[tool] += 1
                slower[tool] += low > 1
                word = "yes" if low > 1 else "no"
                span = f"{center:.2f} ({low:.2f}–{high:.2f})"
                print(f"{title}{one['winner']} | {span} | {word} |", flush=True)
    for tool, count in accepted.items():
        print(f"{tool}: {slower[tool]} of {count} accepted models are slower than the source")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
