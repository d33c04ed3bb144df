"""The whole gate on the CPU (single, server, ramp, comparison): time, memory, verdicts.

Runs the stage in fresh processes: the model against itself, and a slower one against it. Without
an argument the models are chains of 20 and 24 matrix products.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlgate.gate import judge
from mlgate.stage import Job, Located, inputs_of
from mlgate.stages.benchmark import STAGE
from mlgate.stages.benchmark.spec import Benchmark
from tests.stages.benchmark.onnx_models import write_chain

GATES = [
    {"metric": "latency_ms.p50", "compared_to": "baseline", "max_increase": "5%"},
    {"metric": "latency_ms.p99", "where": {"scenario": "single"}, "max": "50ms"},
    {"metric": "cost_usd_per_million", "max": 1000},
]


def one(model: str, baseline: str) -> None:
    block = {
        "uses": "benchmark",
        "model": model,
        "baseline": baseline,
        "price_usd_per_hour": 3.5,
        "time_limit": "28s",
        "scenarios": [{"kind": "single"}, {"kind": "server"}, {"kind": "ramp"}],
        "gates": GATES,
    }
    options = Benchmark.model_validate_json(json.dumps(block))
    with tempfile.TemporaryDirectory() as folder:
        located = {i: Located(i.path or "", None) for _, i in inputs_of(options)}
        begun = time.monotonic()
        evidence = STAGE.measure(Job("latency", options, Path(folder), located))
        took = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results = [judge(gate, evidence, confidence=0.95) for gate in options.gates]
    print(f"{took:.1f} s, {peak:.0f} MB at most, load average {os.getloadavg()[0]:.1f}")
    for result in results:
        print(f"  {result.outcome}: {result.message}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", help="an ONNX model")
    parser.add_argument("--slower", help="a slower model with the same inputs")
    parser.add_argument("--baseline", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.baseline:
        one(options.model, options.baseline)
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.model is None:
            for name, layers in (("model", 20), ("slower", 24)):
                made = write_chain(Path(folder) / f"{name}.onnx", layers=layers, width=256)
                setattr(options, name, str(made))
        for candidate in filter(None, (options.model, options.slower)):
            print(f"{Path(candidate).name} against {Path(options.model).name}", flush=True)
            command = [sys.executable, "-m", __spec__.name, candidate, "--baseline", options.model]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
