"""What a quantize stage that must not pass leaves behind: every way to fail, through `mlgate check`.

    python -m tests.benchmarks.quantize_refusals --times 20

Each case changes one thing of a project that passes: goals that cannot be met, metrics that raise,
return NaN, kill their process or never end, models and rows that are broken; then `--times` runs
that get SIGTERM at a random moment. A case is good when the exit status is not 0 and no model is
among the outputs; a best effort may be. The only good answer is all of them.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import numpy_helper

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "templates" / "digits"
IMAGE = {"image": {"columns": "pixel_*", "shape": [1, 8, 8]}}
ACCURACY = {"metric": "accuracy", "compared_to": "source", "max_drop": 0.01}
HEALTHY: dict[str, Any] = {
    "uses": "quantize",
    "model": "digits.onnx",
    "calibration": {"dataset": "train.parquet", "inputs": IMAGE},
    "evaluation": {"dataset": "holdout.parquet", "label": "digit", "inputs": IMAGE},
    "gates": [ACCURACY, {"metric": "size_ratio", "max": 0.45}],
}


def nothing(_: Path) -> None:
    """Leave the project's files as they are."""


@dataclass(frozen=True)
class Case:
    """One change to the healthy project."""

    name: str
    block: dict[str, Any] = field(default_factory=dict)
    files: Callable[[Path], object] = nothing


def gates(*more: dict[str, Any]) -> dict[str, Any]:
    return {"gates": [ACCURACY, *more]}


def metric(body: str) -> Case:
    """A metric of the user's own that does not give a number."""
    code = f"import os, signal, time\n\n\ndef cost(outputs, labels):\n    {body}\n"
    block = {
        "metrics": {"cost": {"python": "metrics.py", "function": "cost"}},
        **gates({"metric": "custom.cost", "max": 1}),
    }
    return Case(f"a metric: {body}", block, lambda folder: (folder / "metrics.py").write_text(code))


def weights(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """The model with every float weight changed."""

    def make(folder: Path) -> None:
        model = onnx.load(str(folder / "digits.onnx"))
        for tensor in model.graph.initializer:
            value = numpy_helper.to_array(tensor)
            if value.dtype == np.float32:
                tensor.CopyFrom(numpy_helper.from_array(change(value), tensor.name))
        onnx.save(model, str(folder / "digits.onnx"))

    return make


def cut(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return make


CASES = (
    Case("a size that nothing reaches", gates({"metric": "size_ratio", "max": 0.01})),
    Case("an accuracy that nothing reaches", gates({"metric": "accuracy", "min": 0.9999})),
    Case(
        "a latency that nothing reaches",
        gates({"metric": "latency_ms.p50", "max": "1us", "on_inconclusive": "fail"}),
    ),
    Case("no drop at all may be possible", {"gates": [{**ACCURACY, "max_drop": 0}]}),
    Case("too few rows to prove it", {"gates": [{**ACCURACY, "max_drop": 0.001}]}),
    Case("no candidate fits", {"schemes": ["int4-weight-nbits"]}),
    metric("raise ValueError('no')"),
    metric("return float('nan')"),
    metric("return None"),
    metric("os._exit(0)"),
    metric("os.abort()"),
    metric("os.kill(os.getpid(), signal.SIGKILL)"),
    metric("os.kill(os.getpid(), signal.SIGTERM)"),
    metric("import sys; sys.exit(0)"),
    Case(
        "the stage runs out of time",
        {**metric("time.sleep(600)").block, "timeout": "3s"},
        metric("time.sleep(600)").files,
    ),
    Case("weights of NaN", files=weights(lambda value: value * np.float32("nan"))),
    Case("weights of zero", files=weights(np.zeros_like)),
    Case("half a model", files=cut("digits.onnx")),
    Case("half the rows' file", files=cut("holdout.parquet")),
    Case("no model", files=lambda folder: (folder / "digits.onnx").unlink()),
)


def project(folder: Path, case: Case) -> Path:
    folder.mkdir()
    shutil.copy(DIGITS / "models" / "digits.onnx", folder)
    for name in ("train", "holdout"):
        shutil.copy(DIGITS / "data" / f"{name}.parquet", folder)
    spec = {"version": 1, "name": "refusals", "stages": {"int8": {**HEALTHY, **case.block}}}
    (folder / "mlgate.yaml").write_text(yaml.safe_dump(spec))
    case.files(folder)
    return folder


def start(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mlgate", "check", str(folder)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def approved(folder: Path) -> list[str]:
    """Models that the last run which came to a verdict hands on."""
    found = (folder / ".mlgate" / "latest").glob("outputs/*/*.onnx")
    return sorted(path.name for path in found if ".best-effort" not in path.name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=20, help="runs that get SIGTERM")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        began = time.monotonic()
        healthy = project(base / "healthy", Case("healthy"))
        status = start(healthy).wait()
        length = time.monotonic() - began
        if status or not approved(healthy):
            parser.exit(1, f"the healthy project does not pass: exit {status}\n")
        good = 0
        print("| case | exit | approved models |\n|---|---|---|")
        for number, case in enumerate(CASES):
            folder = project(base / f"case-{number}", case)
            process = start(folder)
            process.communicate()
            models = approved(folder)
            good += process.returncode != 0 and not models
            print(f"| {case.name} | {process.returncode} | {len(models)} |", flush=True)
        print(f"{good} of {len(CASES)} refused")
        rng, stopped, finished = random.Random(0), 0, 0
        for number in range(options.times):
            folder = project(base / f"stopped-{number}", Case("stopped"))
            process = start(folder)
            time.sleep(rng.uniform(0, length))
            process.send_signal(signal.SIGTERM)
            process.communicate()
            finished += process.returncode == 0
            stopped += process.returncode != 0 and not approved(folder)
        print(f"{stopped} of {options.times - finished} stopped runs refused; ", end="")
        print(f"{finished} had finished before the signal")


if __name__ == "__main__":
    main()
