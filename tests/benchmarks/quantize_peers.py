"""The quantize search beside other tools that search under an accuracy goal, on the same models.

    python -m tests.benchmarks.quantize_peers suite/0 --peer nncf=/envs/nncf/bin/python

Every tool may lose one point of accuracy, gets the same calibration and search rows, and runs in a
process of its own on one thread. The others get a model whose constants and shapes are already
worked out; mlgate does that itself, and has rows to confirm its winner on besides (`--all-rows`
gives the others those too, to search on). `held out` is the loss on rows that no tool is given.

A peer is named by the Python of a virtual environment that has it, its onnxruntime and onnx:

  nncf   nncf==3.4.0 onnx==1.23.2 onnxruntime==1.31.1
  inc    neural-compressor==2.6 onnx==1.16.2 onnxruntime==1.18.1 "numpy<2" "setuptools<80" six
  onc    onnx-neural-compressor==1.0 prettytable onnx==1.23.2 onnxruntime==1.31.1
  olive  olive-ai==0.13.0 requests pydantic==2.12.5 torch==2.13.0 torchmetrics onnxruntime==1.31.1

CPU s is user + system of the search alone, imports excluded, and of the whole process. A search
that takes longer than `--timeout` is ended. The time of a batch of 32 is measured in turns with the
source; only factors count on a busy machine.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization.shape_inference import quant_pre_process

from mlgate.data.session import Session, latencies_ms
from tests.benchmarks.quantize_suite import POINT, TITLES, held_out, models, right, rows

ROOT = Path(__file__).parents[2]
MODES = {"mlgate": ("",), "nncf": ("",), "inc": ("auto", "basic"), "onc": ("",), "olive": ("",)}
HARD = ["depthwise_1.2", "depthwise_1.6", "vit_outliers"]
CALIBRATION = 256


def prepare(model: Path, folder: Path, mode: str, *, tool: str, all_rows: bool) -> None:
    """The task's folder: what a tool is given, and nothing else."""
    data = model.parent / "data"
    calibration, _ = rows(data / "calibration.parquet")
    images, labels = rows(data / "search.parquet")
    if all_rows and tool != "mlgate":
        more, their = rows(data / "confirm.parquet")
        images, labels = np.concatenate([images, more]), np.concatenate([labels, their])
    np.savez(
        folder / "rows.npz", calibration=calibration[:CALIBRATION], images=images, labels=labels
    )
    quant_pre_process(str(model), str(folder / "model.onnx"), skip_symbolic_shape=True)
    said = {"max_drop": POINT, "mode": mode, "source": str(model.resolve())}
    (folder / "task.json").write_text(json.dumps(said))


def run(tool: str, python: str, folder: Path, timeout: float) -> dict[str, Any]:
    """What the tool's process left, with its exit status and the CPU seconds of all of it."""
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OLIVE_DISABLE_TELEMETRY": "1",
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [python, "-m", f"tests.benchmarks.peers.{tool}", str(folder)]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        status, errors = str(done.returncode), done.stderr
    except subprocess.TimeoutExpired:
        status, errors = "timeout", ""
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result = {"status": status, "process": spent}
    if (folder / "result.json").exists():
        result |= json.loads((folder / "result.json").read_text())
    else:
        result["died"] = (errors.strip().splitlines() or ["nothing said"])[-1][:160]
    return result


def judged(model: Path, found: Path) -> dict[str, float]:
    """Size, loss on the search rows and on the held-out rows, and time against the source."""
    search = rows(model.parent / "data" / "search.parquet")
    loss = held_out(model, found)
    sessions = {"source": Session(model), "found": Session(found)}
    feeds = {sessions["source"].inputs[0].name: search[0][:32]}
    times = latencies_ms(sessions, feeds, rounds=60)
    return {
        "size": found.stat().st_size / model.stat().st_size,
        "search": float(right(model, *search).mean() - right(found, *search).mean()),
        "heldout": loss.drop,
        "least": loss.least,
        "time": float(np.median(times["found"]) / np.median(times["source"])),
    }


def line(title: str, name: str, result: dict[str, Any], found: dict[str, float] | None) -> str:
    """One row of the table."""
    if "trials" not in result:
        work = f"– | – | – | – | {result['process']:.1f}"
        verdict = f"exit {result['status']}: {result['died']}"
    else:
        work = (
            f"{result['trials']:.0f} | {result['passes']:.0f} | {result['inferences']:,.0f} | "
            f"{result['cpu']:.2f} | {result['process']:.1f}"
        )
        verdict = f"exit {result['status']}, " + ("a model" if found else "no model")
    if found is None:
        return f"| {title} | {name} | {work} | – | – | – | – | {verdict} |"
    mark = " **fails**" if found["heldout"] > POINT else ""
    return (
        f"| {title} | {name} | {work} | {found['size']:.3f} | {100 * found['search']:+.2f} | "
        f"{100 * found['heldout']:+.2f}{mark} | {found['time']:.2f} | {verdict} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", help="folders of the training script")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--models", nargs="+", choices=sorted(TITLES), default=HARD)
    parser.add_argument("--all-rows", action="store_true", help="peers search on all labelled rows")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one search")
    parser.add_argument("--json", type=Path, help="also write every result here, one per line")
    options = parser.parse_args()
    pythons = {"mlgate": sys.executable, **dict(one.split("=", 1) for one in options.peer)}
    if unknown := sorted(set(pythons) - set(MODES)):
        parser.error(f"no such peer: {', '.join(unknown)}; there are {', '.join(MODES)}")
    print(
        "| model | tool | trials | calibration passes | sample inferences | CPU s, search | ",
        end="",
    )
    print("CPU s, process | size | search, points | held out, points | time | outcome |")
    print("|" + "---|" * 12)
    for folder in options.folders:
        for model in models(folder, options.models):
            for tool, modes in MODES.items():
                for mode in modes if tool in pythons else ():
                    title = f"{TITLES[model.stem]}, seed {folder.name}"
                    with tempfile.TemporaryDirectory() as name:
                        task = Path(name)
                        prepare(model, task, mode, tool=tool, all_rows=options.all_rows)
                        result = run(tool, pythons[tool], task, options.timeout)
                        path = task / "found.onnx"
                        found = judged(model, path) if path.exists() else None
                    label = f"{tool} {mode}".strip()
                    print(line(title, label, result, found), flush=True)
                    if options.json:
                        with options.json.open("a") as file:
                            both = {"model": title, "peer": label, **result, "found": found}
                            file.write(json.dumps(both) + "\n")
    for tool in MODES:
        if tool not in pythons:
            print(f"{tool}: not installed (--peer {tool}=PYTHON)")


if __name__ == "__main__":
    main()
